"""Build `build/web`: `python -m web`. Needs the package `ziglang`, and no network.

lmht.js/    the JavaScript package: lmht.js, its types, and the engine as WebAssembly
page/       the page, which also opens as a file
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .bundle import write_package, write_page
from .compile import ROOT, compile_engine

OUT = ROOT / "build" / "web"


def main() -> None:
    """Compile the engine; write the package and the page."""
    engine = compile_engine()
    write_package(engine, _empty(OUT / "lmht.js"))
    write_page(engine, _empty(OUT / "page"))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
