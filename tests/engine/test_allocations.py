"""Nothing is allocated after the first batch: all calls of malloc in a run are counted."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmht_deploy import engine

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)

COUNTER = """
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
static long calls;
#define COUNTED(result) { __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED); return result; }
void *malloc(size_t n) COUNTED(__libc_malloc(n))
void *calloc(size_t n, size_t size) COUNTED(__libc_calloc(n, size))
void *realloc(void *old, size_t n) COUNTED(__libc_realloc(old, n))
void *memalign(size_t at, size_t n) COUNTED(__libc_memalign(at, n))
void *aligned_alloc(size_t at, size_t n) COUNTED(__libc_memalign(at, n))
int posix_memalign(void **to, size_t at, size_t n) COUNTED((*to = __libc_memalign(at, n)) ? 0 : 12)
long allocations(void) { return __atomic_load_n(&calls, __ATOMIC_RELAXED); }
"""

SCRIPT = """
import ctypes, sys
from lmht_deploy import engine
from tests.support.networks import SPECIAL, windows_for
from tests.engine.test_exact import deep

count = ctypes.CDLL(None).allocations

class Counting:
    def __init__(self, core):
        self.core, self.counts = core, []
    def __getattr__(self, name):
        def counted(*arguments):
            before = count()
            getattr(self.core, name)(*arguments)
            self.counts.append(count() - before)
        return counted

before = count()
bytearray(10**6)
assert count() > before, "malloc is not counted"
networks = {"deep": deep(), "graded": deep(levels=3), "wide": deep(max_value=300)}
for name, net in (networks | {name: build() for name, build in SPECIAL.items()}).items():
    windows = windows_for(net, 5)
    for threads in (1, 2):
        runner = engine.Engine(net, threads=threads)
        runner.run(windows[1:2])
        runner.run(windows)
        runner._core = counting = Counting(runner._core)
        for batch in (windows[:1], windows, windows):
            runner.run(batch)
        if engine.IncrementalEngine.supports(runner.model):
            steps = engine.IncrementalEngine(runner.model, threads=threads)
            steps.put(0, windows[1, 0])
            steps.run(1)
            counting.core, steps._core = steps._core, counting
            for step in range(net.input.steps):
                steps.put(step, windows[1, step])
                steps.run(step)
        if engine.StepwiseEngine.supports(net):
            stepwise = engine.StepwiseEngine(net, threads=threads)
            stepwise.step(windows[1, 0])
            stepwise.reset()
            counting.core, stepwise._core = stepwise._core, counting
            for counts in windows[1]:
                stepwise.step(counts)
        print(name, threads, *counting.counts)
"""


def test_nothing_is_allocated_after_the_first_batch(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("counting allocations needs a C compiler and glibc")
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("another library stands in for malloc")
    (tmp_path / "counter.c").write_text(COUNTER)
    counter = tmp_path / "counter.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-fno-builtin", "-o", counter, tmp_path / "counter.c"],
        check=True,
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"LD_PRELOAD": str(counter), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if {*line.split()[2:]} != {"0"}] == []
    assert any(len(line.split()) > 5 for line in lines)  # step by step too
