"""Images from the hub: a small server answers as the hub does, and fails within a file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.support.images import random_pixels, write_parquet

pytest.importorskip("datasets")

COMMIT = "a" * 40
LOAD = """
from lmht_deploy.errors import DataError
from lmht_deploy.data import images
try:
    for split in ("train", "test"):
        windows = images.load_images("cifar10", split=split).windows
        print((windows.astype(int).sum((1, 2, 3, 4)) + 128 * 192).tolist())
except DataError as error:
    print(error)
"""


class Hub(ThreadingHTTPServer):
    """Serves the `files` of one data set; the connection ends for good within the file `breaks`."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files, self.breaks, self.gone = files, "", False
        self.sent: list[str] = []


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        file = path.partition(f"/resolve/{COMMIT}/")[2]
        if self.server.gone:
            self.close_connection = True
        elif "/tree/" in path:
            inside = path.partition(f"/tree/{COMMIT}")[2].strip("/")
            files = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(self.server.files[name]),
                    "oid": _hash(name),
                }
                for name in self.server.files
            ]
            self._json(
                200,
                [one for one in files if str(one["path"]).startswith(inside + "/")]
                if inside
                else [{"type": "directory", "path": "plain_text", "oid": ""}],
            )
        elif path.startswith("/api/datasets/uoft-cs/cifar10"):
            self._json(
                200,
                {
                    "id": "uoft-cs/cifar10",
                    "sha": COMMIT,
                    "private": False,
                    "tags": [],
                    "siblings": [],
                    "downloads": 0,
                    "likes": 0,
                },
            )
        elif file in self.server.files:
            self._file(file)
        else:
            self._json(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _json(self, code: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(
            code,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"} | (headers or {}),
        )

    def _file(self, name: str) -> None:
        content = self.server.files[name]
        headers = {"ETag": f'"{_hash(name)}"', "X-Repo-Commit": COMMIT}
        if self.command == "GET" and name == self.server.breaks:
            self.server.gone = True
            self._send(200, content[: len(content) // 2], headers, length=len(content))
            return
        self._send(200, content, headers)
        if self.command == "GET":
            self.server.sent.append(name)

    def _send(
        self, code: int, content: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in (
            headers | {"Content-Length": str(len(content) if length is None else length)}
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _hash(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    files = {}
    for seed, split in enumerate(("train", "test")):
        write_parquet(tmp_path / f"{split}.parquet", random_pixels(5, seed), [0, 1, 2, 9, 3])
        files[f"plain_text/{split}-00000-of-00001.parquet"] = (
            tmp_path / f"{split}.parquet"
        ).read_bytes()
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def load(hub: Hub, home: Path) -> str:
    """Output of a process that reads both splits from `hub`, with its own cache in `home`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HF_") and not name.lower().endswith("_proxy")
    }
    environment |= {
        "HF_HOME": str(home),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_download_that_was_interrupted(hub: Hub, tmp_path: Path) -> None:
    """One clear line. The same command then downloads only what is missing, with equal pixels."""
    train, test = hub.files
    hub.breaks = test
    said = load(hub, tmp_path / "home")
    assert (
        said.startswith("cifar10 could not be downloaded from the hub as uoft-cs/cifar10 (")
        and said.count("\n") == 1
    )
    assert "complete files are kept: run it again" in said
    assert hub.sent == [train]
    hub.breaks, hub.gone = "", False
    expected = [
        np.stack(random_pixels(5, seed)).sum((1, 2, 3), dtype=int).tolist() for seed in range(2)
    ]
    assert [json.loads(line) for line in load(hub, tmp_path / "home").splitlines()] == expected
    assert hub.sent == [train, test]
