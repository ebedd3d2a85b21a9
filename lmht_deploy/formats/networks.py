"""All files that hold a whole network: one reader for `lmht_deploy.load`, backends and verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from lmht_deploy.errors import StorageError, listed
from lmht_deploy.ir import Network

from .flat import load_flat
from .lmht import load_network
from .netx import load_netx_network
from .nir_network import load_nir_network

__all__ = ["NETWORK_SUFFIXES", "load_any_network"]

_READERS: Mapping[str, Callable[[Path], Network]] = MappingProxyType(
    {
        ".lmht": load_network,
        ".net": load_netx_network,
        ".nir": load_nir_network,
        ".lmhtf": load_flat,
    }
)
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
    return _READERS[path.suffix](path)
