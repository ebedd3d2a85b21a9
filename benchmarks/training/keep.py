"""Copies of what is worth keeping of a machine that is given back."""

from __future__ import annotations

import shutil
import tarfile

from lmht_deploy.formats.files import atomic_write

from .session import Session

MAX_NETWORK = 15 * 2**20
"""Bytes of the largest network that is copied."""

NETWORKS = ("lmht", "l4", "hybrid", "dvs-small", "dvs-resnet-18")
"""Experiments whose integer networks are copied."""


def keep(session: Session) -> None:
    """Copy integer networks, and an archive of all results and metrics, to the session's folder."""
    if session.keep is None:
        return
    session.keep.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(session.keep / "results.tar.gz") as temporary,
        tarfile.open(temporary, "w:gz") as archive,
    ):
        for path in [*session.folder.glob("*.json"), *session.runs.glob("*/*")]:
            if path.suffix in (".json", ".jsonl", ".toml"):
                archive.add(path, str(path.relative_to(session.folder)))
    for name in NETWORKS:
        _copy_network(session, name)


def _copy_network(session: Session, name: str) -> None:
    assert session.keep is not None
    source, target = session.folder / f"{name}.lmht", session.keep / f"{name}.lmht"
    if not source.exists() or source.stat().st_size > MAX_NETWORK:
        return
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
