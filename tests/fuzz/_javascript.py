"""The reader of `.lmht` files of lmht.js, in one process of Node.js that lives long."""

from __future__ import annotations

import atexit
import base64
import json
import select
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from lmht_deploy.errors import LmhtError, StorageError
from lmht_deploy.formats.flat import load_flat, network_to_bytes
from lmht_deploy.formats.lmht import load_network

SECONDS = 20.0
"""Time after which an input is a hang."""
MEGABYTES = 512
"""Of the heap of Node.js."""
UNLIMITED = 'ulimit -S -v "$(ulimit -H -v)"; exec "$@"'
"""Runs a command; Node.js reserves more address space than an input may ask for."""
SCRIPT = """
import readline from "node:readline";
import {{ flatFromHdf5 }} from "{package}/hdf5.js";
const answer = (text) => {{
  try {{
    const flat = flatFromHdf5(new Uint8Array(Buffer.from(text, "base64")));
    return {{ flat: Buffer.from(flat).toString("base64") }};
  }} catch (error) {{
    return {{ name: error.name, kind: error.kind, message: error.message }};
  }}
}};
for await (const line of readline.createInterface({{ input: process.stdin }}))
  process.stdout.write(JSON.stringify(answer(line)) + "\\n");
"""


class RefusedError(LmhtError):
    """An error of lmht.js about a file."""


@cache
def package() -> Path:
    """Write the package without its engine, which the reader does not need; its folder."""
    from web.bundle import write_package

    folder = Path(tempfile.mkdtemp(prefix="lmht-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_package(b"", folder)
    (folder / "reader.mjs").write_text(SCRIPT.format(package=folder.as_uri()))
    return folder


class Reader:
    """A process that converts files."""

    def __init__(self) -> None:
        command = ["node", f"--max-old-space-size={MEGABYTES}", str(package() / "reader.mjs")]
        self._process = subprocess.Popen(
            ["sh", "-c", UNLIMITED, "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def convert(self, content: bytes) -> dict[str, Any]:
        """Return the flat file, or the error."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(base64.b64encode(content) + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], SECONDS)[0]:
            self._process.kill()
            raise AssertionError("hang of Node.js")
        line = self._process.stdout.readline()
        assert line, "Node.js ended"
        found: dict[str, Any] = json.loads(line)
        return found


@cache
def reader() -> Reader:
    """Return the process, which ends with this one."""
    return Reader()


def read_network(path: Path) -> None:
    """Convert a `.lmht` file to a flat file; it holds the network that Python reads."""
    answer = reader().convert(path.read_bytes())
    if "flat" not in answer:
        assert answer["name"] == "LmhtError" and answer["kind"] in ("file", "unsupported"), answer
        raise RefusedError(answer["message"])
    content = base64.b64decode(answer["flat"])
    path.with_suffix(".lmhtf").write_bytes(content)
    try:
        load_flat(path.with_suffix(".lmhtf"))
    except StorageError as error:  # the page's engine checks the flat file, too
        raise RefusedError(str(error)) from None
    assert content == network_to_bytes(load_network(path)), "another network"
