"""All files that hold a whole network: one reader for `lmht_deploy.load`, backends and verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from lmht_deploy.errors import StorageError, listed
from lmht_deploy.ir import Network

__all__ = ["NETWORK_SUFFIXES", "load_any_network"]

_READERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        ".lmht": ("lmht", "load_network"),
        ".net": ("netx", "load_netx_network"),
        ".nir": ("nir_network", "load_nir_network"),
        ".lmhtf": ("flat", "load_flat"),
    }
)
"""Module and function that read a file. A module is imported for the first file of its kind."""
NETWORK_SUFFIXES = tuple(_READERS)
"""File name extensions of files that hold a whole network."""


def load_any_network(path: Path) -> Network:
    """Read a network from a `.lmht` file, or from another file that holds a whole network.

    Raises:
        StorageError: The file is missing, damaged, of another kind or of an unknown version.
    """
    if path.is_dir() or path.suffix not in _READERS:
        what = "is a folder; " if path.is_dir() else ""
        raise StorageError(f"{path}: {what}expected a {listed(_READERS, 'or')} file")
    module, name = _READERS[path.suffix]
    read: Callable[[Path], Network] = getattr(import_module(f".{module}", __package__), name)
    return read(path)
