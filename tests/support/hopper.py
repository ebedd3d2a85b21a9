"""Compile the fused kernels for an H100, without one: `python -m tests.support.hopper CASES`.

CASES is JSON: a list of the keyword arguments of `compiled`. For each case and for both kernels it
prints the reads and the writes of 16 bytes, and the bytes of spilled registers. It runs as a
process of its own, because tests without a GPU let Triton interpret.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

import triton
from triton import language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lmht_deploy.training import _fused

HOPPER = GPUTarget("cuda", 90, 32)
NARROW = ("x_ptr", "grad_ptr", "out_ptr", "grad_x_ptr")
"""Arguments whose dtype is that of the currents; the others are at least float32."""


def compiled(
    kernel: Any,
    *,
    dtype: str,
    wide: str,
    steps: int,
    steps_in: int,
    tile: tuple[int, int] | None = None,
    neurons: str = "i32",
    aligned: bool = True,
    mixing: bool = True,
    threshold: bool = True,
) -> Any:
    """Assembly of a kernel for given types and constants; tile None: the one that is chosen."""
    block, warps = tile or _fused.tile(steps, steps_in)
    pointer = {"float32": "*fp32", "float64": "*fp64"}[wide]
    constants = {
        "STEPS": steps,
        "STEPS_IN": steps_in,
        "LEVELS": 2,
        "MIXING": mixing,
        "THRESHOLD": threshold,
        "WIDE": getattr(tl, wide),
        "BLOCK": block,
    }
    names = kernel.arg_names
    types = dict.fromkeys(names, pointer) | dict.fromkeys(NARROW, dtype) | {"neurons": neurons}
    types |= dict.fromkeys(constants, "constexpr")
    divisible = [name for name in names if name.endswith("_ptr") or (name == "neurons" and aligned)]
    source = ASTSource(
        kernel,
        {name: types[name] for name in names},
        {(names.index(name),): value for name, value in constants.items() if name in names},
        {(names.index(name),): [["tt.divisibility", 16]] for name in divisible},
    )
    return triton.compile(source, target=HOPPER, options={"num_warps": warps}).asm


def spilled(cubin: bytes) -> int:
    """Bytes of registers that machine code spills to the stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(usage.partition("STACK:")[2].split()[0])


def main() -> None:
    for case in json.loads(sys.argv[1]):
        for kernel in (_fused._forward, _fused._backward):
            asm = compiled(kernel, **case)
            reads, writes = (asm["ptx"].count(f"{way}.global.v4") for way in ("ld", "st"))
            print(reads, writes, spilled(asm["cubin"]))


if __name__ == "__main__":
    main()
