"""A page of the live view without a browser: a WebSocket client that asks for pictures."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from websockets.sync.client import ClientConnection, connect

SECONDS = 20.0


class Received(NamedTuple):
    """A picture as a page gets it."""

    header: dict[str, Any]
    counts: np.ndarray


class Viewer:
    """An open page.

    Attributes:
        about: The first message.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.about = json.loads(socket.recv(SECONDS))

    def send(self, do: str, **values: object) -> None:
        """Send a command."""
        self.socket.send(json.dumps({"do": do} | values))

    def picture(self) -> Received:
        """Ask for the next picture and wait for it."""
        self.send("next")
        return self.receive()

    def receive(self, timeout: float = SECONDS) -> Received:
        """Wait for a picture."""
        data = self.socket.recv(timeout)
        assert isinstance(data, bytes)
        (length,) = struct.unpack_from("<I", data)
        counts = np.frombuffer(data, np.uint8, offset=4 + length)
        return Received(json.loads(data[4 : 4 + length]), counts.reshape(2, *self.about["size"]))

    def until(self, right: Callable[[dict[str, Any]], Any]) -> Received:
        """Take pictures until the header of one is right."""
        while not right((found := self.picture()).header):
            pass
        return found


def address(url: str) -> str:
    """Address of the WebSocket of a page."""
    return f"{url.replace('http', 'ws', 1)}stream"


def origin(url: str) -> str:
    """Origin of a page."""
    return f"http://{urlsplit(url).netloc}"


@contextmanager
def open_viewer(url: str) -> Iterator[Viewer]:
    """Open a page."""
    with connect(address(url), origin=origin(url)) as socket:  # type: ignore[arg-type]
        yield Viewer(socket)
