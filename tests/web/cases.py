"""Tasks for `cases.js`: what lmht.js is to compute, in Node.js or in a page."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network

CASES = Path(__file__).with_name("cases.js")
SECONDS = 120


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def run_task(net: Network, windows: np.ndarray) -> dict[str, Any]:
    """Run windows with all traces."""
    values = np.ascontiguousarray(windows, "<i4").tobytes()
    return {"kind": "run", "network": packed(network_to_bytes(net)), "windows": packed(values)}


def pool_task(net: Network, windows: np.ndarray) -> dict[str, Any]:
    """Run windows with all traces, in three workers."""
    return run_task(net, windows) | {"kind": "pool", "workers": 3}


def script_task(net: Network, text: str) -> dict[str, Any]:
    """Run an asynchronous function with this body; `content` is the file of the network."""
    return {"kind": "script", "network": packed(network_to_bytes(net)), "text": text}


def flat_task(content: bytes) -> dict[str, Any]:
    """Write a `.lmht` file as a flat file."""
    return {"kind": "flat", "network": packed(content)}


def stream_task(net: Network, recording: Path, **options: object) -> dict[str, Any]:
    """Stream a recording through a network."""
    return {
        "kind": "stream",
        "network": packed(network_to_bytes(net)),
        "recording": packed(recording.read_bytes()),
        "name": recording.name,
        "options": options,
    }


def decode_task(recording: Path, **sensor: int) -> dict[str, Any]:
    """Read all events of a recording."""
    content = packed(recording.read_bytes())
    return {"kind": "decode", "recording": content, "name": recording.name, "sensor": sensor}


def expression_task(net: Network, text: str) -> dict[str, Any]:
    """Evaluate an expression in JavaScript; `net` is the network."""
    return {"kind": "expression", "network": packed(network_to_bytes(net)), "text": text}


def in_node(package: Path, folder: Path, tasks: list[dict[str, Any]]) -> list[Any]:
    """The answers of Node.js; skip the test where it is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    names = "Network, Pool, Recording, Events, LmhtError"
    script = folder / "cases.mjs"
    script.write_text(
        f'import {{ {names} }} from "{(package / "lmht.js").as_uri()}";\n'
        f'import {{ flatFromHdf5 }} from "{(package / "hdf5.js").as_uri()}";\n'
        f'import fs from "node:fs";\n{CASES.read_text()}\n'
        'console.log(await answerAll(JSON.parse(fs.readFileSync(0, "utf8"))));\n'
    )
    done = subprocess.run(
        [node, str(script)],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found
