"""`export`: the file name extension chooses the format, and options without effect are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lmht_deploy.errors import ExportError, LmhtError, NetworkError
from lmht_deploy.exporters import ExportReport, export
from lmht_deploy.exporters.netx import export_netx
from lmht_deploy.exporters.netx_exact import export_netx_exact
from lmht_deploy.exporters.onnx import export_onnx
from tests.support.exact_networks import levels
from tests.support.networks import residual


def test_netx(tmp_path: Path) -> None:
    report = export(residual(), tmp_path / "net.net")
    warnings = export_netx(residual(), tmp_path / "expected.net")
    assert report == ExportReport(tmp_path / "net.net", "NetX", warnings)
    assert report.warnings and (tmp_path / "net.net").exists()


def test_graded(tmp_path: Path) -> None:
    report = export(residual(), str(tmp_path / "net.net"), graded=True)
    export_netx(residual(), tmp_path / "expected.net", graded=True)
    assert report.path.read_bytes() == (tmp_path / "expected.net").read_bytes()


def test_stock_exact(tmp_path: Path) -> None:
    report = export(levels(), tmp_path / "net.net", stock_exact=True)
    assert report == ExportReport(tmp_path / "net.net", "NetX, stock-exact", ())
    assert report.keeps_24_bits
    export_netx_exact(levels(), tmp_path / "expected.net")
    assert report.path.read_bytes() == (tmp_path / "expected.net").read_bytes()


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    report = export(residual(), tmp_path / "net.onnx", trace=True)
    assert report == ExportReport(tmp_path / "net.onnx", "ONNX", ())
    export_onnx(residual(), tmp_path / "expected.onnx", trace=True)
    assert report.path.read_bytes() == (tmp_path / "expected.onnx").read_bytes()


def test_report_is_frozen() -> None:
    report = ExportReport(Path("net.net"), "NetX")
    assert not report.keeps_24_bits
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.path = Path("other.net")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("net.lmht", {}, "use lmht_deploy.save"),
        ("net.h5", {}, r"unknown file name extension '\.h5'; the export formats are \.onnx,"),
        ("net", {}, "unknown file name extension ''"),
        ("net.net", {"trace": True}, r"option 'trace' is for \.onnx files"),
        ("net.onnx", {"graded": True}, r"option 'graded' is for \.net files"),
        ("net.onnx", {"stock_exact": True}, r"option 'stock_exact' is for \.net files"),
        ("net.net", {"stock_exact": True, "graded": True}, "exclude each other"),
        ("net.onnx", {"portable": True, "openvino": True}, "exclude each other"),
        ("net.nir", {"openvino": True}, r"option 'openvino' is for \.onnx files"),
    ],
)
def test_refusals(name: str, options: dict[str, bool], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export(residual(), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
    assert issubclass(ExportError, LmhtError)


def test_arguments_of_other_types(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="7 is not the name of a file"):
        export(residual(), 7)  # type: ignore[arg-type]
    for name in ("net.net", "net.onnx"):
        with pytest.raises(NetworkError):
            export("net.lmht", tmp_path / name)  # type: ignore[arg-type]
