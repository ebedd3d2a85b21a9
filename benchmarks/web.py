"""Speed of lmht.js in Node.js beside the native engine: `python -m benchmarks.web`.

Needs `make web` and Node.js. Each figure is the best of several runs on one thread, in ms per
window.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import lmht_deploy as lmht
from lmht_deploy.engine import Engine, Model
from lmht_deploy.events import WindowRule, count_windows, read_events
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network

from .networks import event_windows, resnet18
from .report import cpu

PACKAGE = Path(__file__).parents[1] / "build" / "web" / "lmht.js" / "lmht.js"
RUNS = 15
SCRIPT = """
import fs from "node:fs";
const [, , module, network, windows, runs] = process.argv;
const { Network } = await import(module);
const net = await Network.read(fs.readFileSync(network));
const counts = new Int32Array(new Uint8Array(fs.readFileSync(windows)).buffer);
const seconds = Array.from({ length: Number(runs) }, () => net.run(counts).seconds);
console.log(JSON.stringify({ seconds: Math.min(...seconds), logits: net.run(counts).logits }));
"""


def cases() -> dict[str, tuple[Network, np.ndarray]]:
    """Return networks and windows by name."""
    digits, recording = lmht.load("zoo:digits"), read_events("zoo:digits")
    rule = WindowRule.from_text(digits.metadata["window"])
    found = {"zoo:digits": (digits, count_windows(recording.events, recording.sensor, rule))}
    for density in (0.1, 0.05):
        name = f"ResNet-18, 2 x 48 x 48, T = 4, density {density:.0%}"
        found[name] = (resnet18(density=density), event_windows((2, 48, 48), 4, 2))
    return found


def native_seconds(net: Network, windows: np.ndarray, isa: str) -> float:
    """Measure the native engine."""
    engine = Engine(Model(net, isa=isa))
    return min(engine.run(windows).seconds for _ in range(RUNS))


def browser_seconds(net: Network, windows: np.ndarray, folder: Path) -> float:
    """Measure lmht.js; its logits must be those of the native engine."""
    (folder / "net.lmhtf").write_bytes(network_to_bytes(net))
    (folder / "windows.bin").write_bytes(np.ascontiguousarray(windows, "<i4").tobytes())
    (folder / "run.mjs").write_text(SCRIPT)
    arguments = [PACKAGE.as_uri(), *map(str, (folder / "net.lmhtf", folder / "windows.bin", RUNS))]
    command = ["node", str(folder / "run.mjs"), *arguments]
    done = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert done["logits"] == lmht.run(net, windows).logits.tolist()
    return float(done["seconds"])


def main() -> None:
    """Print a table."""
    print(f"{cpu()}\n\n{'ms per window':50s}{'lmht.js':>10s}{'generic':>10s}{'ratio':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (net, windows) in cases().items():
            browser = browser_seconds(net, windows, Path(folder)) * 1e3 / len(windows)
            native = native_seconds(net, windows, "generic") * 1e3 / len(windows)
            print(f"{name:50s}{browser:10.2f}{native:10.2f}{browser / native:8.2f}")


if __name__ == "__main__":
    main()
