"""Backend of the ONNX Runtime: a `.onnx` file on the CPU."""

SUFFIX = ".onnx"


def missing() -> str | None:
    return "not built yet"
