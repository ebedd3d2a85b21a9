"""Speed of lmht.js beside the native engine, and of its page: `python -m benchmarks.web`.

Needs `make web`, Node.js and Chromium. The figures of networks are the best of several runs on one
thread, in ms per window, in Node.js. The page reads and classifies a recording as fast as it can.
Headless Chromium draws without a GPU, so a page on a desktop is faster.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import lmht_deploy as lmht
from lmht_deploy.engine import Engine, Model
from lmht_deploy.events import WindowRule, count_windows, make_events, read_events
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.recordings import Recording, write_events
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network
from tests.support.chromium import open_page

from .networks import event_windows, resnet18
from .report import cpu

BUILT = Path(__file__).parents[1] / "build" / "web"
PACKAGE = BUILT / "lmht.js" / "lmht.js"
RUNS = 15
EVENTS, SENSOR = 8_000_000, Sensor(180, 240)
"""Of the recording that the page reads: random events at 1 M events/s."""
PLAY = """
Object.assign(page.state, { speed: Infinity, time: 0, playing: true });
globalThis.pictures = 0;
globalThis.begin = performance.now();
(function next() {
  const { ended, time, rec } = page.state;
  pictures += 1;
  if (ended && time >= rec.duration) globalThis.end = performance.now();
  else requestAnimationFrame(next);
})();
"""
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


def write_recording(path: Path) -> None:
    """Write random events."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, EVENTS, EVENTS))
    x, y, p = (rng.integers(0, most, EVENTS) for most in (SENSOR.width, SENSOR.height, 2))
    write_events(path, Recording(make_events(t, x, y, p), SENSOR))


def page_figures(folder: Path) -> dict[str, float]:
    """Return what the page reaches with the digits network and windows of 100 ms."""
    recording = folder / "recording.raw"
    write_recording(recording)
    with open_page(folder, (BUILT / "page" / "index.html").as_uri()) as page:
        page.wait("globalThis.page && page.state.ended")
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        page.call("DOM.setFileInputFiles", files=[str(recording)], nodeId=node)
        page.wait("page.state.rec?.name === 'recording.raw' && page.state.stream !== null")
        page.run(PLAY)
        seconds = page.wait("globalThis.end && (end - begin) / 1000")
        return {
            "events/s, played": page.run("page.state.rec.events.length") / seconds,
            "events/s, computed": page.run("(1000 * page.state.pushed) / page.state.busy"),
            "pictures/s": page.run("pictures") / seconds,
        }


def main() -> None:
    """Print the tables."""
    print(f"{cpu()}\n\n{'ms per window':50s}{'lmht.js':>10s}{'generic':>10s}{'ratio':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (net, windows) in cases().items():
            browser = browser_seconds(net, windows, Path(folder)) * 1e3 / len(windows)
            native = native_seconds(net, windows, "generic") * 1e3 / len(windows)
            print(f"{name:50s}{browser:10.2f}{native:10.2f}{browser / native:8.2f}")
        print(f"\npage, {EVENTS:,} events of {SENSOR.width} x {SENSOR.height} pixels")
        for what, value in page_figures(Path(folder)).items():
            print(f"{what:20s}{value:15,.0f}")
    engine = (BUILT / "objects" / "lmht.wasm").read_bytes()
    print(f"\nengine               {len(gzip.compress(engine, 9)):14,} bytes, compressed by gzip")


if __name__ == "__main__":
    main()
