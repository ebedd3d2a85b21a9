"""The library as a user has it: built, installed into an empty folder, and used from there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import lmht_deploy
from lmht_deploy.exporters import export
from lmht_deploy.formats import flat
from lmht_deploy.zoo import recording_path
from tests.docs.pages import lmht
from tests.support.native_build import BUILD, ROOT, build, run

from .bindings import SIGNATURES, Library

EXAMPLES = ROOT / "examples" / "library"
HEADER = ROOT / "lmht_deploy" / "library" / "include" / "lmht.h"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")

if shutil.which("c++") is None or shutil.which("cc") is None:
    pytest.skip("the tests of the library need a C and C++ compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that was moved: no file of it names its first place."""
    build("lmht")
    build("lmht_static")
    first = tmp_path_factory.mktemp("first") / "prefix"
    run("cmake", "--install", BUILD, "--component", "library", "--prefix", first)
    return first.rename(tmp_path_factory.mktemp("moved") / "prefix")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.lmhtf"
    export(lmht_deploy.load("zoo:digits"), path)
    return path


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """Class, margin, events, spikes and SOPs of each window, as `lmht stream` prints them."""
    status, output = lmht("stream", "zoo:digits", "zoo:digits")
    assert status == 0
    return numbers(output)


def numbers(output: str) -> list[str]:
    """The integers of each line but the time and the latency."""
    lines = [line.replace(",", "") for line in output.splitlines() if " SOPs" in line]
    assert lines
    pattern = r"class +(\d+).*margin +([\d.]+) +(\d+) events +(\d+) spikes +(\d+) SOPs"
    return [" ".join(found.groups()) for line in lines if (found := re.search(pattern, line))]


def pkg_config(prefix: Path, *options: str) -> list[str]:
    (folder,) = prefix.glob("lib*/pkgconfig")
    return run("pkg-config", *options, "lmht", PKG_CONFIG_PATH=str(folder)).split()


def test_find_package_and_the_examples(
    prefix: Path, network: Path, expected: list[str], tmp_path: Path
) -> None:
    flags = [f"-DCMAKE_C_FLAGS={' '.join(STRICT)}", f"-DCMAKE_CXX_FLAGS={' '.join(STRICT)}"]
    run("cmake", "-S", EXAMPLES, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", *flags)
    run("cmake", "--build", tmp_path / "build")
    recording = recording_path(Path("zoo:digits"))
    classify = tmp_path / "build" / "classify"
    assert numbers(run(classify, network, recording)) == expected
    robot = run(tmp_path / "build" / "robot", network, recording, "0.35")
    assert len(re.findall(r"margin", robot)) >= 2 and "0 late" in robot
    failed = subprocess.run(
        [classify, recording, recording], check=False, capture_output=True, text=True
    )
    assert failed.returncode == 1 and "is not a .lmhtf file" in failed.stderr


def test_pkg_config(prefix: Path, network: Path, expected: list[str], tmp_path: Path) -> None:
    program = tmp_path / "classify"
    flags = pkg_config(prefix, "--cflags", "--libs")
    run("cc", "-std=c99", *STRICT, EXAMPLES / "classify.c", *flags, "-o", program)
    (folder,) = (path.parent for path in prefix.glob("lib*/liblmht.so"))
    found = run(program, network, recording_path(Path("zoo:digits")), LD_LIBRARY_PATH=str(folder))
    assert numbers(found) == expected
    assert pkg_config(prefix, "--modversion") == [lmht_deploy.__version__]


def test_the_static_library(
    prefix: Path, network: Path, expected: list[str], tmp_path: Path
) -> None:
    """Linked alone, into a program that has classes of C++ of the same names."""
    source = tmp_path / "main.cpp"
    source.write_text(
        "#include <lmht.hpp>\n"
        "namespace lmht { class Model { public: int x = 7; }; }\n"
        "int main(int, char** argv) {\n"
        "    lmht::Network network(argv[1]);\n"
        "    lmht::Engine engine(network, 2);\n"
        "    lmht::Result result;\n"
        "    engine.finish(result);\n"
        "    lmht::WindowView view(result.get(), network);\n"
        "    return view.logits.size() == 10 && lmht::Model().x == 7 ? 0 : 1;\n"
        "}\n"
    )
    (archive,) = prefix.glob("lib*/liblmht.a")
    include = f"-I{prefix / 'include'}"
    run("c++", "-std=c++17", *STRICT, include, source, archive, "-pthread", "-o", tmp_path / "main")
    run(tmp_path / "main", network)
    run(
        "cc", "-std=c99", include, EXAMPLES / "classify.c", archive, "-lstdc++", "-lm", "-pthread",
        "-o", tmp_path / "classify",
    )  # fmt: skip
    found = run(tmp_path / "classify", network, recording_path(Path("zoo:digits")))
    assert numbers(found) == expected


def test_only_the_interface_is_exported(prefix: Path) -> None:
    (shared,) = prefix.glob("lib*/liblmht.so")
    lines = run("nm", "-D", "--defined-only", shared).splitlines()
    assert {line.split()[2] for line in lines} == {f"lmht_{name}" for name in SIGNATURES}


def test_versions(prefix: Path, library: Library) -> None:
    """The header, the file name, the soname and the library agree."""
    (abi,) = re.findall(r"define LMHT_ABI_VERSION (\d+)", HEADER.read_text())
    (shared,) = prefix.glob("lib*/liblmht.so")
    assert shared.resolve().name == f"liblmht.so.{abi}.{lmht_deploy.__version__}"
    assert f"[liblmht.so.{abi}]" in run("readelf", "-d", shared)
    assert library.abi_version() == int(abi)
    assert library.version().decode() == lmht_deploy.__version__
    assert library.file_version() == flat.SCHEMA.version


def test_it_needs_no_python(prefix: Path) -> None:
    (shared,) = prefix.glob("lib*/liblmht.so")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", shared))
    assert needed and not any("python" in name for name in needed)


def test_every_function_is_declared_once() -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    declared = re.findall(r"LMHT_API[^;]*?\blmht_(\w+)\(", text)
    assert sorted(declared) == sorted(SIGNATURES)
