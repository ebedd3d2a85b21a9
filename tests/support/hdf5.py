"""HDF5 files that were edited, with a checksum that fits."""

from __future__ import annotations

from pathlib import Path

import h5py

from lmht_deploy.formats.hdf5 import writing_hdf5


def seal(path: Path, to: Path | None = None) -> None:
    """Write the content of an edited file again, without what the edit freed, with its checksum.

    Args:
        path: The edited file.
        to: File to write; None for `path`.
    """
    with h5py.File(path, "r") as edited, writing_hdf5(to or path) as again:
        for name in edited:
            edited.copy(name, again)
        for name, value in edited.attrs.items():
            if name != "checksum":
                again.attrs[name] = value
