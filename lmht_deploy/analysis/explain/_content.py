"""An explanation as plain data: the objects of docs/reference/explain-json.md."""

from __future__ import annotations

from typing import Any

from ._explanation import Counterfactuals, Curve, Explanation, Flip


def to_content(found: Explanation) -> dict[str, Any]:
    """Return an explanation as numbers, texts, lists and mappings.

    Args:
        found: The explanation.

    Returns:
        One entry of `windows` of the JSON that `lmht explain --json` writes, without what the
        window is: its index, source, start and label.
    """
    frame = found.window.sum(0) if found.kind == "events" else found.window[0]
    return {
        "kind": found.kind,
        "shape": list(found.window.shape),
        "cell": found.cell,
        "grid": list(found.grid),
        "events": found.events,
        "frame": frame.tolist(),
        "scale": found.scale,
        "logits": found.logits.tolist(),
        "empty_logits": found.empty.tolist(),
        "answer": found.answer,
        "runner_up": found.runner_up,
        "margin": found.margin,
        "parts": {kind: _part_content(parts) for kind, parts in found.parts.items()},
        "curves": [_curve_content(curve) for curve in found.curves],
        "flip": None if found.flip is None else _flip_content(found.flip),
        "runs": found.runs,
        "seconds": found.seconds,
    }


def _part_content(parts: Counterfactuals) -> dict[str, Any]:
    names = ("events", "deltas", "margins", "margin_deltas", "answers", "changed")
    return {name: getattr(parts, name).tolist() for name in names}


def _curve_content(curve: Curve) -> dict[str, Any]:
    names = ("order", "cells", "events", "logits", "margins", "answers", "areas")
    arrays = {name: getattr(curve, name).tolist() for name in names}
    return {"method": curve.method, "direction": curve.direction, **arrays}


def _flip_content(flip: Flip) -> dict[str, Any]:
    return {
        "status": flip.status,
        "cells": flip.cells.tolist(),
        "smallest": flip.smallest,
        "events": flip.events,
        "logits": None if flip.logits is None else flip.logits.tolist(),
        "answer": flip.answer,
        "runs": flip.runs,
    }
