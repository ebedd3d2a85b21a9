"""Write the golden files of the current version of the exchange formats.

    python -m tests.formats.golden.write

Golden files are never changed: this program refuses to replace one. Run it once after a format has
received a new version. The tests require that every later version reads all of them and gives the
integers of `<name>.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lmht_deploy import reference
from lmht_deploy.exporters import export
from lmht_deploy.formats import nir_network, onnx
from lmht_deploy.formats.netx import exact, network
from lmht_deploy.ir import Network
from tests.support.exact_networks import shortcuts
from tests.support.networks import Builder, windows_for

FOLDER = Path(__file__).parent


def small() -> Network:
    """Every kind of synapse, T-GIM, leak, graded spikes, sum pooling and a residual sum."""
    b = Builder(0, shape=(2, 6, 6), steps=3)
    a = b.neurons("a", b.conv("input", 4), steps=2, omega="random", leak=3600)
    c = b.neurons("c", b.conv(a, 4, groups=2), b.scale(a, 1), steps=2, levels=3)
    return b.finish(b.sum_pool(c), classes=4)


def plain() -> Network:
    """IF neurons, which every reader of NIR knows, over a convolution, sums and a dense layer."""
    b = Builder(1, shape=(2, 6, 6), steps=4)
    plain = {"levels": 1, "v0": (0, 1), "threshold": (200, 900)}
    a = b.neurons("a", b.conv("input", 3), **plain)  # type: ignore[arg-type]
    c = b.neurons("c", b.conv(b.sum_pool(a), 4), **plain)  # type: ignore[arg-type]
    return b.finish(c)


def resets() -> Network:
    """Every reset, floors, and layers of several levels."""
    b = Builder(2, shape=(2, 6, 6), steps=3)
    a = b.neurons("a", b.conv("input", 4), steps=2, omega="random", leak=3600, reset="zero")
    c = b.neurons("c", b.conv(a, 4), b.scale(a), steps=2, leak=3000, reset="subtract-late")
    d = b.neurons("d", b.conv(c, 4), steps=2, levels=3, floor=(-300, 1), v0=(-900, 900))
    return b.finish(b.sum_pool(d), classes=4)


FILES: dict[str, tuple[Callable[[], Network], str, dict[str, bool]]] = {
    "netx-1": (small, ".net", {}),
    "netx-graded-1": (small, ".net", {"graded": True}),
    f"netx-{network.VERSION}": (resets, ".net", {}),
    f"netx-graded-{network.VERSION}": (resets, ".net", {"graded": True}),
    f"netx-exact-{exact.VERSION}": (shortcuts, ".net", {"stock_exact": True}),
    f"onnx-{onnx.VERSION}": (small, ".onnx", {"trace": True}),
    f"nir-exact-{nir_network.VERSION}": (small, ".nir", {}),
    f"nir-plain-{nir_network.VERSION}": (plain, ".nir", {"plain": True}),
}
"""Network, suffix and options of each file."""


def main() -> None:
    """Write the files that do not exist."""
    for name, (make, suffix, options) in FILES.items():
        path = FOLDER / f"{name}{suffix}"
        if path.exists():
            continue
        net, windows = make(), windows_for(make(), 4)
        export(net, path, **options)
        result = reference.run(net, windows)
        content = {
            "windows": windows.tolist(),
            "logits": result.logits.tolist(),
            "scale": result.scale,
            "spikes": {name: counts.tolist() for name, counts in result.spikes.items()},
            "sops": {name: counts.tolist() for name, counts in result.sops.items()},
        }
        path.with_suffix(".json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
