"""Builds the sdist and the wheel, and runs them in empty environments as users install them.

    python -m tests.release.check            everything
    python -m tests.release.check core       one of: same, core, extras, oldest, newest, runtimes,
                                     pythons

same      the same sources give the same wheel and sdist, byte for byte, in another folder
core      the wheel alone: under 100 MB, without PyTorch, beside foreign packages named `training`
          and `exporters`
extras    the wheel with the extras of the demo: the README's own network and its commands
oldest    the oldest versions of the dependencies that pyproject.toml allows
newest    the newest versions that it allows, without the constraints of the tests
runtimes  ONNX files on ONNX Runtime 1.15 and on the newest, without lmht-deploy
pythons   the core on every other Python that is found, of 3.12 and 3.13
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "release"
SMOKE = Path(__file__).with_name("smoke.py")
MAX_CORE_MB = 100
CONSTRAINED = ("-c", str(ROOT / "constraints.txt"))


def run(*command: str | Path, cwd: Path = WORK) -> str:
    """Run `command` in `cwd`, away from the checkout; its output. Exits with what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("SOURCE_DATE_EPOCH", "1700000000")  # dates in archives
    found = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if found.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{found.stdout}")
    return found.stdout


class Environment:
    """A fresh virtual environment without pip, in a folder of its own in which commands run."""

    def __init__(self, name: str, interpreter: str = sys.executable) -> None:
        self.folder = WORK / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        run(interpreter, "-m", "venv", "--without-pip", self.folder / "venv")
        self.python = self.folder / "venv" / "bin" / "python"
        self.lmht = self.python.with_name("lmht")

    def install(self, *arguments: str | Path) -> None:
        """`pip install`, compiled to no bytecode, so that sizes are those of the packages."""
        options = ("install", "--quiet", "--no-compile", "--disable-pip-version-check")
        run(sys.executable, "-m", "pip", "--python", self.python, *options, *arguments)

    def smoke(self) -> None:
        """Run `smoke.py` in the environment."""
        print(f"  {run(self.python, SMOKE, cwd=self.folder).strip()}", flush=True)


def build_copy(name: str) -> Path:
    """Build the sdist and, from it, the wheel of a copy of the sources; the folder of both.

    A copy holds what the repository tracks, so that files of a test run, such as coverage data, do
    not enter the sdist.
    """
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    sources = folder / "sources"
    files = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for file in filter(None, files):
        (sources / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, sources / file, follow_symlinks=False)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", sources, cwd=sources)
    return folder / "dist"


def build() -> Path:
    """Build the wheel and check what it holds; the wheel's path."""
    (wheel,) = build_copy("built").glob("*.whl")
    names = run(sys.executable, "-m", "zipfile", "-l", wheel)
    tops = {line.split("/")[0] for line in names.splitlines()[1:]}
    packages = {top for top in tops if not top.split()[0].endswith(".dist-info")}
    if packages != {"lmht_deploy"}:
        sys.exit(f"the wheel installs {sorted(packages)}; it must install lmht_deploy alone")
    for name in (
        "lmht_deploy/py.typed",
        "lmht_deploy/training/loop.py",
        "lmht_deploy/exporters/onnx/__init__.py",
        *(f"lmht_deploy/zoo/{file}" for file in ("digits.toml", "digits.lmht", "digits.raw")),
    ):
        if name not in names:
            sys.exit(f"the wheel lacks {name}")
    check_library(next(wheel.parent.glob("*.tar.gz")))
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return wheel


def check_library(sdist: Path) -> None:
    """Configure the C and C++ library from the sdist, which has all files that this needs."""
    folder = sdist.parents[1] / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    cmake = Path(sys.executable).with_name("cmake")  # of the dev extra
    run(cmake, "-S", sources, "-B", folder / "build", "-DLMHT_LIBRARY=ON")
    for name in ("lmht_deploy/library/include/lmht.hpp", "examples/library/classify.c"):
        if not (sources / name).is_file():
            sys.exit(f"the sdist lacks {name}")


def check_reproducible(wheel: Path) -> None:
    """Build the sdist and the wheel again, from a copy of the sources in another folder."""
    again = build_copy("built in another folder")
    for first in wheel.parent.iterdir():
        if first.read_bytes() != (again / first.name).read_bytes():
            sys.exit(f"{first.name} differs from one that was built in another folder")
    print("  equal bytes", flush=True)


def check_core(wheel: Path) -> None:
    """The wheel alone, beside foreign packages of the names of our top-level folders."""
    env = Environment("core")
    env.install(*CONSTRAINED, wheel)
    (site,) = (env.folder / "venv" / "lib").glob("python*/site-packages")
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
    print(f"  {size:.0f} MB installed", flush=True)
    if size > MAX_CORE_MB:
        sys.exit(f"the core takes {size:.0f} MB; at most {MAX_CORE_MB} MB are allowed")
    if (site / "torch").exists():
        sys.exit("the core installs PyTorch")
    for name in ("training", "exporters"):
        (env.folder / name).mkdir()
        (env.folder / name / "__init__.py").write_text("FOREIGN = True\n")
    env.smoke()
    run(
        env.python,
        "-c",
        "import sys; sys.path.insert(0, '.')\n"
        "import exporters, training\n"
        "import lmht_deploy.exporters.netx, lmht_deploy.training.recipe\n"
        "assert training.FOREIGN and exporters.FOREIGN",
        cwd=env.folder,
    )
    for command in (["--help"], ["recipes"], ["datasets"], ["doctor"], ["inspect", "net.lmht"]):
        run(env.lmht, *command, cwd=env.folder)
    run(env.lmht, "run", "net.lmht", "--data", "windows.npz", cwd=env.folder)
    run(env.lmht, "stream", "zoo:digits", "zoo:digits", cwd=env.folder)


def check_extras(wheel: Path) -> None:
    """The wheel with the extras of the demo: the README's network, and the commands under it."""
    env = Environment("extras")
    env.install(*CONSTRAINED, f"{wheel}[demo]")
    env.smoke()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "own_network.py").read_text(encoding="utf-8")
    if example not in readme:
        sys.exit("the README does not show examples/own_network.py")
    run(env.python, ROOT / "examples" / "own_network.py", cwd=env.folder)
    after = readme[readme.index(example) :]
    commands = re.findall(r"^\$ lmht ([^#\n]*)", after.split("```console")[1].split("```")[0], re.M)
    for command in commands:
        run(env.lmht, *command.split(), cwd=env.folder)
    print(f"  README: {len(commands)} commands", flush=True)


def check_oldest(wheel: Path) -> None:
    """The oldest allowed versions of the dependencies of the core, and of ONNX and events."""
    env = Environment("oldest")
    env.install(*oldest("onnx", "events"), wheel)
    env.smoke()
    run(env.lmht, "run", "net.lmht", "--data", "windows.npz", cwd=env.folder)


def check_newest(wheel: Path) -> None:
    """The newest allowed versions of the same dependencies."""
    env = Environment("newest")
    env.install(f"{wheel}[onnx]")
    env.smoke()
    run(env.lmht, "run", "net.lmht", "--data", "windows.npz", cwd=env.folder)


def check_runtimes(wheel: Path) -> None:
    """ONNX files of this checkout: portable ones on ONNX Runtime 1.15, others on the newest."""
    files = WORK / "onnx files"
    run(sys.executable, "-m", "tests.release.runtimes", files, cwd=ROOT)
    for name, packages, options in (
        ("onnxruntime 1.15", ("onnxruntime==1.15.0", "numpy<2"), ("portable",)),
        ("onnxruntime newest", ("onnxruntime",), ()),
    ):
        env = Environment(name)
        env.install(*packages)
        found = run(env.python, SMOKE.with_name("runtimes.py"), files, *options, cwd=env.folder)
        print(f"  {found.strip()}", flush=True)


def check_pythons(wheel: Path) -> None:
    """The core, built from the sdist, on other versions of Python where they are found."""
    (sdist,) = wheel.parent.glob("*.tar.gz")
    for version in ("3.12", "3.13"):
        if (python := find_python(version)) is None:
            print(f"  Python {version} is not installed here", flush=True)
            continue
        env = Environment(f"python{version}", python)
        env.install(sdist)
        env.smoke()


def find_python(version: str) -> str | None:
    """The interpreter `python3.X` of the path or of pyenv; None if there is none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python{version}")]
    for candidate in filter(None, candidates):
        found = subprocess.run([str(candidate), "--version"], capture_output=True, check=False)
        if found.returncode == 0:
            return str(candidate)
    return None


def oldest(*extras: str) -> Iterator[str]:
    """Pins of the lower bounds in pyproject.toml: of the core, and of `extras`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    for requirement in [
        *project["dependencies"],
        *(r for extra in extras for r in optional[extra]),
    ]:
        name, _, bounds = requirement.partition(">=")
        if bounds:
            yield f"{name}=={bounds.split(',')[0]}"


CHECKS: dict[str, Callable[[Path], None]] = {
    "same": check_reproducible,
    "core": check_core,
    "extras": check_extras,
    "oldest": check_oldest,
    "newest": check_newest,
    "runtimes": check_runtimes,
    "pythons": check_pythons,
}


def main(names: list[str]) -> None:
    """Run the checks called `names`, by default all."""
    WORK.mkdir(parents=True, exist_ok=True)
    wheel = build()
    for name in names or CHECKS:
        print(name, flush=True)
        CHECKS[name](wheel)


if __name__ == "__main__":
    main(sys.argv[1:])
