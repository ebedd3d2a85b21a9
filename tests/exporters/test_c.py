"""C source: the integers of the reference, natively with sanitizers and on emulated processors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.errors import ExportError
from lmht_deploy.exporters.c import export_c
from lmht_deploy.ir import Conv, Input, Layer, Linear, MaxPool, Network, Readout
from tests.support import tiny
from tests.support.networks import SPECIAL, networks, windows_for

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("c_harness.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CHECKED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")
if shutil.which("cc") is None:
    pytest.skip("a C compiler is needed", allow_module_level=True)


@dataclass(frozen=True)
class Target:
    """A processor that is emulated: compiler, its options, emulator."""

    compiler: str
    options: tuple[str, ...]
    emulator: str
    libraries: tuple[str, ...] = ("-lgcc",)


ARM, RISCV = "arm-linux-gnueabi-gcc", "riscv64-linux-gnu-gcc"
TARGETS = {
    "cortex-m0": Target(ARM, ("-mthumb", "-mcpu=cortex-m0", "-mfloat-abi=soft"), "qemu-arm", ()),
    "cortex-m4": Target(ARM, ("-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=soft"), "qemu-arm"),
    "cortex-m7": Target(ARM, ("-mthumb", "-mcpu=cortex-m7", "-mfloat-abi=soft"), "qemu-arm"),
    "aarch64": Target("aarch64-linux-gnu-gcc", (), "qemu-aarch64"),
    "riscv32": Target(RISCV, ("-march=rv32imac", "-mabi=ilp32"), "qemu-riscv32", ()),
    "riscv64": Target(RISCV, ("-march=rv64imac", "-mabi=lp64"), "qemu-riscv64", ()),
}


def write(net: Network, folder: Path, windows: np.ndarray) -> None:
    """Write the source of `net` and the windows with the expected integers."""
    export_c(net, folder / "net.c")
    result = reference.run(net, windows)
    sums = [*result.spikes.values(), *result.sops.values()]
    expected = np.column_stack([result.predictions, result.logits, *sums])
    (folder / "vectors.h").write_text(
        f"enum {{ WINDOWS = {len(windows)} }};\n"
        + table("int32_t", "windows", windows.reshape(len(windows), -1))
        + table("int64_t", "expected", expected)
    )


def table(kind: str, name: str, rows: np.ndarray) -> str:
    lines = ",\n".join("{" + ",".join(map(str, row)) + "}" for row in rows.tolist())
    return f"static const {kind} {name}[][{rows.shape[1]}] = {{\n{lines}}};\n"


def compile_c(compiler: str, folder: Path, *options: str) -> None:
    command = [compiler, *STRICT, "-ffreestanding", *options, "-c", "net.c", "-o", "net.o"]
    subprocess.run(command, cwd=folder, check=True)


def check(net: Network, folder: Path, windows: np.ndarray | None = None) -> None:
    """Run windows natively under AddressSanitizer and UndefinedBehaviorSanitizer."""
    write(net, folder, windows_for(net, 4) if windows is None else windows)
    compile_c("cc", folder, *CHECKED)
    link = ["cc", *CHECKED, "-I.", str(HARNESS), "net.o", "-o", "net"]
    subprocess.run(link, cwd=folder, check=True)
    assert subprocess.run([folder / "net"], check=False).returncode == 0


@pytest.mark.parametrize("name", SPECIAL)
def test_special_networks(name: str, tmp_path: Path) -> None:
    check(SPECIAL[name](), tmp_path)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_random_graphs(net: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(net, tmp_path_factory.mktemp("c"))


@pytest.mark.parametrize("target", TARGETS)
def test_every_network_on_emulated_processors(target: str, tmp_path: Path) -> None:
    chosen = TARGETS[target]
    for tool in (chosen.compiler, chosen.emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is needed: make cross-tools")
    for name, make in SPECIAL.items():
        net = make()
        write(net, tmp_path, windows_for(net, 2))
        compile_c(chosen.compiler, tmp_path, "-O2", *chosen.options)
        link = [chosen.compiler, *chosen.options, "-O2", "-DFREESTANDING", "-ffreestanding"]
        link += ["-fno-tree-loop-distribute-patterns", "-nostdlib", "-static", "-I."]
        link += [str(HARNESS), "net.o", *chosen.libraries, "-o", "net", "-Wl,--no-relax"]
        subprocess.run(link, cwd=tmp_path, check=True)
        found = subprocess.run([chosen.emulator, tmp_path / "net"], check=False).returncode
        assert found == 0, name


def test_the_example_answers_as_the_engine_does(tmp_path: Path) -> None:
    """The program without an operating system, on an emulated Cortex-M4."""
    for tool in ("make", ARM, "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is needed: make cross-tools")
    folder = shutil.copytree(ROOT / "examples/bare-metal", tmp_path / "example")
    done = subprocess.run(
        ["make", "-s", "run", f"PYTHON={sys.executable}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where QEMU writes
        text=True,
        check=True,
        timeout=120,
    )
    engine, processor = done.stdout.splitlines()[-2:]
    answer = engine.removeprefix("engine: ")
    assert re.fullmatch(rf"{answer}, [1-9]\d+ instructions", processor)


def test_the_calls_of_the_documentation_compile(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/microcontroller.md").read_text()
    code = re.search(r"```c\n(.*?)```", page, re.DOTALL)
    assert code
    include, calls = code[1].split("\n", 1)
    (tmp_path / "calls.c").write_text(
        f"{include}\nvoid calls(int step, int channel, int y, int x) {{\n{calls}}}\n"
    )
    lmht.export(lmht.load("zoo:digits"), tmp_path / "net.c")
    command = ["cc", "-std=c99", "-Wall", "-Werror", "-Wno-unused-value", "-c", "calls.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


# ---------------------------------------------------------------------------------------- the text


def test_a_source_needs_no_library(tmp_path: Path) -> None:
    net = SPECIAL["geometry"]()
    write(net, tmp_path, windows_for(net, 1))
    compile_c("cc", tmp_path, "-O2")
    symbols = subprocess.run(
        ["nm", "--undefined-only", "net.o"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert set(re.findall(r"\w+$", symbols, re.MULTILINE)) <= {"memset", "memcpy"}
    assert not re.search(r"\b(float|double|malloc|goto)\b", (tmp_path / "net.c").read_text())


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
@pytest.mark.parametrize("target", ["host", *TARGETS])
def test_the_header_states_the_stack(target: str, level: str, tmp_path: Path) -> None:
    compiler, options = "cc", ()
    if target != "host":
        compiler, options = TARGETS[target].compiler, TARGETS[target].options
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is needed: make cross-tools")
    export_c(lmht.load("zoo:digits"), tmp_path / "net.c")
    compile_c(compiler, tmp_path, level, "-fcallgraph-info=su", *options)
    stack = largest_stack((tmp_path / "net.ci").read_text())
    assert 0 < stack < stated("stack", tmp_path)


def stated(what: str, folder: Path, index: int = 0) -> int:
    """A number of a line of the header."""
    (line,) = re.findall(rf"^ \* {what} +(.*)$", (folder / "net.h").read_text(), re.MULTILINE)
    return int(re.findall(r"\d[\d,]*", line)[index].replace(",", ""))


def largest_stack(graph: str) -> int:
    """Bytes of the deepest chain of calls in a call graph of GCC; no function calls itself."""
    frames = re.findall(r'node: { title: "(\S+)" label: ".*?(\d+) bytes \(static\)" }', graph)
    own = {name: int(size) for name, size in frames}
    calls = re.findall(r'edge: { sourcename: "(\S+)" targetname: "(\S+)"', graph)

    def below(name: str) -> int:
        inner = (below(callee) for caller, callee in calls if caller == name)
        return own.get(name, 0) + max(inner, default=0)

    return max(below(name) for name in own)


def test_the_header_states_the_memory(tmp_path: Path) -> None:
    export_c(lmht.load("zoo:digits"), tmp_path / "net.c")
    compile_c("cc", tmp_path, "-O2")
    sizes = subprocess.run(
        ["size", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    _, data, bss, *_ = map(int, sizes.stdout.splitlines()[1].split()[:3])
    assert 0 <= bss - stated("RAM", tmp_path) < 64 and bss < 64 * 1024
    assert data == 0 or "rel.ro" not in sizes.stdout


@pytest.mark.parametrize("name", ["resets-mixed", "averaged"])
def test_the_header_states_the_flash(name: str, tmp_path: Path) -> None:
    """All tables lie in flash, and the code is small."""
    chosen = TARGETS["cortex-m4"]
    if shutil.which(chosen.compiler) is None:
        pytest.skip(f"{chosen.compiler} is needed: make cross-tools")

    def found(tool: str, *options: str) -> str:
        command = [chosen.compiler.replace("gcc", tool), *options, "net.o"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    export_c(SPECIAL[name](), tmp_path / "net.c")
    compile_c(chosen.compiler, tmp_path, "-O0", "-fno-pic", *chosen.options)
    tables = re.findall(r"^\w+ (\w+) [rR] ", found("nm", "--print-size"), re.MULTILINE)
    assert sum(int(size, 16) for size in tables) == stated("flash", tmp_path)
    compile_c(chosen.compiler, tmp_path, "-O3", "-fno-pic", *chosen.options)
    text, data, *_ = map(int, found("size").splitlines()[1].split()[:3])
    assert data == 0 and text - stated("flash", tmp_path) < stated("flash", tmp_path, 1)


def test_prefixes_keep_networks_apart(tmp_path: Path) -> None:
    lmht.export(SPECIAL["if"](), tmp_path / "one.c", prefix="one")
    lmht.export(SPECIAL["lm-ht"](), tmp_path / "two.c", prefix="two")
    (tmp_path / "main.cpp").write_text(
        '#include "one.h"\n#include "two.h"\nint main() { one_clear(); two_clear(); }\n'
    )
    for name in ("one", "two"):
        command = ["cc", *STRICT, "-c", f"{name}.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run(
        ["c++", "-Wall", "-Werror", "main.cpp", "one.o", "two.o"], cwd=tmp_path, check=True
    )


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lmht.export(SPECIAL["residual"](), tmp_path / name)
    texts = [(tmp_path / name).read_text() for name in ("a.c", "b.c")]
    assert texts[0].replace("a.h", "b.h") == texts[1]


def test_names_of_layers_cannot_leave_a_comment(tmp_path: Path) -> None:
    source = Input(name="1st läyer??; int", shape=(3,), steps=2)
    synapse = Linear(source=source.name, weight=np.ones((2, 3), np.int64))
    readout = Readout(name="1st l_yer__; int", synapses=(synapse,), bias=np.zeros(2, np.int64))
    net = Network((source, readout), metadata={"classes": '["*/ error", "/* \\"quoted\\\\"]'})
    check(net, tmp_path)


def chain(*names: str, **fields: Any) -> Network:
    """Layers of neurons one after the other, behind a pooling of the input called `run`."""
    layers: list[Layer] = [MaxPool(name="run", source="in", kernel=(1, 1), stride=(1, 1))]
    for name in names:
        channels = 2 if layers[1:] else 1
        synapse = Conv(source=layers[-1].name, weight=np.full((2, channels, 1, 1), 2))
        layers.append(tiny.neurons(name, synapses=(synapse,), **fields))
    return tiny.network(*layers)


def test_names_of_layers_are_kept_apart(tmp_path: Path) -> None:
    """From functions, from each other, and from the prefix."""
    net = chain("a_b_4", "a", "a-b", "a b", "lmht_a", "my_a", "LMHT_B")
    check(net, tmp_path)
    export_c(net, tmp_path / "net.c", prefix="my")
    compile_c("cc", tmp_path)
    assert "lmht_a " in (tmp_path / "net.h").read_text()


def test_currents_that_no_weight_of_the_t_gim_keeps_within_32_bits(tmp_path: Path) -> None:
    bias, omega = np.full(2, 2**30 - 1), np.zeros((2, 2), int)
    check(chain("a", bias=bias, omega=omega), tmp_path)


def test_a_window_that_cannot_be_empty(tmp_path: Path) -> None:
    """The harness pushes a count of 5 in two parts."""
    source = Input(name="in", shape=(3,), steps=2, min_value=5, max_value=9)
    synapse = Linear(source="in", weight=np.arange(6).reshape(2, 3))
    net = Network((source, Readout(name="out", synapses=(synapse,), bias=np.zeros(2, int))))
    check(net, tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "net.h"\nint main(void) { static lmht_result r; static int32_t counts[6];\n'
        "if (lmht_push(0, 0, 0, 0, 10) != -1 || lmht_push(0, 0, 0, 0, -1) != -1) return 1;\n"
        "if (lmht_push(0, 0, 0, 0, 4) || lmht_push(0, 0, 0, 0, -2)) return 2;\n"
        "if (lmht_finish(&r) != -1 || lmht_push(0, 0, 0, 0, 8) != -1) return 3;\n"
        "return lmht_run(counts, &r) == -1 ? 0 : 4; }\n"
    )
    subprocess.run(["cc", *CHECKED, "main.c", "net.o", "-o", "main"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


def test_mistakes(tmp_path: Path) -> None:
    net = SPECIAL["if"]()
    for prefix in ("", "Net", "1a", "a-b", "ä", 5):
        with pytest.raises(ExportError, match="the prefix of the names in C"):
            lmht.export(net, tmp_path / "net.c", prefix=prefix)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"'prefix' is for \.c files"):
        lmht.export(net, tmp_path / "net.onnx", prefix="net")
    with pytest.raises(ExportError, match="includes its header by name"):
        lmht.export(net, tmp_path / 'a"b.c')
    assert not list(tmp_path.iterdir())


def test_a_header_replaces_no_foreign_file(tmp_path: Path) -> None:
    net, header = SPECIAL["if"](), tmp_path / "app.h"
    header.write_text("int mine;\n")
    with pytest.raises(ExportError, match="lmht-deploy did not write this file"):
        lmht.export(net, tmp_path / "app.c")
    assert header.read_text() == "int mine;\n" and not (tmp_path / "app.c").exists()
    for prefix in ("one", "two"):  # its own header is replaced
        lmht.export(net, tmp_path / "net.c", prefix=prefix)
    assert "two_push" in (tmp_path / "net.h").read_text()
