"""The networks of an evaluation: their names, and the files that its backends run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from lmht_deploy import backends as registry
from lmht_deploy._folders import new_folder
from lmht_deploy.analysis.compare import choose_backends
from lmht_deploy.analysis.runner import artifact_name, default_backend, write_artifact
from lmht_deploy.errors import DataError, LmhtError, show
from lmht_deploy.formats.files import as_path, make_folder, no_file
from lmht_deploy.formats.lmht import load_network, network_checksum, save_network
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.zoo import network_path

from ._files import files_of, sha256_of
from ._plan import Entry
from ._windows import WindowStore

NETWORKS = "networks"
"""Folder below that of an evaluation."""
READ_BACK = (".nir", ".lmhtf")
"""File name extensions of files whose network is evaluated on every backend, as that of `.lmht`."""

Networks: TypeAlias = (
    Sequence[Network | str | Path] | Mapping[str, Network | str | Path] | Network | str | Path
)


@contextmanager
def noted(failures: list[str], path: object) -> Iterator[None]:
    """Add an error about one network to the failures: the others are evaluated."""
    try:
        yield
    except LmhtError as error:
        text = str(error)
        failures.append(text if str(path) in text else f"{path}: {text}")


def keep_networks(folder: Path, networks: Networks, failures: list[str]) -> dict[str, Path]:
    """Return the files of networks by name; a `Network` is written below the folder.

    An error about a file is added to the failures. A file that does not exist raises StorageError.
    """
    if isinstance(networks, Network | str | Path):
        networks = [networks]
    if not isinstance(networks, Sequence | Mapping) or not networks:
        raise DataError(f"networks must be a list of networks or files, not {show(networks)}")
    if isinstance(networks, Mapping):
        pairs = [(str(name), network) for name, network in networks.items()]
    else:
        pairs = list(zip(_names(networks), networks, strict=True))
    check_unique(name for name, _ in pairs)
    existing = [(name, _existing(network)) for name, network in pairs]
    found = {}
    for name, network in existing:
        with noted(failures, network):
            found[name] = _file(folder, network)
    return found


def check_unique(names: Iterable[str]) -> None:
    """Raise DataError if two networks have the same name."""
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{count} networks have the name {name!r}")


def _names(networks: Sequence[Network | str | Path]) -> Iterator[str]:
    given = [net for net in networks if not isinstance(net, Network)]
    files = iter(file_names([network_path(as_path(path)) for path in given]))
    for index, network in enumerate(networks):
        yield f"network{index}" if isinstance(network, Network) else next(files)


def file_names(paths: Sequence[Path]) -> list[str]:
    """Name files: each as short as is unique.

    Raises:
        DataError: A file is named twice.
    """
    for path, count in Counter(path.resolve() for path in paths).items():
        if count > 1:
            raise DataError(f"{path}: is named {count} times; each network is evaluated once")
    forms = [(path.stem, path.name, str(path)) for path in paths]
    counts = [Counter(level) for level in zip(*forms, strict=True)]
    return [
        next(name for name, count in zip(form, counts, strict=True) if count[name] == 1)
        for form in forms
    ]


def _existing(network: Network | str | Path) -> Network | Path:
    """Return a network, or the path of its file; StorageError if there is none."""
    if isinstance(network, Network):
        return network
    path = network_path(as_path(network))
    if not path.is_file():
        raise no_file(path)
    return path


def _file(folder: Path, network: Network | Path) -> Path:
    """Return the file of a network."""
    if isinstance(network, Network):
        return _keep_network(folder, network)
    if network.suffix in READ_BACK:
        return _keep_network(folder, load_any_network(network))
    return network.absolute()


def _keep_network(folder: Path, net: Network) -> Path:
    path = folder / NETWORKS / f"{network_checksum(net)}.lmht"
    if not path.exists():
        make_folder(path.parent)
        save_network(net, path)
    return path


def make_entries(
    folder: Path,
    name: str,
    path: Path,
    backends: Sequence[str],
    store: WindowStore,
    data: str,
) -> Iterator[Entry]:
    """Yield the rows of one network: one per backend, or one for an exported file."""
    sha256 = sha256_of(path)
    if path.suffix != ".lmht":
        yield Entry(name, path, sha256, default_backend(path), store, data)
        return
    for backend in choose_backends(backends):
        artifact = _artifact(folder, path, sha256, backend)
        own = sha256 if artifact == path else sha256_of(artifact)
        yield Entry(name, artifact, own, backend, store, data, path)


def _artifact(folder: Path, path: Path, sha256: str, backend: str) -> Path:
    """Return what a backend runs; a network is exported once for a backend that needs it."""
    if registry.artifact_suffix(backend) == path.suffix:
        return path
    home = folder / NETWORKS / sha256
    target = home / artifact_name(backend)
    if not target.exists():
        with new_folder(home) as temporary:
            written = write_artifact(load_network(path), temporary, backend)
            for file in files_of(written)[::-1]:  # what a target needs is there before it is
                file.replace(home / file.name)
    return target
