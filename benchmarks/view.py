"""How many pictures per second a page of the live view draws in headless Chromium.

    python -m benchmarks.view [--rate EVENTS_PER_SECOND] [--seconds N]

A recording of a 240 x 180 sensor is played in real time. Reported are the pictures that the page
drew per second, what drawing one costs the page, and the pictures that were dropped. Headless
Chromium draws without a GPU, so a page on a desktop is faster.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lmht_deploy.events import make_events
from tests.support.chromium import Page, open_page

SENSOR = (180, 240)
NETWORK = "zoo:cifar10-dvs-emulated"
MEASURE = """
window.costs = [];
const own = draw;
draw = (now) => {
  const start = performance.now();
  own(now);
  window.costs.push(performance.now() - start);
};
"""


def write_recording(path: Path, rate: float, seconds: float) -> None:
    """Write events at random places, with a bar that moves to the right."""
    rng = np.random.default_rng(0)
    number = int(rate * seconds)
    t = np.sort(rng.integers(0, int(seconds * 1e6), number))
    bar = (t // 10_000) % SENSOR[1]
    near = rng.random(number) < 0.5
    x = np.where(near, (bar + rng.integers(0, 12, number)) % SENSOR[1], 0)
    x = np.where(near, x, rng.integers(0, SENSOR[1], number))
    y = rng.integers(0, SENSOR[0], number)
    np.save(path, make_events(t, x, y, rng.integers(0, 2, number)))


def watch(page: Page, seconds: float) -> dict[str, float]:
    """Return the pictures per second of the page, and what one costs it in ms."""
    page.wait("state.header && state.header.rates.events > 0")
    page.run(MEASURE)
    time.sleep(1.5)
    page.run("window.costs.length = 0")
    before, start = page.run("state.header.picture"), time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - start
    drawn, costs = page.run("window.costs.length"), np.array(page.run("window.costs"))
    return {
        "pictures_per_second": drawn / elapsed,
        "offered_per_second": (page.run("state.header.picture") - before) / elapsed,
        "draw_ms_p50": float(np.median(costs)),
        "draw_ms_p99": float(np.percentile(costs, 99)),
        "events_per_second": page.run("state.header.rates.events"),
        "dropped": page.run("state.header.dropped"),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1e6)
    parser.add_argument("--seconds", type=float, default=8.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recording(folder / "recording.npy", chosen.rate, chosen.seconds + 8)
        command = [
            *(sys.executable, "-m", "lmht_deploy", "view", NETWORK, str(folder / "recording.npy")),
            *("--length", "100ms", "--sensor", f"{SENSOR[1]}x{SENSOR[0]}", "--no-browser"),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = ""
            while process.poll() is None and not (url := re.search(r"http://\S+", said)):
                said = process.stderr.readline()
            assert url is not None, said
            with open_page(folder, url[0]) as page:
                page.look(1280, 900, dark=False)
                for what, value in watch(page, chosen.seconds).items():
                    print(f"{what:>20} {value:,.3g}", flush=True)
            process.kill()


if __name__ == "__main__":
    main()
