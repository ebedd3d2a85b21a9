"""Build `build/web`: `python -m web`. Needs the package `ziglang`, and no network.

    lmht.js/    the JavaScript package: lmht.js, its types, and the engine as WebAssembly
    page/       the page, which also opens as a file
"""

from __future__ import annotations

from .bundle import write_package, write_page
from .compile import compile_engine


def main() -> None:
    """Compile the engine; write the package and the page."""
    engine = compile_engine()
    write_package(engine)
    write_page(engine)


if __name__ == "__main__":
    main()
