"""Pools of workers: the integers of one engine, errors that arrive, and an end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import lmht_deploy as lmht
from tests.support.chromium import open_page
from tests.support.networks import SPECIAL, windows_for

from .cases import CASES, in_node, pool_task, script_task
from .test_package import Case, assert_exact

NAMES = ("residual", "qcfs", "single-threshold")
ERRORS = """
const attempt = async (body) => {
  try { return await body(); } catch ({ name, kind, message }) { return [name, kind, message]; }
};
const pool = await Pool.read(content, { workers: 2 });
const length = pool.network.windowLength;
const wrong = new Int32Array(40 * length);
wrong[33 * length] = 999;
const silent = new Int32Array(length);
const found = {
  count: await attempt(() => pool.run(wrong)),
  length: await attempt(() => pool.run(new Int32Array(3))),
  nothing: await attempt(() => pool.run([])),
  fraction: await attempt(() => pool.run(new Float64Array(length).fill(0.5))),
  foreign: await attempt(() => pool.run(Array(40 * length).fill(() => 0))),
  windows: await attempt(() => pool.run(null)),
  options: await attempt(() => pool.run(silent, null)),
  switch: await attempt(() => pool.run(silent, { trace: "yes" })),
  options_of_read: await attempt(() => Pool.read(content, null)),
  option: await attempt(() => Pool.read(content, { threads: 2 })),
  text: await attempt(() => Pool.read("net.lmht", { workers: 1 })),
  constructor: await attempt(() => new Pool()),
  after: (await pool.run(silent)).logits,
  expected: pool.network.run(silent).logits,
  file: await attempt(() => Pool.read(new Uint8Array(3), { workers: 1 })),
  workers: await attempt(() => Pool.read(content, { workers: 0.5 })),
};
const running = attempt(() => pool.run(new Int32Array(4000 * length)));
pool.close();
pool.close();
found.closing = await running;
found.closed = await attempt(() => pool.run(silent));
const lone = await Pool.read(content, { workers: 1 });
lone._members[0]._worker.onerror(new Error("out of memory"));
found.dead = await attempt(() => lone.run(silent));
return found;
"""


def cases() -> list[Case]:
    """Batches of one window, of fewer than there are workers, and of many."""
    sizes = (1, 2, 29)
    return [
        (net, windows_for(net, size))
        for net in (SPECIAL[name]() for name in NAMES)
        for size in sizes
    ]


def check_errors(found: dict[str, Any]) -> None:
    expected = {
        "count": ("argument", "window 33 holds 999; the network takes 0 to 255"),
        "length": ("argument", "a multiple of 2048 integers, not 3"),
        "nothing": ("argument", "there is no window to run"),
        "fraction": ("argument", "integers of 32 bits"),
        "file": ("file", "neither a .lmht nor a .lmhtf file"),
        "foreign": ("argument", "integers of 32 bits"),
        "windows": ("argument", "windows are an array of integers, not null"),
        "options": ("argument", "options are an object, not null"),
        "switch": ("argument", "trace is true or false"),
        "options_of_read": ("argument", "options are an object, not null"),
        "option": ("argument", 'there is no option "threads"; there are workers'),
        "text": ("argument", "an ArrayBuffer or a Uint8Array"),
        "constructor": ("argument", "a pool is made by Pool.read"),
        "workers": ("argument", "within 1..256"),
        "closing": ("argument", "the pool is closed"),
        "closed": ("argument", "the pool is closed"),
        "dead": ("internal", "out of memory"),
    }
    assert found.pop("after") == found.pop("expected")
    assert set(found) == set(expected)
    for name, (kind, message) in expected.items():
        assert found[name][:2] == ["LmhtError", kind] and message in found[name][2], found[name]


def test_every_spike_in_node(package: Path, tmp_path: Path) -> None:
    answers = in_node(package, tmp_path, [pool_task(*case) for case in cases()])
    assert_exact(cases(), answers)


def test_errors_in_node(package: Path, tmp_path: Path) -> None:
    """The process ends by itself: no worker is left."""
    (found,) = in_node(package, tmp_path, [script_task(lmht.load("zoo:digits"), ERRORS)])
    check_errors(found)


@pytest.fixture
def address(package: Path, tmp_path: Path) -> Iterator[str]:
    """A server of static files, without headers of its own: a page with the package."""
    (tmp_path / "lmht.js").symlink_to(package)
    (tmp_path / "cases.js").write_text(
        'import { LmhtError, Network, Pool } from "./lmht.js/lmht.js";\n'
        f"{CASES.read_text()}\nglobalThis.answerAll = answerAll;\n"
    )
    (tmp_path / "index.html").write_text(
        "<!doctype html><script type=module src=cases.js></script>"
    )

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def test_every_spike_and_errors_in_a_browser(address: str, tmp_path: Path) -> None:
    script = script_task(lmht.load("zoo:digits"), ERRORS)
    tasks = json.dumps([*(pool_task(*case) for case in cases()), script])
    with open_page(tmp_path, address) as page:
        page.wait("Boolean(globalThis.answerAll)")
        assert page.run("crossOriginIsolated") is False
        page.run(f"void answerAll({tasks}).then((found) => {{ globalThis.found = found; }})")
        *answers, errors = json.loads(page.wait("globalThis.found"))
    assert_exact(cases(), answers)
    check_errors(errors)
