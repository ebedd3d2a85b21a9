"""Network -> `.lmhtf`: one flat file for `liblmht` and WebAssembly, exact."""

from __future__ import annotations

from pathlib import Path

from lmht_deploy.formats.files import atomic_write
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network

__all__ = ["export_flat"]


def export_flat(net: Network, path: str | Path) -> None:
    """Write an integer network as a flat file, which appears complete or not at all.

    Args:
        net: The network.
        path: The `.lmhtf` file.

    Raises:
        ExportError: If the network holds floats, or its metadata holds a window rule or a margin
            that is not valid.
        StorageError: If the file cannot be written.
    """
    content = network_to_bytes(net)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
