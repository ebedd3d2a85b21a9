"""The engine as WebAssembly, compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ziglang", reason="ziglang is not installed")

from web.bundle import write_package, write_page
from web.compile import compile_engine


@pytest.fixture(scope="session")
def engine() -> bytes:
    return compile_engine()


@pytest.fixture(scope="session")
def package(engine: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `lmht.js`."""
    folder = tmp_path_factory.mktemp("package")
    write_package(engine, folder)
    return folder


@pytest.fixture(scope="session")
def page_folder(engine: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page."""
    folder = tmp_path_factory.mktemp("page")
    write_page(engine, folder)
    return folder
