"""Turns skips into failures on machines that must have everything.

A test that needs what a machine may lack skips, and its reason says what is missing. The variable
`LMHT_TEST_REQUIRE` names what must be there, separated by commas: a test that skips because one of
these is missing fails instead. `all` stands for everything but what neither the packages of the
project nor `make cross-tools` install (`NOT_INSTALLED`), and includes reasons that this module does
not know. `tiers` stands for the instruction sets that the CPU has: a test may skip a tier only on a
CPU that lacks it.

    LMHT_TEST_REQUIRE=lava,tonic,tiers python -m pytest
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

REASONS = {
    "gpu": r"GPU",
    "lava": r"Lava",
    "tiers": r"\btier\b",
    "data": r"shared/data|real data",
    "onnxruntime": r"onnx",
    "tonic": r"tonic",
    "faery": r"faery",
    "torch": r"torch",
    "triton": r"[Tt]riton",
    "ray": r"\bray\b",
    "submitit": r"submitit",
    "slurm": r"\bSlurm\b",
    "chromium": r"Chromium",
    "neurobench": r"neurobench",
    "node": r"Node\.js",
    "onnxruntime-web": r"onnxruntime-web",
    "ziglang": r"ziglang",
    "snntorch": r"snntorch",
}
"""What a test can need, and a pattern of the reasons with which tests skip for lack of it."""

NOT_INSTALLED = {"gpu", "neurobench"}
"""What neither the packages of the project nor `make cross-tools` install."""

AVX2 = {"avx2", "bmi1", "bmi2", "abm", "popcnt"}
AVX512 = {*AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl"}
TIERS = {
    "avx2": AVX2,
    "avxvnni": {*AVX2, "avx_vnni"},
    "avx512": AVX512,
    "avx512vnni": {*AVX512, "avx512_vbmi2", "avx512_vpopcntdq", "avx512_vnni"},
    "amx": {
        *AVX512,
        "avx512_vbmi2",
        "avx512_vpopcntdq",
        "avx512_vnni",
        "amx_tile",
        "amx_int8",
    },
    "neon": {"asimd"},
    "dotprod": {"asimd", "asimddp"},
    "i8mm": {"asimd", "asimddp", "i8mm"},
}
"""CPU flags that each tier needs, as /proc/cpuinfo spells them."""

NOT_APPLICABLE = "not applicable: "
"""Prefix of the reason of a test that skips one of its parameters on every machine."""


def required() -> set[str]:
    """The names in `LMHT_TEST_REQUIRE`."""
    names = os.environ.get("LMHT_TEST_REQUIRE", "")
    found = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := found - REASONS.keys() - {"all"}:
        known = ", ".join(["all", *REASONS])
        raise ValueError(f"LMHT_TEST_REQUIRE names {sorted(unknown)}; known names are {known}")
    return found


def missing_requirement(reason: str) -> str | None:
    """Return the required name that `reason` reports as missing, or None if the skip is allowed.

    Args:
        reason: The reason with which a test skipped.
    """
    names = required()
    if not names or reason.removeprefix("Skipped: ").startswith(NOT_APPLICABLE):
        return None
    if (tier := re.search(r"\btier (\w+)", reason)) and not cpu_has(tier[1]):
        return None
    matches = [name for name, pattern in REASONS.items() if re.search(pattern, reason)]
    if "all" in names:
        return None if NOT_INSTALLED & {*matches} else (matches or ["all"])[0]
    return next((name for name in matches if name in names), None)


def cpu_has(tier: str) -> bool:
    """Whether this CPU has the instructions of `tier`; True for an unknown tier."""
    return TIERS.get(tier, set()) <= _cpu_flags()


@cache
def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()
