"""The public API: what it exports, what it imports, and that every wrong value is an LmhtError."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmht_deploy as lmht
from lmht_deploy import backends, reference
from tests.support.networks import SPECIAL, float_network, windows_for

NET = SPECIAL["residual"]()
WINDOWS = windows_for(NET, 3)
HEAVY = ("torch", "onnx", "onnxruntime", "tonic", "h5py", "numpy", "sklearn", "rich", "typer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, artifacts of it, and files that are not what their names say."""
    folder = tmp_path_factory.mktemp("api")
    lmht.save(NET, folder / "net.lmht")
    lmht.export(NET, folder / "net.onnx")
    lmht.save_windows(WINDOWS, folder / "windows.npz")
    for name in ("empty.lmht", "empty.onnx", "empty.net", "empty.npz", "empty.aedat4", "empty"):
        (folder / name).touch()
    for name in ("text.lmht", "text.onnx", "text.net", "text.npz", "text.npy", "text.es"):
        (folder / name).write_text("no such content\n" * 99)
    events = np.zeros(3, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    np.save(folder / "events.npy", events)
    for name in ("folder.lmht", "folder.onnx", "folder.net", "folder.npz", "folder.h5"):
        (folder / name).mkdir()
    return folder


# ------------------------------------------------------------------------------------- names


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_is_light() -> None:
    said = python(
        "import sys, time; start = time.perf_counter(); import lmht_deploy; "
        f"print(sorted({{*{HEAVY}}} & set(sys.modules)), time.perf_counter() - start)"
    )
    loaded, _, seconds = said.rpartition(" ")
    print(f"import lmht_deploy: {1e3 * float(seconds):.1f} ms")
    assert loaded == "[]"


def test_names_need_only_what_they_use() -> None:
    code = (
        "import sys, lmht_deploy as lmht; names = [getattr(lmht, name) for name in lmht.__all__]; "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'tonic', 'sklearn'} & set(sys.modules)))"
    )
    assert python(code) == "[]\n"


def test_dir_is_all() -> None:
    assert dir(lmht) == sorted(lmht.__all__)
    assert all(hasattr(lmht, name) for name in lmht.__all__)
    with pytest.raises(AttributeError, match="module 'lmht_deploy' has no attribute 'laod'"):
        lmht.laod  # type: ignore[attr-defined]  # noqa: B018


def test_functions_are_not_hidden_by_modules_of_the_same_name() -> None:
    code = (
        "import lmht_deploy.quantize, lmht_deploy.reparameterize, lmht_deploy as lmht; "
        "print(callable(lmht.quantize), callable(lmht.reparameterize))"
    )
    assert python(code) == "True True\n"


def test_everything_is_documented() -> None:
    for name in lmht.__all__:
        value = getattr(lmht, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            hints = {*value.__annotations__}
            assert {*inspect.signature(value).parameters, "return"} <= hints, name


def test_the_package_is_typed() -> None:
    assert (Path(lmht.__file__).parent / "py.typed").is_file()


# ------------------------------------------------------------------------------------- functions


def test_save_and_load(folder: Path) -> None:
    assert lmht.load(folder / "net.lmht") == lmht.load(str(folder / "net.lmht")) == NET


def test_lower_quantize_reparameterize() -> None:
    from torch import nn

    from lmht_deploy.training import LMHT, SpikingModel

    body = nn.Sequential(nn.Conv2d(2, 3, 3), LMHT(2, 4), nn.Flatten(), nn.Linear(108, 4))
    net = lmht.lower(
        SpikingModel(body, steps_in=4), lmht.Input(name="input", shape=(2, 8, 8), steps=4)
    )
    assert not net.integer
    integer = lmht.quantize(net)
    assert integer.integer and lmht.reparameterize(integer).neurons[0].levels == 1
    with pytest.raises(lmht.LoweringError, match="a SpikingModel, not Sequential"):
        lmht.lower(body, lmht.Input(name="input", shape=(2, 8, 8), steps=4))  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["reference", "event", "torch", "onnx"])
def test_run_a_network_by_the_name_of_a_backend(backend: str) -> None:
    expected = reference.run(NET, WINDOWS, trace=True)
    told: list[tuple[int, int]] = []
    found = lmht.run(
        NET, WINDOWS, backend=backend, trace=True, progress=lambda *at: told.append(at)
    )
    assert found.logits.tolist() == expected.logits.tolist()
    assert found.traces is not None and expected.traces is not None
    # the artifact of ONNX is written without traces
    assert found.traces.keys() == expected.traces.keys()
    assert told == [(3, 3)]


def test_run_an_artifact(folder: Path) -> None:
    expected = reference.run(NET, WINDOWS).logits.tolist()
    assert lmht.run(folder / "net.lmht", WINDOWS).logits.tolist() == expected
    assert lmht.run(str(folder / "net.onnx"), WINDOWS, backend="onnx").logits.tolist() == expected
    message = r"backend 'event' runs \.lmht, \.net, \.nir, or \.lmhtf files"
    with pytest.raises(lmht.BackendError, match=message):
        lmht.run(folder / "net.onnx", WINDOWS)


def test_compare(folder: Path) -> None:
    labels = reference.run(NET, WINDOWS).predictions
    for net in (NET, folder / "net.lmht"):
        found = lmht.compare(net, WINDOWS, labels, backends=["event", "torch"])
        assert found.equal and [row.label for row in found.rows] == ["reference", "event", "torch"]
        assert all(row.accuracy == 1 for row in found.rows) and not found.omitted


def test_compare_takes_every_backend_that_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    unavailable = backends.unavailable
    missing = {"lava": "Lava is not installed", "onnx": None, "openvino": None}
    monkeypatch.setattr(backends, "unavailable", lambda name: missing.get(name, unavailable(name)))
    found = lmht.compare(NET, WINDOWS)
    labels = ["reference", "event", "torch", "onnx", "openvino"]
    assert [row.label for row in found.rows] == labels
    assert found.omitted == {"lava": "Lava is not installed"}
    with pytest.raises(lmht.BackendError, match="'lava' cannot run here: Lava is not installed"):
        lmht.compare(NET, WINDOWS, backends=["lava"])


def test_export_reports_warnings(folder: Path) -> None:
    report = lmht.export(NET, folder / "out.net")
    assert report.path == folder / "out.net" and report.format == "NetX"
    assert all(isinstance(warning, str) for warning in report.warnings)
    with pytest.raises(lmht.ExportError, match="save"):
        lmht.export(NET, folder / "out.lmht")


def test_windows_and_events(folder: Path) -> None:
    windows, labels, _ = lmht.load_windows(folder / "windows.npz")
    assert labels is None and np.array_equal(windows, WINDOWS)
    recording = lmht.read_events(folder / "events.npy", (8, 8))
    assert len(recording.events) == 3 and tuple(recording.sensor) == (8, 8)


# ------------------------------------------------------------------------------------- mistakes

NAMES = [
    *(
        "net.lmht",
        "net.onnx",
        "windows.npz",
        "events.npy",
        "missing.lmht",
        "missing",
        "no/parent.lmht",
    ),
    *("empty.lmht", "empty.onnx", "empty.net", "empty.npz", "empty.aedat4", "empty"),
    *("text.lmht", "text.onnx", "text.net", "text.npz", "text.npy", "text.es"),
    *("folder.lmht", "folder.onnx", "folder.net", "folder.npz", "folder.h5", "."),
]
ARRAYS: list[Any] = [
    "windows.npz",
    "",
    3,
    [],
    [["a"]],
    {"windows": 1},
    np.array(None),
    WINDOWS[0],
    WINDOWS[:0],
    WINDOWS[..., :-1],
    WINDOWS.astype(float),
    WINDOWS.astype(object),
    WINDOWS.astype(str),
    WINDOWS - 9,
    WINDOWS + 99,
    np.full(WINDOWS.shape, np.nan),
    np.zeros((0, 3), complex),
]
LABELS: list[Any] = ["cat", 3, [0], [0, 1], [0.5, 1, 2], ["a", "b", "c"], [[0, 1, 2]], [None] * 3]
CALLS: dict[str, Callable[[Path, st.DataObject], object]] = {
    "load": lambda path, data: lmht.load(path),
    "save": lambda path, data: lmht.save(
        data.draw(st.sampled_from([NET, "net", None])),  # type: ignore[arg-type]
        path.with_name(f"out{path.suffix}") if path.is_file() else path,
    ),
    "export": lambda path, data: lmht.export(
        data.draw(st.sampled_from([NET, float_network(), path])),  # type: ignore[arg-type]
        path.with_name(f"out{path.suffix}"),
        trace=data.draw(st.booleans()),
        logits_only=data.draw(st.booleans()),
        portable=data.draw(st.booleans()),
        openvino=data.draw(st.booleans()),
        graded=data.draw(st.booleans()),
        stock_exact=data.draw(st.booleans()),
    ),
    "run": lambda path, data: lmht.run(
        data.draw(st.sampled_from([NET, float_network(), path])),
        data.draw(st.sampled_from([WINDOWS, *ARRAYS])),
        backend=data.draw(st.sampled_from([*backends.NAMES[:4], "netx", "evnt", ""])),
        threads=data.draw(st.sampled_from([1, 0, -1, "2", 10**9])),
    ),
    "compare": lambda path, data: lmht.compare(
        data.draw(st.sampled_from([NET, float_network(), path])),
        data.draw(st.sampled_from([WINDOWS, *ARRAYS])),
        data.draw(st.sampled_from([None, *LABELS])),
        backends=data.draw(st.sampled_from([["event"], [], "event,onnx", ["fly"], ["netx"]])),
        energy_model=data.draw(st.sampled_from(["45nm", "45", ""])),
    ),
    "quantize": lambda path, data: lmht.quantize(path),  # type: ignore[arg-type]
    "Engine": lambda path, data: lmht.Engine(path),  # type: ignore[arg-type]
    "reparameterize": lambda path, data: lmht.reparameterize(
        NET, data.draw(st.sampled_from(["block", "", "uniform"]))
    ),
    "read_events": lambda path, data: lmht.read_events(
        path, data.draw(st.sampled_from([None, (8, 8), (0, 0), (-1, 5), (8,), "8x8"]))
    ),
    "load_windows": lambda path, data: lmht.load_windows(path),
    "save_windows": lambda path, data: lmht.save_windows(
        data.draw(st.sampled_from([WINDOWS, *ARRAYS])),
        path.with_name("out.npz") if data.draw(st.booleans()) else path.with_name("no") / "x.npz",
        data.draw(st.sampled_from([None, *LABELS])),
    ),
    "data.load": lambda path, data: lmht.data.load(
        data.draw(st.sampled_from([path, "digit", "tonic:Nothing", "folder", ""])),
        steps=data.draw(st.sampled_from([4, 0, -1])),
        size=data.draw(st.sampled_from([None, 8, 0, (8, 8), (8,)])),
        split=data.draw(st.sampled_from(["test", "validation"])),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_value_is_an_lmht_error(name: str, folder: Path) -> None:
    """Nothing ends in ValueError, KeyError, AttributeError or TypeError."""

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(st.sampled_from(NAMES), st.data())
    def call(file: str, data: st.DataObject) -> None:
        try:
            CALLS[name](folder / file, data)
        except lmht.LmhtError as error:
            assert str(error).strip()

    call()


WRONG_TYPES: list[tuple[Callable[[Any], object], str]] = [
    (lambda api: api.load(None), "None: is not the name of a file"),
    (lambda api: api.load(b"net.lmht"), "b'net.lmht': is not the name of a file"),
    (lambda api: api.save(NET, None), "None: is not the name of a file"),
    (lambda api: api.read_events(3), "3: is not the name of a file"),
    (lambda api: api.load_windows(None), "None: is not the name of a file"),
    (lambda api: api.Engine(NET, threads="2"), "the engine runs 1 to 1024 threads, not '2'"),
    (lambda api: api.compare(NET, WINDOWS, backends=3), "backends must be a list of names, not 3"),
    (lambda api: api.data.load("digits", steps="4"), "at least one bin, not '4'"),
]


@pytest.mark.parametrize(("call", "message"), WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_named(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(lmht.LmhtError, match=message):
        call(lmht)


def test_text_is_not_taken_for_a_pickle(folder: Path) -> None:
    with pytest.raises(lmht.StorageError, match=r"text\.npz: is not an \.npz file"):
        lmht.load_windows(folder / "text.npz")


@pytest.mark.parametrize("backend", ["event", "torch", "onnx", "reference"])
@pytest.mark.parametrize("threads", [0, 1025, 10**9])
def test_a_number_of_threads_that_no_system_starts(backend: str, threads: int) -> None:
    with pytest.raises(
        lmht.BackendError, match=f"backend {backend!r} runs 1 to 1024 threads, not {threads}"
    ):
        lmht.run(NET, WINDOWS, backend=backend, threads=threads)
