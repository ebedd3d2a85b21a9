"""Put the page that runs a network in the browser into the site, as `live/`."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def on_post_build(config: Any, **_: Any) -> None:
    """Build the page (called by MkDocs); without its compiler, the site lacks it."""
    if importlib.util.find_spec("ziglang") is None:
        logging.getLogger("mkdocs").info("the site lacks live/: ziglang is not installed")
        return
    from web.bundle import write_page
    from web.compile import compile_engine

    folder = Path(config["site_dir"]) / "live"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_page(compile_engine(), folder)
