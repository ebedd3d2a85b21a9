"""ONNX files on other versions of ONNX Runtime, which need neither lmht-deploy nor onnx.

python -m tests.release.runtimes FOLDER    write files of the special networks and what the
                                           reference model gives for them
python runtimes.py FOLDER [portable]       run the files at every level of optimization; with
                                           an argument only the portable ones
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
COUNTS = ("spikes", "sops", "events", "event_sops")


def write(folder: Path) -> None:
    """Write two files and the expected outputs of each network."""
    from lmht_deploy import reference
    from lmht_deploy.exporters import export
    from tests.support.networks import SPECIAL, windows_for

    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SPECIAL.items():
        net = make()
        windows = windows_for(net, 3)
        result = reference.run(net, windows, trace=True)
        tables = {"k": result.traces} | {kind: getattr(result, kind) for kind in COUNTS}
        expected = {f"{kind}|{layer}": v for kind in tables for layer, v in tables[kind].items()}
        np.savez(folder / f"{name}.npz", windows=windows, logits=result.logits, **expected)
        export(net, folder / f"{name}.onnx", trace=True)
        export(net, folder / f"{name}.portable.onnx", trace=True, portable=True)


def check(folder: Path, suffixes: tuple[str, ...]) -> int:
    """Run the files; the number of runs. Exits at the first difference."""
    runs = 0
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            expected = {name.replace("|", "/"): file[name] for name in file.files}
        windows = expected.pop("windows")
        for suffix in suffixes:
            for level in LEVELS:
                found = _outputs(path.with_suffix(suffix), level, windows)
                for name, values in expected.items():
                    if not np.array_equal(found[name], values):
                        sys.exit(f"{path.stem}{suffix}, {level}: {name} differs")
                runs += 1
    return runs


def _outputs(path: Path, level: str, windows: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    dtype = entry.type[len("tensor(") : -1]
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"windows": windows.astype(dtype)}), strict=True))


def main(arguments: list[str]) -> None:
    """Write the files, or run them."""
    if __package__:
        write(Path(arguments[0]))
        return
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    portable = len(arguments) > 1
    runs = check(Path(arguments[0]), (".portable.onnx",) if portable else (".onnx",))
    print(f"ONNX Runtime {onnxruntime.__version__}: {runs} runs are exact")


if __name__ == "__main__":
    main(sys.argv[1:])
