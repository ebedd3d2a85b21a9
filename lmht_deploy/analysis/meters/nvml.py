"""Energy of a GPU: the counter of NVIDIA's driver, by the package nvidia-ml-py."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmht_deploy._packages import install_command
from lmht_deploy.errors import first_line

from ._meter import Counter, Meter

__all__ = ["open_meter"]

NO_GPU = "no backend ran on a GPU; --device chooses one"


@contextmanager
def open_meter(uuid: str | None) -> Iterator[Meter]:
    """Open the meter of one GPU.

    Args:
        uuid: UUID of the GPU, as PyTorch states it; None if no backend runs on one.
    """
    if uuid is None:
        yield Meter("NVML", reason=NO_GPU)
        return
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        command = install_command("nvml")
        yield Meter("NVML", reason=f"nvidia-ml-py is not installed; run: {command}")
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        yield Meter("NVML", reason=f"the driver of the GPU does not answer ({first_line(error)})")
        return
    try:
        yield _meter(nvml, uuid)
    finally:
        nvml.nvmlShutdown()


def _meter(nvml: Any, uuid: str) -> Meter:
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        name = nvml.nvmlDeviceGetName(handle)
        counter = Counter(
            name.decode() if isinstance(name, bytes) else name,
            lambda: 1000 * int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)),
        )
        counter.read()
    except nvml.NVMLError as error:
        return Meter("NVML", reason=f"the GPU has no counter of energy ({first_line(error)})")
    return Meter("NVML", (counter,))
