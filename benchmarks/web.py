"""Speed of lmht.js beside the native engine, and of its page: `python -m benchmarks.web`.

Needs `make web`, Node.js and Chromium. The figures of networks are the best of several runs on one
thread, in ms per window, in Node.js. Pools of one and of two workers run the same batch in turns;
their figures are medians. The page reads and classifies a recording as fast as it can. Headless
Chromium draws without a GPU, so a page on a desktop is faster.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from base64 import b64decode
from pathlib import Path
from statistics import median
from typing import Any

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

POOLS = """
import fs from "node:fs";
const [, , module, network, windows, runs] = process.argv;
const { Pool } = await import(module);
const content = fs.readFileSync(network);
const counts = new Int32Array(new Uint8Array(fs.readFileSync(windows)).buffer);
const pools = [await Pool.read(content, { workers: 1 }), await Pool.read(content, { workers: 2 })];
const seconds = [[], []];
let logits;
for (let run = 0; run < Number(runs); run++)
  for (const [i, pool] of pools.entries()) {
    const begin = performance.now();
    ({ logits } = await pool.run(counts));
    seconds[i].push((performance.now() - begin) / 1000);
  }
pools.forEach((pool) => pool.close());
console.log(JSON.stringify({ seconds, logits }));
"""
BATCH_SECONDS = 0.5
"""Time of the batch that pools run, about."""


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


def in_node(script: str, net: Network, windows: np.ndarray, folder: Path) -> Any:
    """Run a script, and return the seconds that it reports; its logits must be right."""
    (folder / "net.lmhtf").write_bytes(network_to_bytes(net))
    (folder / "windows.bin").write_bytes(np.ascontiguousarray(windows, "<i4").tobytes())
    (folder / "run.mjs").write_text(script)
    arguments = [PACKAGE.as_uri(), *map(str, (folder / "net.lmhtf", folder / "windows.bin", RUNS))]
    command = ["node", str(folder / "run.mjs"), *arguments]
    done = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert done["logits"] == lmht.run(net, windows).logits.tolist()
    return done["seconds"]


def pool_rates(
    net: Network, windows: np.ndarray, seconds: float, folder: Path
) -> tuple[float, ...]:
    """Measure windows per second of one and of two workers; `seconds`: of one window."""
    repeats = math.ceil(BATCH_SECONDS / seconds / len(windows))
    batch = np.concatenate([windows] * repeats)
    return tuple(len(batch) / median(runs) for runs in in_node(POOLS, net, batch, folder))


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
    ArgumentParser(prog="python -m benchmarks.web", description=__doc__).parse_args()
    if not PACKAGE.is_file():
        sys.exit(f"{PACKAGE.parent} is not there; run: make web")
    print(f"{cpu()}\n\n{'ms per window':50s}{'lmht.js':>10s}{'generic':>10s}{'ratio':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        times = {}
        for name, (net, windows) in cases().items():
            times[name] = in_node(SCRIPT, net, windows, Path(folder)) / len(windows)
            native = native_seconds(net, windows, "generic") / len(windows)
            ratio = times[name] / native
            print(f"{name:50s}{1e3 * times[name]:10.2f}{1e3 * native:10.2f}{ratio:8.2f}")
        print(f"\n{'windows/s':50s}{'1 worker':>10s}{'2 workers':>10s}{'ratio':>8s}")
        for name, (net, windows) in cases().items():
            one, two = pool_rates(net, windows, times[name], Path(folder))
            print(f"{name:50s}{one:10.1f}{two:10.1f}{two / one:8.2f}")
        print(f"\npage, {EVENTS:,} events of {SENSOR.width} x {SENSOR.height} pixels")
        for what, value in page_figures(Path(folder)).items():
            print(f"{what:20s}{value:15,.0f}")
    engine = (PACKAGE.parent / "wasm.js").read_text().split('"')[1]
    print(f"\nengine               {len(b64decode(engine)):14,} bytes, compressed by gzip")


if __name__ == "__main__":
    main()
