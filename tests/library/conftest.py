"""The library, built once and loaded."""

from __future__ import annotations

import shutil

import pytest

from tests.support.native_build import build

from .bindings import Library


@pytest.fixture(scope="session")
def library() -> Library:
    """The shared library."""
    if shutil.which("c++") is None:
        pytest.skip("the tests of the library need a C++ compiler")
    return Library(build("lmht") / "lmht_deploy" / "library" / "liblmht.so")
