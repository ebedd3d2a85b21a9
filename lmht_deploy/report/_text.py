"""Figures and texts as a reader sees them: units, rounding, escapes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lmht_deploy.plot._style import plain

ABSENT = "–"
"""Stands for a figure that does not exist."""
PREFIXES = ((1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""))
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "µ": r"\textmu{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "×": r"$\times$",
    "Σ": r"$\Sigma$",
    "λ": r"$\lambda$",
    "θ": r"$\theta$",
    "Ω": r"$\Omega$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


# ------------------------------------------------------------------------------------- figures


def text(value: Any) -> str:
    """Format a text; a dash for None."""
    return ABSENT if value is None else printable(str(value))


def count(value: Any) -> str:
    """Format a count or a mean of counts with four digits at least."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.4g}"


def share(value: Any) -> str:
    """Format a share as a percentage."""
    return ABSENT if value is None else f"{100 * value:.2f}%"


def interval(value: Any) -> str:
    """Format an interval of shares as percentages."""
    return ABSENT if value is None else f"{100 * value[0]:.1f} to {100 * value[1]:.1f}%"


def number(value: Any) -> str:
    """Format a real number with four significant digits, and large ones as a whole."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def joules(value: Any) -> str:
    """Format an energy with a unit from pJ to J."""
    if value is None:
        return ABSENT
    factor, unit = energy_unit([value])
    return f"{value / factor:,.4g} {unit}"


def energy_unit(values: Iterable[float]) -> tuple[float, str]:
    """Return the unit in which the largest of `values` (joules) is at least 1, and its factor.

    Example:
        >>> energy_unit([2.5e-9, 4e-7])
        (1e-09, 'nJ')
    """
    largest = max((abs(value) for value in values), default=0.0)
    fitting = [(factor, f"{prefix}J") for factor, prefix in PREFIXES if factor <= largest]
    return fitting[-1] if fitting else (PREFIXES[0][0], "pJ")


def size(value: Any) -> str:
    """Format a number of bytes."""
    if value is None:
        return ABSENT
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:,.4g} {unit}"
        value = value / 1000
    return f"{value:,.4g} GB"


def yes(value: Any) -> str:
    """Format whether integers are equal."""
    return ABSENT if value is None else "equal" if value else "differ"


# ------------------------------------------------------------------------------------- texts


def printable(value: str) -> str:
    r"""Return `value` with visible escapes in place of control characters.

    Example:
        >>> printable("mug\x1b[2J")
        'mug\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def sentence(value: str) -> str:
    """Return `value` as a sentence.

    Example:
        >>> sentence("it was not measured")
        'It was not measured.'
    """
    return value[:1].upper() + value[1:].rstrip(".") + "."


def shorten(value: str, length: int = 28) -> str:
    """Return `value` as the label of a chart: at most `length` characters, and no formula.

    Matplotlib reads a text between two dollar signs as a formula.
    """
    shown = printable(value)
    if len(shown) > length:
        shown = f"{shown[: length - 1]}…"
    return plain(shown)


def slug(value: str) -> str:
    """Return `value` as part of a file name and of an anchor.

    Example:
        >>> slug("L=2, T=2")
        'l-2-t-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-") or "x"


def latex(value: str) -> str:
    r"""Escape `value` for LaTeX.

    Example:
        >>> latex("conv_1: 50%")
        'conv\\_1: 50\\%'
    """
    return "".join(_LATEX.get(character, character) for character in value)
