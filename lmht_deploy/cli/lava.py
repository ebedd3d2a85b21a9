"""`lmht lava`: Lava's own environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import common

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.ir import Network

app = typer.Typer(
    name="lava",
    no_args_is_help=True,
    help="Install and check Lava, Intel's simulator of neuromorphic processes.",
    rich_markup_mode="rich",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Where the environment lies (default: in the user's cache folder).",
    ),
]


@app.command(epilog="Example: lmht lava install")
def install(
    folder: Folder = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="FILE",
            help="Python 3.10, 3.11 or 3.12 to build with (default: the best one found).",
        ),
    ] = None,
    json: common.Json = None,
) -> None:
    """Build Lava's environment, unless it is there: about 450 MB once unpacked, from PyPI, no PyTorch."""
    from lmht_deploy.backends.lava import environment

    common.check_writable(json)
    already = " already" if environment.python_of(folder) else ""
    installed = environment.install(
        folder,
        python,
        progress=lambda step: common.err.print(step, highlight=False, soft_wrap=True),
    )
    common.out.print(
        f"Lava is installed{already}, with Python {environment.version_of(installed)}: {installed}",
        highlight=False,
        soft_wrap=True,
    )
    common.write_json(json, {"python": installed})


@app.command(epilog="Example: lmht lava check")
def check(folder: Folder = None, json: common.Json = None) -> None:
    """Prove Lava on a small network: export it to NetX, run it, and hold every spike against the golden model's.

    Exits with 1 where they differ.
    """
    import numpy as np

    from lmht_deploy import reference
    from lmht_deploy.analysis.compare import difference
    from lmht_deploy.backends import lava
    from lmht_deploy.exporters import netx

    common.check_writable(json)
    net = _small_network()
    windows = np.random.default_rng(0).integers(0, 3, (4, *net.window_shape))
    with tempfile.TemporaryDirectory(prefix="lmht-") as name:
        path = Path(name) / "check.net"
        netx.export_netx(net, path)
        found = lava.open_artifact(path, folder=folder).run(windows)
    wrong = difference(found, reference.run(net, windows))
    spikes = int(sum(counts.sum() for counts in found.spikes.values()))
    common.write_json(
        json,
        {
            "equal": wrong is None,
            "difference": wrong,
            "windows": len(windows),
            "spikes": spikes,
            "seconds": found.seconds,
        },
    )
    if wrong:
        common.out.print(f"Lava differs from the golden model: {wrong}", highlight=False)
        raise typer.Exit(1)
    common.out.print(
        f"Lava is exact: {spikes} spikes of {len(windows)} windows, as the golden model has them ({found.seconds:.1f} s)",
        highlight=False,
    )


def _small_network() -> Network:
    """Two layers of LM-HT neurons with T-GIM and leak, a residual sum and a read-out, of fixed random integers."""
    import numpy as np

    from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Neurons, Readout, Scale

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape)

    def neurons(name: str, *synapses: Conv | Scale) -> Neurons:
        omega, bias, v0 = (
            rng.integers(-2, 5, (2, 2)),
            rng.integers(-50, 80, 4),
            rng.integers(0, 100, 4),
        )
        return Neurons(
            name=name,
            synapses=synapses,
            bias=bias,
            threshold=rng.integers(300, 900, 4),
            omega=omega,
            leak=3600,
            v0=v0,
            levels=2,
        )

    return Network(
        (
            Input(name="input", shape=(2, 6, 6), steps=2, max_value=2),
            neurons("first", Conv(source="input", weight=weights(4, 2, 3, 3), padding=(1, 1))),
            neurons(
                "second",
                Conv(source="first", weight=weights(4, 4, 3, 3), padding=(1, 1)),
                Scale(source="first", weight=weights(4), exponent=1),
            ),
            Flatten(name="flat", source="second"),
            Readout(
                name="logits",
                synapses=(Linear(source="flat", weight=weights(3, 144)),),
                bias=weights(3),
            ),
        )
    )
