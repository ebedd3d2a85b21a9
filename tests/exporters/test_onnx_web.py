"""Exported files in onnxruntime-web, under Node.js: WebAssembly gives the same integers.

`make cross-tools` installs Node.js and onnxruntime-web.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.exporters.onnx import export_onnx
from tests.support.networks import SPECIAL, windows_for

onnx = pytest.importorskip("onnx")

NAMES = [
    "if", "lm-ht", "uniform", "leak-below-one", "leak-above-one", "levels-4", "residual", "pooled",
    "averaged", "geometry", "dense", "image", "wide", "single-threshold-uniform",
]  # fmt: skip
FOLDER = Path(__file__).with_name("onnx_web")


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=FOLDER, check=False, capture_output=True, text=True, timeout=240
    )


def node() -> str:
    """Return the command of Node.js, or skip."""
    command = shutil.which("node")
    check = "require.resolve('onnxruntime-web')"
    if not command or _run(command, "-e", check).returncode:
        pytest.skip("Node.js with onnxruntime-web is not installed: make cross-tools")
    return command


@pytest.mark.parametrize("portable", [False, True])
def test_webassembly_gives_the_same_integers(portable: bool, tmp_path: Path) -> None:
    command, data = node(), {}
    for name in NAMES:
        net = SPECIAL[name]()
        data[name] = windows_for(net, 2)
        path = tmp_path / f"{name}.onnx"
        export_onnx(net, path, trace=True, portable=portable)
        (entry,) = onnx.load(path).graph.input
        dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        values = {"type": dtype.name, "shape": data[name].shape, "values": data[name].ravel()}
        path.with_suffix(".json").write_text(json.dumps(values, default=np.ndarray.tolist))
    done = _run(command, "run.cjs", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        result = reference.run(SPECIAL[name](), data[name], trace=True)
        expected = {"logits": result.logits}
        for kind in ("spikes", "sops", "events", "event_sops"):
            expected |= {f"{kind}/{layer}": v for layer, v in getattr(result, kind).items()}
        expected |= {f"k/{layer}": k for layer, k in (result.traces or {}).items()}
        found = json.loads((tmp_path / f"{name}.out").read_text())
        assert found.keys() == expected.keys()
        for output, values in expected.items():
            assert found[output] == values.ravel().tolist(), (name, output)
