"""Speed of exported ONNX files: `python -m benchmarks.onnx [--json FILE]`.

    identity, uniform, general     ResNet-18 2x48x48, T = 4, one window, by T-GIM

Every table times all its columns alternately in one run. In ONNX Runtime these are the file as it
is exported by default, without functions, with logits only, portable, and for streams of windows.
In OpenVINO they are a file for OpenVINO and a portable one. The others are the backend `torch`, a
float32 graph in ONNX Runtime that unrolls the potentials, and PyTorch. The ratios are the time of
a column divided by that of the first. OpenVINO is left out, with the reason, where it is not exact.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy import backends, reference
from lmht_deploy.errors import BackendError
from lmht_deploy.exporters.onnx import export_onnx
from lmht_deploy.formats.onnx import sealed
from lmht_deploy.ir import Network

from . import rivals
from .networks import Omega, event_windows, resnet18
from .report import Row, Table, add_report_arguments, run_tables
from .timing import Run, best_of_each

OMEGAS: tuple[Omega, ...] = ("identity", "uniform", "general")
FORMS: dict[str, dict[str, Any]] = {
    "file": {},
    "without functions": {"inline": True},
    "logits only": {"logits_only": True},
    "portable": {"portable": True},
    "stream of windows": {"stream": "window"},
    "OpenVINO": {"openvino": True, "backend": "openvino"},
    "portable, OpenVINO": {"portable": True, "backend": "openvino"},
}
RIVALS = ("ORT fp32", "torch")


def file_run(
    net: Network,
    windows: np.ndarray,
    threads: int,
    backend: str = "onnx",
    inline: bool = False,
    **options: Any,
) -> Run:
    """Export `net` and return a run of the file on `backend`, whose logits are checked once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(net, path, **options)
        if inline:
            _inline(path)
        runner = backends.open_backend(backend, path, threads=threads)
        found = runner.run(windows).logits
    np.testing.assert_array_equal(found, reference.run(net, windows).logits)
    return lambda: runner.run(windows)


def _inline(path: Path) -> None:
    """Replace the calls of functions in a file by their nodes."""
    import onnx
    from onnx import inliner

    model = inliner.inline_local_functions(onnx.load(path))
    del model.metadata_props[-1]  # the checksum
    path.write_bytes(sealed(model.SerializeToString()))


def by_omega(omega: Omega, options: argparse.Namespace) -> Iterator[Row]:
    """Compare the files with the rivals."""
    windows = event_windows((2, options.size, options.size), 4)
    net = resnet18(options.size, omega=omega)
    runs: dict[str, Run] = {}
    not_run = {}
    for name, choices in FORMS.items():
        try:
            runs[name] = file_run(net, windows, options.threads, **choices)
        except BackendError as error:
            not_run[name] = str(error)
    runner = backends.open_network("torch", net, threads=options.threads)
    runs["torch backend"] = lambda: runner.run(windows)
    others = rivals.build(net, windows, options.threads)
    runs |= {name: others[name] for name in RIVALS if name in others}
    yield Row("ResNet-18", best_of_each(runs, options.seconds), not_run=not_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.onnx", description=(__doc__ or "").splitlines()[0]
    )
    add_report_arguments(parser, OMEGAS)
    parser.add_argument("--size", type=int, default=48, help="height and width (default: 48)")
    parser.add_argument("--threads", type=int, default=1, help="number of threads (default: 1)")
    parser.add_argument("--seconds", type=float, default=20, help="time per table (default: 20)")
    options = parser.parse_args(arguments)
    run_tables(
        {name: Table(f"{name} T-GIM", partial(by_omega, name, options)) for name in options.tables},
        options.json,
        threads=options.threads,
        seconds=options.seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
