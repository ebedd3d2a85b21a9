"""What is fuzzed: every reader of files that strangers may have made."""

from __future__ import annotations

import dataclasses
import io
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lmht_deploy import backends
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.events import read_events
from lmht_deploy.events.arrays import EVENT, Sensor, make_events
from lmht_deploy.exporters.netx import export_netx
from lmht_deploy.exporters.nir import export_nir
from lmht_deploy.formats.flat import load_flat, network_to_bytes
from lmht_deploy.formats.lmht import load_network, save_network
from lmht_deploy.formats.nir_network import load_nir_network
from lmht_deploy.formats.windows import load_windows
from lmht_deploy.importers import from_nir
from lmht_deploy.ir import Network
from lmht_deploy.training.recipe import load_recipe
from tests.fuzz import _javascript, _liblmht
from tests.fuzz._mutation import (
    Mutate,
    mutate_bytes,
    mutate_flat,
    mutate_hdf5,
    mutate_json_lines,
    mutate_npz,
    mutate_onnx,
    mutate_safetensors,
    mutate_toml,
    mutate_zstd,
)
from tests.support import tiny
from tests.support.networks import SPECIAL
from tests.support.netx_files import FILES, File
from tests.support.recordings import DATA

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "formats" / "golden"
RECIPES = TESTS.parent / "training" / "recipes"

MAX_SEED = 50_000
"""Bytes of a seed: real recordings are cut."""
MAX_INPUT = 2**20
"""Bytes of an input: values that are repeated within repetitions would make it too large."""
MAX_VALUES = 10**5
"""Values of the windows that a network is run with."""


Arrays: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        read: Reads the file; returns, or raises an LmhtError.
        suffix: Suffix of the file.
        make_seeds: Returns valid files, from which inputs are mutated; called when they are needed.
        mutate: How an input is made of a seed.
        needs: Programs without which it cannot run.
        prepare: Builds what `read` needs, before the inputs are run in child processes.
    """

    read: Callable[[Path], object]
    suffix: str
    make_seeds: Callable[[], tuple[bytes, ...]]
    mutate: Mutate = mutate_bytes
    needs: tuple[str, ...] = ()
    prepare: Callable[[], object] = lambda: None

    @cached_property
    def seeds(self) -> tuple[bytes, ...]:
        """Valid files."""
        self.prepare()
        return self.make_seeds()

    @property
    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        for program in self.needs:
            if shutil.which(program) is None:
                return f"{program} is not installed"
        return None if self.seeds else "real data is absent: ../shared/data"

    def inputs(self, number: int, seed: int) -> list[bytes]:
        """Return `number` inputs, the same ones for the same `seed`."""
        rng = random.Random(seed)
        weights = [1 / (len(content) + 1) for content in self.seeds]  # small files are read faster
        chosen = rng.choices(self.seeds, weights, k=number)
        mutated = (self.mutate(content, self.seeds, rng) for content in chosen)
        return [content[:MAX_INPUT] for content in mutated]


def _files(pattern: str, folder: Path = GOLDEN) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.glob(pattern)))


# ----------------------------------------------------------------------------------- networks


def _networks() -> tuple[bytes, ...]:
    """Golden files, and small networks, which are read faster."""
    small: dict[str, Network] = {
        name: SPECIAL[name]()  # type: ignore[no-untyped-call]
        for name in ("if", "leak-below-one", "single-threshold")
    }
    small |= {"tiny": tiny.network(tiny.neurons()), "no neurons": tiny.network(shape=(2, 2, 2))}
    with tempfile.TemporaryDirectory() as folder:
        for name, net in small.items():
            save_network(net, Path(folder) / f"{name}.lmht")
        return _files("*.lmht") + _files("*.lmht", Path(folder))


def flat_networks() -> tuple[bytes, ...]:
    """Golden files, and a network that is read fast."""
    return (*_files("*.lmhtf"), network_to_bytes(tiny.network(tiny.neurons())))


def _stepwise_networks() -> tuple[bytes, ...]:
    """Networks that compute step by step, as flat files."""
    nets = (build() for build in SPECIAL.values())
    return tuple(network_to_bytes(net) for net in nets if StepwiseEngine.supports(net))


def _netx() -> tuple[bytes, ...]:
    """Golden files, and chains of other tools."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("recurrent", "delays", "without_entry"):
            FILES[name](Path(folder) / f"{name}.net")
        File(Path(folder) / "dense.net", 1, (3,)).dense(2, -9, 9)
        File(Path(folder) / "conv.net", 1, (1, 4, 4)).conv(2)
        for graded in (False, True):
            export_netx(tiny.network(tiny.neurons()), Path(folder) / f"{graded}.net", graded=graded)
        return _files("*.net") + _files("*.net", Path(folder))


def _nir() -> tuple[bytes, ...]:
    """A file of sinabs, and small graphs without compression, whose bytes are values."""
    from lmht_deploy.formats.nir import write_nir
    from tests.importers.test_nir import GRAPHS

    with tempfile.TemporaryDirectory() as folder:
        for name in ("conv", "cuba", "delay", "residual"):
            write_nir(Path(folder) / f"{name}.nir", GRAPHS[name]())
        return _files("sinabs.nir", TESTS / "importers" / "golden") + _files("*.nir", Path(folder))


def _nir_networks() -> tuple[bytes, ...]:
    """Golden files, and small networks, which are read faster."""
    with tempfile.TemporaryDirectory() as folder:
        export_nir(tiny.network(tiny.neurons()), Path(folder) / "tiny.nir")
        export_nir(tiny.network(shape=(2, 2, 2)), Path(folder) / "no-neurons.nir")
        return _files("*.nir") + _files("*.nir", Path(folder))


def _import(path: Path) -> object:
    """Import a file as two profiles, and verify a small network."""
    from_nir(path, steps=3, dt=1.0, reset="subtract", verify=False)
    net = from_nir(path, steps=3, profile="sinabs", verify=False)
    small = max(np.prod(shape, dtype=float) for shape in net.shapes.values()) < MAX_VALUES
    return from_nir(path, steps=3, profile="sinabs", verify=small)


def _run(name: str, path: Path) -> object:
    """Open a file with a backend, and run two windows if they are small."""
    backend = backends.open_backend(name, path)
    shape = (2, min(backend.window_shape[0], 20), *backend.window_shape[1:])
    if np.prod(shape, dtype=float) < MAX_VALUES:
        return backend.run(np.zeros(shape, np.int64))
    return None


# -------------------------------------------------------------------------------- run folders


@cache
def _run_folder() -> Path:
    """A complete run, made without training."""
    import torch

    from lmht_deploy.ir import Input
    from lmht_deploy.training import run_folder, runs
    from lmht_deploy.training._optimization import Optimization
    from lmht_deploy.training.recipe import dumps
    from tests.support.training import small

    folder = Path(tempfile.mkdtemp(prefix="lmht-fuzz-"))
    recipe, input = small(), Input(name="input", shape=(2, 8, 8), steps=3)
    model = runs.make(recipe, input, 4)
    (folder / run_folder.RECIPE).write_text(dumps(recipe))
    runs.save_model(folder, model.state_dict(), input, tuple("abcd"), {})
    runs.write_metrics(folder, [{"epoch": 1, "test_accuracy": 0.5, "density": {"a": 0.1}}])
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    optimization = Optimization(recipe.training, model, torch.device("cpu"))
    runs.write(folder / run_folder.STATE, state | optimization.state_tensors(), {"epoch": 1})
    return folder


def _load_run(name: str, path: Path) -> object:
    """Load a run whose file `name` is `path`."""
    from lmht_deploy.training import runs

    shutil.copy(path, _run_folder() / name)
    return runs.load_run(_run_folder())


def _read_state(path: Path) -> object:
    from lmht_deploy.training import runs

    return runs.read(path)


def _run_target(name: str, mutate: Mutate) -> Target:
    return Target(
        partial(_load_run, name),
        Path(name).suffix,
        lambda: ((_run_folder() / name).read_bytes(),),
        mutate,
    )


# --------------------------------------------------------------------------------- recordings


def _recording(path: Path) -> object:
    return read_events(path, Sensor(480, 640), drop=True)


def _recordings(suffix: str, *written: bytes, mutate: Mutate = mutate_bytes) -> Target:
    def seeds() -> tuple[bytes, ...]:
        found = [*DATA.glob(f"event_formats/*{suffix}"), *DATA.glob(f"reports/*/*{suffix}")]
        cut = MAX_SEED if mutate is mutate_bytes else None
        return (*written, *(path.read_bytes()[:cut] for path in sorted(found)))

    return Target(_recording, suffix, seeds, mutate)


def _zstd_recordings() -> tuple[bytes, ...]:
    """AEDAT 4 with packets of Zstandard, of all kinds of blocks."""
    from tests.library.test_recordings import aedat4_of_zstd

    found = []
    rng = np.random.default_rng(0)
    for number, level in ((1, 3), (60, 1), (200, 19), (900, -5)):
        zero = np.zeros(number, int)
        t = np.cumsum(rng.integers(0, 300, number))
        events = make_events(t, rng.integers(0, 9, number), zero, zero + 1)
        found.append(aedat4_of_zstd(events, level=level, write_checksum=level == 1))
    return tuple(found)


def _hdf5_recordings() -> tuple[bytes, ...]:
    """Columns in one group, and one data set with fields; small, chunked and compressed."""
    import h5py

    found = []
    columns = {name: np.arange(40) % (2 if name == "p" else 40) for name in "txyp"}
    for compound, libver in product((False, True), ("earliest", "v108")):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=libver) as file:
            if compound:
                dtype = [(name, "<u2" if name != "t" else "<i8") for name in "xypt"]
                file.create_dataset("CD/events", data=np.zeros(40, dtype), chunks=(10,))
            for name, values in {} if compound else columns.items():
                file.create_dataset(f"events/{name}", data=values, compression="gzip", chunks=(9,))
        found.append(buffer.getvalue())
    return tuple(found) + tuple(
        path.read_bytes() for path in sorted(DATA.glob("event_formats/*.hdf5"))
    )


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _stored_npz(arrays: Arrays) -> bytes:
    """The same without compression, so that a changed byte changes a header or a value."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------- all


def targets() -> dict[str, Target]:
    """All targets by name."""
    windows: Arrays = {"windows": np.ones((3, 2, 2, 4, 4), np.uint8), "labels": np.arange(3)}
    columns: Arrays = {name: np.arange(4) % 2 for name in "txyp"}
    evt2 = b"% evt 2.0\n% geometry 640x480\n" + bytes.fromhex("00000080 01080010 02100000")
    evt3 = b"% evt 3.0\n% geometry 640x480\n" + bytes.fromhex("02800560 0500 0728 0538 ff4f")
    dat = b"% Width 9\n% Height 9\n\x0c\x08" + bytes(range(16))
    es = b"Event Stream\2\0\0\1\x09\0\x09\0" + bytes(range(0, 40, 2))
    found = {
        "lmht": Target(load_network, ".lmht", _networks, mutate_hdf5),
        "flat": Target(load_flat, ".lmhtf", flat_networks, mutate_flat),
        "windows": Target(
            load_windows, ".npz", lambda: (_npz(windows), _stored_npz(windows)), mutate_npz
        ),
        "netx": Target(partial(_run, "netx"), ".net", _netx, mutate_hdf5),
        "nir": Target(_import, ".nir", _nir, mutate_hdf5),
        "nir-network": Target(load_nir_network, ".nir", _nir_networks, mutate_hdf5),
        "onnx": Target(partial(_run, "onnx"), ".onnx", partial(_files, "*.onnx"), mutate_onnx),
        "recipe": Target(load_recipe, ".toml", partial(_files, "*.toml", RECIPES), mutate_toml),
        "model": _run_target("model.safetensors", mutate_safetensors),
        "metrics": _run_target("metrics.jsonl", mutate_json_lines),
        "state": dataclasses.replace(
            _run_target("state.safetensors", mutate_safetensors), read=_read_state
        ),
        "aedat4": _recordings(".aedat4"),
        "aedat": _recordings(".aedat", b"#!AER-DAT2.0\r\n# End\r\n" + bytes(range(32))),
        "raw": _recordings(".raw", evt2, evt3),
        "dat": _recordings(".dat", dat),
        "es": _recordings(".es", es),
        "bin": _recordings(".bin", bytes(range(50))),
        "npy": _recordings(".npy", _npy(np.zeros(4, EVENT))),
        "csv": _recordings(".csv", b"t,x,y,p\n1,2,3,1\n20,4,5,0\n", b"1 2 3 1\n2 2 3 0\n"),
        "hdf5": Target(_recording, ".hdf5", _hdf5_recordings, mutate_hdf5),
        "npz": Target(
            _recording, ".npz", lambda: (_npz(columns), _stored_npz(columns)), mutate_npz
        ),
    }
    return found | _liblmht_targets(found) | _javascript_targets(found)


def _liblmht_targets(python: Mapping[str, Target]) -> dict[str, Target]:
    """The same files, and others, as liblmht reads them."""
    on_library = partial(Target, needs=("c++",), prepare=_liblmht.library)
    recordings = {
        f"liblmht-{name}": on_library(
            _liblmht.read_recording, target.suffix, target.make_seeds, target.mutate
        )
        for name, target in python.items()
        if name in ("aedat4", "aedat", "raw", "dat", "es", "bin")
    }
    return recordings | {
        "liblmht-zstd": on_library(
            _liblmht.read_recording, ".aedat4", _zstd_recordings, mutate_zstd
        ),
        "liblmht-flat": on_library(_liblmht.open_network, ".lmhtf", flat_networks, mutate_flat),
        "liblmht-stepper": on_library(
            _liblmht.run_steps, ".lmhtf", _stepwise_networks, mutate_flat
        ),
    }


def _javascript_targets(python: Mapping[str, Target]) -> dict[str, Target]:
    """The same files as lmht.js reads them."""
    return {
        "web-lmht": dataclasses.replace(
            python["lmht"],
            read=_javascript.read_network,
            needs=("node",),
            prepare=_javascript.package,
        )
    }
