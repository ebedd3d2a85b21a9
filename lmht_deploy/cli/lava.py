"""`lmht lava`: the environment of Lava."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmht_deploy.errors import counted

from . import _options as options
from ._console import say, tell, write_json
from ._verb import Verb

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.ir import Conv, Network, Neurons, Scale
    from lmht_deploy.result import Result

app = typer.Typer(
    name="lava",
    no_args_is_help=True,
    help="Install and check Lava, Intel's framework for neuromorphic computing.",
    rich_markup_mode="rich",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Folder of the environment (default: in the user's cache folder).",
    ),
]


@app.command(cls=Verb, epilog="Example: lmht lava install")
def install(
    folder: Folder = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="FILE",
            help="Python 3.10, 3.11 or 3.12 to build with (default: the best one found).",
            callback=options.is_file,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Create the environment of Lava if it does not exist: about 450 MB, without PyTorch."""
    from lmht_deploy.backends.lava import environment

    already = " already" if environment.python_of(folder) else ""
    installed = environment.install(folder, python, progress=tell)
    version = environment.version_of(installed)
    say(f"Lava is installed{already}, with Python {version}: {installed}")
    write_json(json, {"python": installed})


@app.command(cls=Verb, epilog="Example: lmht lava check")
def check(folder: Folder = None, json: options.Json = None) -> None:
    """Run a small network in Lava and compare every spike with the reference model.

    Exits with 1 if they differ.
    """
    import numpy as np

    from lmht_deploy import reference
    from lmht_deploy.analysis.agreement import difference

    net = _small_network()
    windows = np.random.default_rng(0).integers(0, 3, (4, *net.window_shape))
    found = _run(net, windows, folder)
    wrong = difference(found, reference.run(net, windows))
    spikes = int(sum(counts.sum() for counts in found.spikes.values()))
    content = {
        "equal": wrong is None,
        "difference": None if wrong is None else str(wrong),
        "windows": len(windows),
        "spikes": spikes,
        "seconds": found.seconds,
    }
    write_json(json, content)
    if wrong:
        say(f"Lava differs from the reference model: {wrong}")
        raise typer.Exit(1)
    say(
        f"Lava is exact: {counted(spikes, 'spike')} in {counted(len(windows), 'window')}, equal "
        f"to the reference model ({found.seconds:.1f} s)"
    )


def _run(net: Network, windows: np.ndarray, folder: Path | None) -> Result:
    import lmht_deploy as lmht
    from lmht_deploy.backends import lava

    with tempfile.TemporaryDirectory(prefix="lmht-") as name:
        path = Path(name) / "check.net"
        lmht.export(net, path)
        return lava.open_artifact(path, folder=folder).run(windows)


def _small_network() -> Network:
    """Return two LM-HT layers with T-GIM and leak, a shortcut and a readout, of fixed integers."""
    import numpy as np

    from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Readout, Scale

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape)

    return Network(
        (
            Input(name="input", shape=(2, 6, 6), steps=2, max_value=2),
            _neurons(
                rng,
                "first",
                Conv(source="input", weight=weights(4, 2, 3, 3), padding=(1, 1)),
            ),
            _neurons(
                rng,
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


def _neurons(rng: np.random.Generator, name: str, *synapses: Conv | Scale) -> Neurons:
    from lmht_deploy.ir import Neurons

    return Neurons(
        name=name,
        synapses=synapses,
        omega=rng.integers(-2, 5, (2, 2)),
        bias=rng.integers(-50, 80, 4),
        v0=rng.integers(0, 100, 4),
        threshold=rng.integers(300, 900, 4),
        leak=3600,
        levels=2,
    )
