"""A page in headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

SECONDS = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@cache
def find_chromium() -> str | None:
    """Path of the browser; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """A page of a browser.

    Attributes:
        errors: Messages of the console that are errors, and requests that failed.
        messages: All messages of the console.
        requests: Addresses that the page requested.
    """

    def __init__(self, socket: Any) -> None:
        self.errors: list[str] = []
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._socket, self._numbers = socket, itertools.count(1)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(SECONDS))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self._evaluate(script)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _evaluate(self, script: str) -> dict[str, Any]:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)

    def wait(self, script: str) -> Any:
        """Wait until an expression is true, and has a value at all; its value."""
        end = time.monotonic() + SECONDS
        while not (value := (found := self._evaluate(script))["result"].get("value")):
            assert time.monotonic() < end, f"{script} is {found}; errors {self.errors}"
            time.sleep(0.05)
        return value

    def press(self, key: str, code: int = 0, modifiers: int = 0) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
                **text,
            )

    def screenshot(self, path: Path, width: int, height: int, dark: bool) -> None:
        """Write a picture of the page."""
        self.look(width, height, dark)
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def look(self, width: int, height: int, dark: bool) -> None:
        """Set the size and the color scheme of the page."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Runtime.evaluate", expression="new Promise(r => setTimeout(r, 300))", awaitPromise=True
        )

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") in ("Runtime.consoleAPICalled", "Log.entryAdded"):
            self.messages.append(json.dumps(parameters))
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(json.dumps(parameters["entry"]))
            case "Runtime.consoleAPICalled" if parameters["type"] == "error":
                self.errors.append(json.dumps(parameters["args"]))
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])


@contextmanager
def open_page(folder: Path, url: str) -> Iterator[Page]:
    """Open `url` in headless Chromium; skip the test where there is none.

    Args:
        folder: Folder for the profile of the browser.
        url: Address of the page.
    """
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    command = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "about:blank",
    ]  # fmt: skip
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with connect(_page_address(folder / "chromium.log"), max_size=None) as socket:
            page = Page(socket)
            page.call("Page.navigate", url=url)
            yield page
            page.run("1")
    finally:
        process.terminate()
        process.wait()


def _page_address(log: Path) -> str:
    """Address of the WebSocket of the first page."""
    end = time.monotonic() + SECONDS
    while not (found := re.search(r"ws://127\.0\.0\.1:(\d+)/", log.read_text())):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    from urllib.request import urlopen

    while time.monotonic() < end:
        with urlopen(f"http://127.0.0.1:{found[1]}/json/list") as answer:
            for target in json.load(answer):
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError(log.read_text())
