"""Size and instructions of the C export, emulated: `python -m benchmarks.microcontroller`.

Needs `make cross-tools`. QEMU runs a Cortex-M4, and counts instructions, not cycles: the figures
are the same on every machine. `examples/bare-metal` pushes and runs one window, and its spikes and
SOPs must be those of the reference. Flash is the code and the tables of the network at -O3.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, windows_for

from .networks import event_windows

EXAMPLE = Path(__file__).parents[1] / "examples" / "bare-metal"
COMPILER = "arm-linux-gnueabi-gcc"
FLAGS = ("-std=c99", "-fno-pic", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-ffreestanding")
LINK = ("-nostdlib", "-static", "-Wl,--build-id=none,--no-warn-rwx-segments")
EMULATOR = (
    "qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "null",
    "-semihosting", "-icount", "shift=0", "-kernel",
)  # fmt: skip
LEVELS = ("-Os", "-O2", "-O3")


class Figures(NamedTuple):
    """What one network needs."""

    flash: int
    ram: int
    sops: int
    instructions: tuple[int, ...]


def cases() -> Iterator[tuple[str, Network, np.ndarray]]:
    """Yield networks, each with one window `[T_in, C, H, W]`, by name."""
    for name in ("zoo:digits", "zoo:digits-mht"):
        net = lmht.load(name)
        yield name, net, lmht.data.load("digits", split="test", steps=net.input.steps).windows[3]
    dvs = lmht.load("zoo:cifar10-dvs-emulated")
    yield "zoo:cifar10-dvs-emulated", dvs, event_windows(dvs.input.shape, dvs.input.steps)[0]
    for name, build in SPECIAL.items():
        net = build()
        yield name, net, windows_for(net, 1)[0]


def measure(net: Network, window: np.ndarray, folder: Path) -> Figures:
    """Compile a network at each level, and run the window."""
    lmht.export(net, folder / "net.c")
    _write_window(window.reshape(net.input.steps, *_image(net)), folder / "window.h")
    expected = reference.run(net, window[None])
    counts = [sum(int(n[0]) for n in each.values()) for each in (expected.spikes, expected.sops)]
    wanted = f"class {expected.predictions[0]}, {counts[0]} spikes, {counts[1]} SOPs, "
    instructions = []
    for level in LEVELS:
        answer = _run(folder, level)
        assert answer.startswith(wanted), (answer, wanted)
        instructions.append(int(answer.removeprefix(wanted).split()[0]))
    text, data, bss = _sizes(folder)
    return Figures(text + data, data + bss, counts[1], tuple(instructions))


def _image(net: Network) -> tuple[int, ...]:
    return net.input.shape if len(net.input.shape) == 3 else (*net.input.shape, 1, 1)


def _write_window(window: np.ndarray, path: Path) -> None:
    places = [f"{{{', '.join(map(str, at))}, {window[tuple(at)]}}}" for at in np.argwhere(window)]
    path.write_text(
        "typedef struct { int step, channel, y, x, count; } event;\n"
        f"static const event events[] = {{\n{','.join(places) or '{0, 0, 0, 0, 0}'}}};\n"
        "enum { EVENTS = sizeof events / sizeof *events };\n"
    )


def _run(folder: Path, level: str) -> str:
    """Return what the program prints."""
    compiled = [COMPILER, *FLAGS, level]
    script = ["-T", str(EXAMPLE / "mps2-an386.ld")]
    sources = [str(EXAMPLE / "main.c"), "net.o", "-lgcc", "-o", "net.elf"]
    for command in (
        [*compiled, "-c", "net.c", "-o", "net.o"],
        [*compiled, "-I.", *LINK, *script, *sources],
    ):
        subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(
        [*EMULATOR, "net.elf"], cwd=folder, check=True, capture_output=True, text=True
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def _sizes(folder: Path) -> list[int]:
    """Text, data and bss of the network."""
    command = [COMPILER.replace("gcc", "size"), "net.o"]
    listed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [int(number) for number in re.findall(r"\d+", listed.splitlines()[1])[:3]]


def main() -> None:
    """Print the table."""
    print(f"{'':34s}{'':30s}{'instructions of a window':>36s}{'SOPs per':>13s}")
    heads = "".join(f"{level:>12s}" for level in LEVELS)
    print(f"{'network':34s}{'flash':>10s}{'RAM':>10s}{'SOPs':>10s}{heads}{'instruction':>13s}")
    for name, net, window in cases():
        with tempfile.TemporaryDirectory() as folder:
            found = measure(net, window, Path(folder))
        columns = "".join(f"{number:10,}" for number in found[:3])
        columns += "".join(f"{number:12,}" for number in found.instructions)
        print(f"{name:34s}{columns}{found.sops / min(found.instructions):13.2f}", flush=True)


if __name__ == "__main__":
    main()
