"""Runs the installed package as a user would; started by `check.py` inside each environment.

It uses the public API only, and fails on the first wrong integer.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import lmht_deploy as lmht

HEAVY = {"torch", "onnx", "onnxruntime", "tonic", "h5py"}


def small_network() -> lmht.Network:
    """An integer network with one layer of neurons (L=2, T=2)."""
    import numpy as np

    rng = np.random.default_rng(0)
    return lmht.Network(
        (
            lmht.Input(name="input", shape=(2, 8, 8), steps=2, max_value=3),
            lmht.Neurons(
                name="hidden",
                synapses=(lmht.Conv(source="input", weight=rng.integers(-9, 10, (4, 2, 3, 3))),),
                bias=np.zeros(4, int),
                threshold=np.full(4, 20),
                omega=np.array([[1, 0], [1, 1]]),
                leak=4096,
                v0=np.zeros(4, int),
                levels=2,
            ),
            lmht.Flatten(name="flat", source="hidden"),
            lmht.Readout(
                name="readout",
                synapses=(lmht.Linear(source="flat", weight=rng.integers(-9, 10, (3, 144))),),
                bias=np.zeros(3, int),
            ),
        )
    )


def main() -> None:
    """Save, load, export and run a network on every backend that is installed."""
    if loaded := HEAVY & sys.modules.keys():
        raise SystemExit(f"import lmht_deploy loads {sorted(loaded)}")
    import numpy as np

    net = small_network()
    lmht.save(net, "net.lmht")
    assert lmht.load("net.lmht") == net
    windows = np.random.default_rng(1).integers(0, 4, (5, *net.window_shape))
    lmht.save_windows(windows, "windows.npz", np.arange(5) % 3)
    expected = lmht.run(net, windows, backend="reference")
    assert lmht.export(net, "net.c").format == "C99"
    assert "run_neurons" in Path("net.c").read_text() and Path("net.h").is_file()
    backends = ["event", "reference"]
    if importlib.util.find_spec("onnxruntime"):
        backends.append("onnx")
        assert lmht.export(net, "net.onnx").path == Path("net.onnx")
    if importlib.util.find_spec("torch"):
        backends.append("torch")
    for backend in backends:
        found = lmht.run(net, windows, backend=backend)
        np.testing.assert_array_equal(found.logits, expected.logits, err_msg=backend)
        for layer, spikes in expected.spikes.items():
            np.testing.assert_array_equal(found.spikes[layer], spikes, err_msg=backend)
    assert lmht.compare(net, windows, backends=backends).equal
    print(
        f"{', '.join(backends)}: equal integers, NumPy {np.__version__}, {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
