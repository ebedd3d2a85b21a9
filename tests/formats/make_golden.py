"""Golden files: written once per version of a format, and read by every later release.

    python -m tests.formats.make_golden

writes the files that are missing. A golden file is never written again: it shows what a release
wrote, also after the code that wrote it has changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy import reference
from lmht_deploy.exporters.flat import export_flat
from lmht_deploy.formats import flat, lmht, windows
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Network
from lmht_deploy.reparameterize import reparameterize
from lmht_deploy.result import Result
from tests.support.networks import Builder, float_network, resets_mixed, windows_for

GOLDEN = Path(__file__).parent / "golden"


def every_kind() -> Network:
    """Every kind of layer and synapse, with no field at its default value everywhere."""
    b = Builder(20, shape=(2, 9, 8), steps=3, max_value=2)
    a = b.neurons("a", b.conv("input", 4, (3, 2), (2, 1), (1, 0), groups=2), levels=3, leak=3500)
    c = b.neurons("c", b.conv(a, 4, 3, 1, 2, dilation=2, exponent=1), b.scale(a), omega="random")
    pooled = b.max_pool(b.sum_pool(c, 2, 1, 1), 3, 2, 1)
    d = b.neurons("d", b.conv(pooled, 3, 1, 1, 0), steps=2, omega="random", v0=(-90, 90))
    net = b.finish(d, classes=3)
    return Network(net.layers, {"classes": '["ä", "b", "c"]', "recipe": "golden"})


def image() -> Network:
    """Pixels of any sign, and dense layers only."""
    b = Builder(21, shape=(7,), steps=1, min_value=-9, max_value=12, kind="image")
    a = b.neurons("a", b.linear("input", 6, 2), omega=[[1], [2]], steps=2)
    return b.finish(a, classes=2)


NETWORKS: dict[str, Callable[[], Network]] = {
    "every-kind": every_kind,
    "block-start": lambda: reparameterize(every_kind()),
    "uniform": lambda: reparameterize(every_kind(), "uniform"),
    "image": image,
    "float": lambda: float_network(channels=2),
    "resets": resets_mixed,
}
"""A file has the oldest version that holds its network."""


def expected(result: Result) -> dict[str, Any]:
    """Return the numbers of a result that never change."""
    counts = {
        table: {name: count.tolist() for name, count in getattr(result, table).items()}
        for table in ("spikes", "sops", "events", "event_sops")
    }
    return {"logits": result.logits.tolist(), "macs": result.macs} | counts


def write_network(name: str, net: Network) -> None:
    """Write a network, windows for it, and what the reference gives for them."""
    stem = f"{name}.v{lmht.version_of(net)}"
    if (GOLDEN / f"{stem}.lmht").exists():
        return
    data = windows_for(net, 3, density=0.5)
    data_stem = f"{name}.v{windows.SCHEMA.version}"
    save_windows(data.astype(np.int16), GOLDEN / f"{data_stem}.npz", np.array([2, 0, 1]))
    save_network(net, GOLDEN / f"{stem}.lmht")
    text = json.dumps(expected(reference.run(net, data)), indent=1)
    (GOLDEN / f"{stem}.json").write_text(text + "\n")


def write_flat(name: str, net: Network) -> None:
    """Write an integer network as a flat file."""
    path = GOLDEN / f"{name}.v{flat.SCHEMA.version}.lmhtf"
    if net.integer and not path.exists():
        export_flat(net, path)


def main() -> None:
    """Write the golden files that are missing."""
    GOLDEN.mkdir(exist_ok=True)
    for name, build in NETWORKS.items():
        write_network(name, build())
        write_flat(name, build())


if __name__ == "__main__":
    main()
