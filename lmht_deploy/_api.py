"""The functions of the public API that use several packages: load, save, lower, export, run, compare."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from lmht_deploy import backends
from lmht_deploy.analysis.compare import compare
from lmht_deploy.errors import BackendError, DataError, LoweringError, NetworkError
from lmht_deploy.formats.lmht import load_network, save_network
from lmht_deploy.ir import Input, Network
from lmht_deploy.result import Result

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compare", "export", "load", "lower", "read_events", "run", "save"]
