"""The layout that the documentation promises: who may import whom, and the size of functions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lmht_deploy"
WORKER = "backends/lava/worker"
"""Runs in an environment of its own, with an older Python and without this package."""

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_suggest": {"errors"},
    "_packages": {"errors"},
    "_threads": {"errors"},
    "_locks": {"errors"},
    "_folders": {"formats"},
    "_arguments": {"errors"},
    "_currents": {"errors", "ir"},
    "_agreement": {"errors", "ir", "reference"},
    "ir": {"_arguments", "errors"},
    "result": {"_arguments", "errors", "ir"},
    "answers": {"_arguments", "errors", "result"},
    "reference": {"ir", "result"},
    "quantize": {"errors", "ir"},
    "reparameterize": {"errors", "ir"},
    "formats": {"_arguments", "errors", "ir", "result"},
    "zoo": {"_suggest", "errors"},
    "engine": {"_arguments", "_packages", "_threads", "errors", "ir", "result"},
    "netx": {"_arguments", "_packages", "errors", "formats", "ir", "result"},
    "events": {"_arguments", "_packages", "answers", "errors", "formats", "result", "zoo"},
    "data": {
        "_arguments", "_folders", "_packages", "_suggest", "errors", "events", "formats", "zoo",
    },
    "exporters": {"errors", "formats", "ir", "result"},
    "backends": {
        "_arguments", "_suggest", "_threads", "engine", "errors", "formats", "ir", "netx",
        "reference", "result", "zoo",
    },
    "importers": {"_agreement", "_arguments", "_currents", "errors", "formats", "ir", "reference"},
    "training": {
        "_agreement", "_arguments", "_currents", "_locks", "_packages", "_suggest", "data",
        "errors", "formats", "ir", "reference",
    },
    "analysis": {
        "_arguments", "_packages", "_suggest", "_threads", "answers", "backends", "data", "engine",
        "errors", "exporters", "formats", "ir", "netx", "quantize", "reference", "reparameterize",
        "result", "zoo",
    },
    "scale": {
        "_arguments", "_folders", "_packages", "_suggest", "analysis", "answers", "backends",
        "data", "engine", "errors", "events", "exporters", "formats", "ir", "result", "zoo",
    },
    "plot": {"_arguments", "_packages", "errors", "events", "result"},
    "report": {"_packages", "errors", "formats", "plot"},
    "view": {"_packages", "errors", "events", "formats", "result"},
}  # fmt: skip
"""By room, the rooms that it may import. The front door and `cli` stand on top of all."""
TOP = {"__init__", "__main__", "_api", "cli"}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The parsed modules of the package by path inside it, those behind links included."""
    folders = (PACKAGE, ROOT / "training", ROOT / "exporters")
    found = {}
    for folder in folders:
        base = PACKAGE if folder == PACKAGE else ROOT
        for path in sorted(folder.rglob("*.py")):
            name = str(path.relative_to(base))
            if WORKER not in name:
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def room(name: str) -> str:
    """The room of a module: its folder in the package, or the module itself."""
    return name.split("/", maxsplit=1)[0].removesuffix(".py")


def imported_rooms(name: str) -> Iterator[str]:
    """Rooms of the package that the module at `name` imports, anywhere in it."""
    package = ["lmht_deploy", *name.split("/")[:-1]]
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{target}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            top, *rest = target.split(".")
            if top == "lmht_deploy" and rest:
                yield rest[0]


def test_every_room_is_in_the_plan() -> None:
    rooms = {room(name) for name in modules()}
    assert rooms == ALLOWED.keys() | (TOP & rooms)


def test_no_import_leaves_the_plan() -> None:
    wrong = []
    for name in modules():
        here = room(name)
        if here not in TOP:
            others = set(imported_rooms(name)) & (ALLOWED.keys() | TOP)
            wrong += [f"{name} imports {other}" for other in others - {here} - ALLOWED[here]]
    assert not wrong, "\n".join(wrong)


def test_the_plan_has_no_circle() -> None:
    seen: set[str] = set()
    for _ in ALLOWED:
        seen |= {name for name, below in ALLOWED.items() if below <= seen}
    assert seen == ALLOWED.keys()


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function: where it stands, its node, and whether it is public."""
    for name, tree in modules().items():
        hidden_module = any(
            part.startswith("_") and part != "__init__.py" for part in name.split("/")
        )
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    hidden = node.name.startswith("_") or isinstance(parent, ast.FunctionDef)
                    if isinstance(parent, ast.ClassDef):
                        hidden |= parent.name.startswith("_")
                    yield f"{name}:{node.lineno} {node.name}", node, not (hidden or hidden_module)


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of statements in a function's body, without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
    return len({line for part in body for line in range(part.lineno, (part.end_lineno or 0) + 1)})


def test_functions_fit_a_screen() -> None:
    sizes = [code_lines(node) for _, node, _ in functions()]
    assert median(sizes) <= 6
    assert np.percentile(sizes, 95) <= 23


def test_functions_are_annotated() -> None:
    bare = []
    for where, node, _ in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        given = [a for a in arguments if a.arg not in ("self", "cls")]
        if any(a.annotation is None for a in given) or node.returns is None:
            bare.append(where)
    assert not bare


def test_public_functions_are_documented() -> None:
    public = [(where, ast.get_docstring(node)) for where, node, public in functions() if public]
    bare = [where for where, text in public if not text]
    assert len(bare) <= 0.05 * len(public), bare


@pytest.mark.parametrize("pattern", ["*.py", "*.cpp", "*.hpp"])
def test_lines_are_short(pattern: str) -> None:
    folders = (PACKAGE, ROOT / "training", ROOT / "exporters")
    texts = [path.read_text(encoding="utf-8") for f in folders for path in f.rglob(pattern)]
    widths = [len(line) for text in texts for line in text.splitlines() if line.strip()]
    assert not widths or np.percentile(widths, 95) <= 100
