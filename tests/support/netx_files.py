"""NetX files of random layers, as other tools write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np


class File:
    """Writes a NetX file of random layers; without `entry`, the first one has no input layer."""

    def __init__(
        self, path: Path, seed: int, shape: tuple[int, ...], *, entry: bool = True
    ) -> None:
        self.path, self.rng, self.shape = path, np.random.default_rng(seed), shape
        self.file = h5py.File(path, "w")
        if entry:
            self.layer("input", shape)

    def layer(self, kind: str, shape: tuple[int, ...], **data: object) -> h5py.Group:
        group = self.file.create_group(
            f"layer/{len(self.file['layer']) if 'layer' in self.file else 0}"
        )
        group["type"] = np.array([kind.encode()], "S10")
        group["shape"] = np.array(shape)
        for name, value in data.items():
            group[name] = value
        self.shape = shape
        return group

    def neurons(
        self, group: h5py.Group, threshold: int, decays: tuple[int, int], bias: int
    ) -> None:
        group["neuron/type"] = "LOIHI"
        for name, value in zip(("iDecay", "vDecay", "vThMant"), (*decays, threshold), strict=True):
            group[f"neuron/{name}"] = value
        group["bias"] = self.rng.integers(-bias, bias + 1, group["shape"][0])

    def conv(
        self,
        channels: int,
        weights: int = 40,
        threshold: int = 100,
        decays: tuple[int, int] = (4096, 500),
        bias: int = 20,
        **geometry: object,
    ) -> None:
        geometry = {"stride": 1, "padding": np.array([1, 0]), "dilation": 1, "groups": 1} | geometry
        weight = self.rng.integers(
            -weights, weights + 1, (channels, self.shape[0] // int(geometry["groups"]), 3, 2)
        )  # type: ignore[call-overload]
        stride, padding, dilation = (
            np.broadcast_to(geometry[name], 2) for name in ("stride", "padding", "dilation")
        )
        places = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(self.shape[1:], (3, 2), stride, padding, dilation, strict=True)
        )
        self.neurons(
            self.layer(
                "conv", (channels, *map(int, places)), weight=weight.astype(np.float32), **geometry
            ),
            threshold,
            decays,
            bias,
        )

    def dense(
        self,
        units: int,
        low: int,
        high: int,
        threshold: int = 100,
        decays: tuple[int, int] = (1024, 500),
        bias: int = 20,
        **data: object,
    ) -> None:
        inputs = int(np.prod(self.shape))
        if len(self.shape) == 3:
            self.layer("flatten", (1, 1, inputs))
        kind = "dense_rec" if "weight_rec" in data else "dense"
        group = self.layer(
            kind, (units,), weight=self.rng.integers(low, high + 1, (units, inputs)), **data
        )
        self.neurons(group, threshold, decays, bias)


def convolutions(path: Path) -> None:
    f = File(path, 1, (2, 9, 7))
    f.conv(6, stride=np.array([2, 1]))
    f.conv(8, groups=2, dilation=np.array([1, 2]), padding=2, decays=(1000, 4096))
    f.dense(7, -60, 60)


def signs(path: Path) -> None:
    """Dense weights of both signs and of one, beyond what lava-dl holds, and ones that it loses."""
    f = File(path, 2, (12,))
    f.dense(30, -400, 300, threshold=300)
    f.dense(30, 0, 255, threshold=4000, bias=0)
    f.dense(30, -200, -3, threshold=30, bias=9000)
    f.dense(30, -256, 254, threshold=60)
    f.dense(30, 0, 400, threshold=10, bias=40)
    f.dense(20, -1, -1, threshold=10, bias=40)
    f.dense(20, -64, 0, threshold=10, bias=900)
    f.dense(20, -3, 40)


def recurrent(path: Path) -> None:
    f = File(path, 3, (12,))
    f.dense(16, -100, 127, weight_rec=f.rng.integers(-120, 90, (16, 16)))
    f.dense(9, -40, 30, weight_rec=f.rng.integers(0, 90, (9, 9)))


def delays(path: Path) -> None:
    f = File(path, 4, (12,))
    f.dense(16, -50, 100, delay=f.rng.integers(0, 9, (16, 12)))
    f.dense(14, -50, 100, delay=f.rng.integers(0, 70, 14).astype(np.float32))
    f.dense(16, -50, 100, delay=f.rng.integers(0, 20, 14))
    f.dense(5, -50, 100, delay=np.float32(3.7))


def wrapping(path: Path) -> None:
    """Currents, potentials and biases that exceed their bits."""
    f = File(path, 5, (2, 8, 6))
    f.conv(4, weights=3_000_000, threshold=3000, decays=(300, 3))
    f.conv(4, weights=60_000, threshold=9000, bias=60_000, decays=(1, 1))
    f.dense(6, -250, 250, threshold=100_000, bias=40_000, decays=(0, 0))


def without_entry(path: Path) -> None:
    """Begins with a dense layer, as lava-dl's own tutorials do."""
    f = File(path, 9, (12,), entry=False)
    f.dense(16, -60, 90, weight_rec=f.rng.integers(-60, 60, (16, 16)))
    f.dense(9, -40, 60, delay=f.rng.integers(0, 9, (9, 16)))


FILES: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (convolutions, signs, recurrent, delays, wrapping, without_entry)
}


def random_network(seed: int, path: Path) -> None:
    """A chain of any layers and parameters, with states that reach their limits now and then."""
    rng = np.random.default_rng([7, seed])
    shape = (int(rng.integers(1, 4)) * 2, int(rng.integers(5, 10)), int(rng.integers(5, 10)))
    f = File(path, seed, shape if seed % 4 else shape[:1])

    def neurons() -> dict[str, Any]:
        return {
            "threshold": int(rng.choice([3, 60, 900])),
            "decays": (any_decay(rng), any_decay(rng)),
            "bias": int(rng.choice([0, 3, 200, 40_000])),
        }

    for _ in range(rng.integers(0, 3) if len(f.shape) == 3 else 0):
        groups = int(rng.choice([1, 1, 2]))
        geometry: dict[str, Any] = {
            "groups": groups,
            "stride": rng.integers(1, 3, 2),
            "padding": rng.integers(2, 4, 2),
            "dilation": rng.integers(1, 3, 2),
        }
        f.conv(
            2 * int(rng.integers(1, 12)),
            weights=int(rng.choice([5, 100, 40_000])),
            **geometry,
            **neurons(),
        )
    for _ in range(rng.integers(1, 4)):
        units, inputs = int(rng.integers(3, 40)), int(np.prod(f.shape))
        data: dict[str, Any] = {}
        if rng.random() < 0.3:
            data["weight_rec"] = rng.integers(-90, 90, (units, units))
        elif rng.random() < 0.5:
            delays: Any = [
                rng.integers(0, 12, (units, inputs)),
                rng.integers(0, 63, units),
                np.int64(5),
            ]
            data["delay"] = delays[rng.integers(3)]
        low, high = (int(n) for n in rng.choice([(-100, 100), (-256, 254), (0, 40), (-300, -2)]))
        f.dense(units, low, high, **neurons(), **data)
    f.file.close()


def sigma_delta(path: Path, seed: int) -> None:
    """Sigma-delta layers, as lava-dl writes them; odd seeds have spikes as input."""
    rng = np.random.default_rng([8, seed])
    f = File(path, seed, (3, 9, 8))

    def neurons(group: h5py.Group, **data: object) -> None:
        for name in ("iDecay", "vDecay", "vThMant", "type"):
            del group[f"neuron/{name}"]
        values = {"type": "SDNN", "activation": "relu", "vThMant": int(rng.choice([0, 1, 20]))}
        for name, value in (values | data).items():
            group[f"neuron/{name}"] = value

    if seed % 2 == 0:
        f.neurons(f.file["layer/0"], 0, (0, 0), 0)
        del f.file["layer/0/bias"]
        neurons(f.file["layer/0"])
    f.conv(6, weights=int(rng.choice([9, 4000])), stride=2)
    neurons(f.file["layer/1"])
    f.conv(8, groups=2, padding=1)
    neurons(f.file["layer/2"])
    f.dense(20, -60, 70, **({"delay": np.int64(2)} if seed % 3 == 0 else {}))
    neurons(f.file["layer/4"])
    f.dense(9, 0, 300, threshold=30_000)
    if seed % 4 < 2:
        neurons(f.file["layer/5"])
    f.dense(4, -30, 30)
    neurons(f.file["layer/6"], **({} if seed % 5 else {"sigma_output": True}))
    if seed % 5 == 0:
        del f.file["layer/6/bias"]
    f.file.close()


def any_decay(rng: np.random.Generator) -> int:
    return int(rng.choice([0, 1, 300, 1024, 4095, 4096]))
