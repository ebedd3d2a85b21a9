"""The worked example of docs/semantics.md: every number is recomputed."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from lmht_deploy import reference

PAGE = Path(__file__).parents[2] / "docs/semantics.md"
W, E, B, OMEGA = (3, -1), 1, 2, ((1, 4), (1, -4))
THETA, V0, LEAK, LEVELS = 6, -3, 2048, 2
WINDOW = ((2, 1), (1, 3))


def tables(heading: str) -> list[list[int]]:
    """The rows of integers of the table whose first cell is `heading`."""
    text = PAGE.read_text(encoding="utf-8").replace("−", "-")
    (table,) = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[int(cell) for cell in row.strip("|").split("|")] for row in table.splitlines()]


def drives() -> list[int]:
    currents = [(sum(w * k for w, k in zip(W, step, strict=True)) << E) + B for step in WINDOW]
    return [sum(o * x for o, x in zip(row, currents, strict=True)) for row in OMEGA]


def leak(v: int) -> int:
    return int(v * LEAK / 4096)  # int() truncates toward zero


def test_currents() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("−", "-")
    example = text[text.index("## A worked example") :]
    lines = re.findall(r"^    ([XI])\[(\d)\] = (.*) = (-?\d+)$", example, re.MULTILINE)
    assert [(name, int(step)) for name, step, *_ in lines] == [
        ("X", 1),
        ("X", 2),
        ("I", 1),
        ("I", 2),
    ]
    for _, _, formula, value in lines:
        assert eval(formula.replace("·", "*")) == int(value)
    assert [int(value) for name, *_, value in lines if name == "I"] == drives()


def test_neuron() -> None:
    v, rows = V0, []
    for t, drive in enumerate(drives(), 1):
        driven = leak(v) + drive
        k = min(max(driven // THETA, 0), LEVELS)
        rows.append([t, v, leak(v), driven, driven // THETA, k, driven - k * THETA])
        v = driven - k * THETA
    assert tables("t") == rows


def test_reparameterized_neuron() -> None:
    v, rows = V0, []
    for step in range(2 * LEVELS):
        first = step % LEVELS == 0
        leaked = leak(v) if first else v
        driven = leaked + (drives()[step // LEVELS] if first else 0)
        spike = int(driven >= THETA)
        rows.append([step + 1, v, leaked, driven, spike, driven - spike * THETA])
        v = driven - spike * THETA
    assert tables("sub-step") == rows
    assert [row[-1] for row in rows[1::2]] == [row[-1] for row in tables("t")]


def test_python() -> None:
    assert doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8").failed == 0
    assert doctest.testmod(reference).failed == 0
