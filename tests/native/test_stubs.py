"""The stubs `_core.pyi` describe the extensions: same names, same parameters in the same order."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lmht_deploy

ROOT = Path(lmht_deploy.__file__).parent
STUBS = {f"lmht_deploy.{path.parent.name}._core": path for path in ROOT.glob("*/_core.pyi")}


@pytest.fixture(params=STUBS)
def extension(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_stub_has_the_names_of_the_extension(extension: ModuleType) -> None:
    tree = ast.parse(STUBS[extension.__name__].read_text())
    assert described(tree.body) == public(extension)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert described(node.body) == public(getattr(extension, node.name)), node.name


def test_stub_has_the_parameters_of_the_extension(extension: ModuleType) -> None:
    tree = ast.parse(STUBS[extension.__name__].read_text())
    compared = 0
    for owner, function in functions(tree):
        thing = getattr(extension, owner) if owner else extension
        found = getattr(thing, function.name)
        if not hasattr(found, "__nb_signature__"):
            continue  # a property
        for signature, *_ in found.__nb_signature__:
            assert parameters_of(signature) == parameters(function), function.name
            compared += 1
    assert compared >= 5


def described(body: list[ast.stmt]) -> set[str]:
    """Public names that a stub defines in a module, a class or an enumeration."""
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}
    names |= {ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)}
    return {name for name in names if not name.startswith("_")}


def public(thing: Any) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef]]:
    """(class or "", function) for all functions of a stub, but those of its own protocols."""
    found = [("", node) for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [(node.name, item) for item in node.body if isinstance(item, ast.FunctionDef)]
    return found


def parameters(function: ast.FunctionDef) -> list[str]:
    """`name`, or `name=` where there is a default, in order; `*` before those by keyword only."""
    given = function.args
    names = [argument.arg for argument in given.args]
    for index in range(len(names) - len(given.defaults), len(names)):
        names[index] += "="
    if given.kwonlyargs:
        names.append("*")
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        names.append(argument.arg + ("=" if default else ""))
    return names


def parameters_of(signature: str) -> list[str]:
    """The same for a signature of nanobind, `def name(a: type[..], b: type = \\0) -> ..`."""
    text, inner = signature.partition("(")[2].partition(") -> ")[0], 1
    while inner:  # brackets within types, from the inside out
        text, inner = re.subn(r"\([^()]*\)|\[[^][]*\]", "", text)
    found = []
    for parameter in filter(None, text.split(", ")):
        name, _, rest = parameter.partition(":")
        found.append(name + ("=" if "=" in rest else ""))
    return found
