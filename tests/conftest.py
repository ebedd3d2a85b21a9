"""Before anything is imported: tests keep what Hugging Face `datasets` caches to themselves, and never reach for the hub."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

CACHE = tempfile.mkdtemp(prefix="lmht-huggingface-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ |= {"HF_HOME": CACHE, "HF_HUB_OFFLINE": "1"}
