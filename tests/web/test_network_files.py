"""lmht.js reads `.lmht` files: as the flat file of the network, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

import lmht_deploy as lmht
from lmht_deploy import zoo
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network
from tests.fuzz._mutation import sealed_flat
from tests.support.hdf5 import seal
from tests.support.networks import SPECIAL, float_network

from .cases import expression_task, flat_task, in_node, packed
from .test_package import random_cases

GOLDEN = Path(__file__).parents[1] / "formats" / "golden"
METADATA = {"text": "it's \"quoted\" \\ \n \u00e9 \U0001f600 \u00ad", "min_margin": "0.25",
            "window": '{"steps": 4, "by": "time", "length": 4000, "hop": 1}'}  # fmt: skip


def saved(net: Network, folder: Path) -> bytes:
    lmht.save(net, folder / "net.lmht")
    return (folder / "net.lmht").read_bytes()


def flat_files(package: Path, folder: Path, contents: list[bytes]) -> list[Any]:
    return in_node(package, folder, [flat_task(content) for content in contents])


def test_every_network_becomes_its_flat_file(package: Path, tmp_path: Path) -> None:
    nets = [build() for build in SPECIAL.values()] + [net for net, _ in random_cases(40)]
    nets += [lmht.load(f"zoo:{card.name}") for card in zoo.cards() if zoo.has_network(card)]
    digits = lmht.load("zoo:digits")
    nets.append(Network(layers=digits.layers, metadata={**digits.metadata, **METADATA}))
    found = flat_files(package, tmp_path, [saved(net, tmp_path) for net in nets])
    for net, answer in zip(nets, found, strict=True):
        assert bytes(answer) == network_to_bytes(net)


def test_files_of_all_versions_are_read(package: Path, tmp_path: Path) -> None:
    paths = sorted(GOLDEN.glob("*.lmht"))
    nets = [lmht.load(path) for path in paths]
    found = flat_files(package, tmp_path, [path.read_bytes() for path in paths])
    for net, answer in zip(nets, found, strict=True):
        assert bytes(answer) == network_to_bytes(net) if net.integer else answer["kind"]


def test_a_damaged_file_is_refused(package: Path, tmp_path: Path) -> None:
    """As flipped bits and cut files: what is read is the network, or an error."""
    net = lmht.load("zoo:digits")
    content, expected = saved(net, tmp_path), network_to_bytes(net)
    rng = np.random.default_rng(0)
    damaged = [content[: int(size)] for size in rng.integers(0, len(content), 20)]
    for at in rng.integers(0, len(content), 300):
        damaged.append(content[:at] + bytes([content[at] ^ 1 << int(at) % 8]) + content[at + 1 :])
    for answer in flat_files(package, tmp_path, damaged):
        if isinstance(answer, dict):
            assert (answer["error"], answer["kind"]) == ("LmhtError", "file"), answer
        else:  # bytes that have no meaning
            assert bytes(answer) == expected


def test_metadata_that_make_no_sense_are_refused(package: Path, tmp_path: Path) -> None:
    """In a `.lmht` and in a `.lmhtf` file, both with a right checksum."""
    net, path = SPECIAL["if"](), tmp_path / "net.lmht"
    lmht.save(net, path)
    tasks = []
    for text in ("x", '{"window": "x"}', '{"window": {}}', '{"min_margin": "x", "window": "null"}'):
        with h5py.File(path, "r+") as file:
            file.attrs["metadata"] = text
        seal(path)
        tasks.append(flat_task(path.read_bytes()))
    content = network_to_bytes(Network(layers=net.layers, metadata={"name": "value"}))
    for old in (b'{"name": "value"}', b'"value"'):
        assert content.count(old) == 1
        hostile = sealed_flat(content.replace(old, b"7" * len(old)))
        tasks.append({"kind": "expression", "network": packed(hostile), "text": "net.metadata"})
    constructor = Network(layers=net.layers, metadata={"constructor": "me"})
    tasks.append(expression_task(constructor, "net.metadata"))
    *refused, read = in_node(package, tmp_path, tasks)
    for answer in refused:
        assert (answer["error"], answer["kind"]) == ("LmhtError", "file"), answer
    assert read == {"constructor": "me"}


def test_a_float_network_is_refused(package: Path, tmp_path: Path) -> None:
    (answer,) = flat_files(package, tmp_path, [saved(float_network(), tmp_path)])
    assert answer["kind"] == "unsupported" and "quantize" in answer["message"]
