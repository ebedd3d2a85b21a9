"""C++ -> WebAssembly: liblmht and what it stands on, for one thread, with SIMD of 128 bits.

The compiler is Zig's Clang. It keeps what it has compiled in `build/zig`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import lmht_deploy

ROOT = Path(__file__).parents[1]
CORE = ROOT / "lmht_deploy"
NATIVE = ROOT / "web" / "native"

COMPILER = (sys.executable, "-m", "ziglang", "c++", "-target", "wasm32-wasi")
FLAGS = (
    "-std=c++20", "-msimd128", "-fno-vectorize", "-fno-slp-vectorize", "-fexceptions", "-g0",
    "-DLMHT_BUILDING", f'-DLMHT_VERSION_TEXT="{lmht_deploy.__version__}"',
    f"-I{NATIVE / 'threads'}", f"-I{CORE}",
)  # fmt: skip
FAST, SMALL = "-O2", "-Oz"
"""The kernels do almost all of the work; the rest is compiled to be small. The kernels
have their vectors written out: those of the compiler made them larger and slower."""


def compile_engine() -> bytes:
    """Return the module."""
    if importlib.util.find_spec("ziglang") is None:
        sys.exit("the compiler is not installed; say: pip install ziglang")
    with TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: _compile(source, Path(folder)), _sources()))
        module = Path(folder) / "lmht.wasm"
        exports = [f"-Wl,--export={name}" for name in _exported()]
        _call("-mexec-model=reactor", "-s", *map(str, objects), *exports, "-o", str(module))
        return module.read_bytes()


def _sources() -> list[Path]:
    """The first ones replace functions of the standard libraries, before the linker takes those."""
    engine = [path for path in (CORE / "engine" / "core").glob("*.cpp") if path.stem != "module"]
    core = [
        *engine,
        CORE / "engine" / "core" / "kernels" / "generic.cpp",
        CORE / "events" / "core" / "decoders.cpp",
        *(CORE / "native").glob("*.cpp"),
        *(CORE / "library").glob("*.cpp"),
    ]
    return [*sorted(NATIVE.glob("*.cpp")), *sorted(core)]


def _compile(source: Path, folder: Path) -> Path:
    target = folder / f"{source.parent.name}-{source.stem}.o"
    speed = FAST if source.parent.name == "kernels" else SMALL
    _call(*FLAGS, speed, "-c", str(source), "-o", str(target))
    return target


def _exported() -> list[str]:
    """Functions that the package calls: all that its engine.js names."""
    script = (ROOT / "web" / "package" / "engine.js").read_text()
    return sorted({"malloc", "free", *re.findall(r"\blmht_[a-z_]+", script)})


def _call(*arguments: str) -> None:
    cache = str(ROOT / "build" / "zig")
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    subprocess.run((*COMPILER, *arguments), check=True, env=environment)
