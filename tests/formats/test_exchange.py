"""Schemas of NetX and ONNX files: they name exactly the keys that the files hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from lmht_deploy.errors import StorageError
from lmht_deploy.exporters.netx import export_netx
from lmht_deploy.exporters.netx_exact import export_netx_exact
from lmht_deploy.exporters.onnx import export_onnx
from lmht_deploy.formats import lmht
from lmht_deploy.formats import onnx as onnx_format
from lmht_deploy.formats.netx import SCHEMAS, exact, is_foreign, network, read_network
from lmht_deploy.formats.schema import Schema, to_markdown
from tests.formats.golden.write import small
from tests.support.exact_networks import mixing, shortcuts
from tests.support.networks import SPECIAL


def keys_of(path: Path) -> set[tuple[str, str]]:
    """Kind and name of every key of an HDF5 file."""
    found = set()

    def visit(_: str, item: h5py.Group | h5py.Dataset) -> None:
        found.update(("attribute", name) for name in item.attrs)
        if isinstance(item, h5py.Dataset):
            found.add(("data set", item.name.rpartition("/")[2]))

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


def keys_in(schema: Schema, version: int = 9) -> set[tuple[str, str]]:
    fields = (field for group in schema.groups for field in group.fields)
    return {(field.kind, field.name) for field in fields if field.since <= version}


def test_netx(tmp_path: Path) -> None:
    """The keys are those of the schema, and of the layers of a `.lmht` file."""
    export_netx(SPECIAL["max-pooled"](), tmp_path / "pooled.net")
    export_netx(small(), tmp_path / "net.net")
    found = keys_of(tmp_path / "net.net") | keys_of(tmp_path / "pooled.net")
    layers = {key for key in keys_in(lmht.SCHEMA, 1) if key[0] != "group"}
    assert found == keys_in(network.SCHEMA, 1) | layers
    assert not is_foreign(tmp_path / "net.net")
    export_netx(SPECIAL["resets-mixed"](), tmp_path / "resets.net")
    found |= keys_of(tmp_path / "resets.net")
    assert found == keys_in(network.SCHEMA) | {k for k in keys_in(lmht.SCHEMA) if k[0] != "group"}


def test_stock_exact(tmp_path: Path) -> None:
    export_netx_exact(mixing(), tmp_path / "dense.net")
    export_netx_exact(shortcuts(), tmp_path / "net.net")
    found = keys_of(tmp_path / "dense.net") | keys_of(tmp_path / "net.net")
    assert found == keys_in(exact.SCHEMA)
    assert is_foreign(tmp_path / "net.net")


def test_stock_exact_is_no_network_file(tmp_path: Path) -> None:
    export_netx_exact(shortcuts(), tmp_path / "net.net")
    with pytest.raises(StorageError, match=r"is not a \.net file of lmht-deploy"):
        read_network(tmp_path / "net.net")


def test_network_file_is_what_was_written(tmp_path: Path) -> None:
    export_netx(small(), tmp_path / "net.net")
    network.write_network(read_network(tmp_path / "net.net"), tmp_path / "again.net")
    assert (tmp_path / "again.net").read_bytes() == (tmp_path / "net.net").read_bytes()


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    export_onnx(small(), path, trace=True, logits_scale=True, stream="window")
    model = onnx.load(path)
    values, properties = onnx_format.SCHEMA.groups
    assert {entry.key for entry in model.metadata_props} == properties.names
    names = {value.name for value in (*model.graph.input, *model.graph.output)}
    kinds = {name.partition("/")[0] + ("/<layer>" if "/" in name else "") for name in names}
    assert kinds == values.names


@pytest.mark.parametrize("schema", [*SCHEMAS, onnx_format.SCHEMA], ids=lambda schema: schema.title)
def test_documentation(schema: Schema) -> None:
    text = to_markdown(schema)
    assert text.startswith(f"## {schema.title}\n") and f"`{schema.suffix}`" in text
    assert all(f"| `{name}` |" in text for _, name in keys_in(schema))


def _older_input(properties: Any) -> None:
    (entry,) = (item for item in properties if item.key == "input")
    entry.value = entry.value.replace("max_value", "high")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.add(key="more", value="1"), "has the unknown key 'more'; an older"),
        (lambda found: found.pop(1), "lacks the key '"),
        (_older_input, "input lacks the key 'max_value' and has the unknown key 'high'; an"),
    ],
)
def test_other_properties_are_refused(
    change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from lmht_deploy import backends

    export_onnx(small(), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    del model.metadata_props[-1]
    change(model.metadata_props)
    (tmp_path / "net.onnx").write_bytes(onnx_format.sealed(model.SerializeToString()))
    with pytest.raises(StorageError, match=message):
        backends.open_backend("onnx", tmp_path / "net.onnx")
