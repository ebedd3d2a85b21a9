"""Serves the page of the live view on this machine, and sends it pictures."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from lmht_deploy.errors import DataError

from .protocol import (
    LONGEST,
    Description,
    encode_explanation,
    encode_picture,
    parse_command,
)
from .sampler import Picture, Sampler
from .transport import Playback, Transport

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""Names of this machine in the header Host. Any other name is one that an attacker's name server
directs here."""
PICTURES_PER_SECOND = 30
MAX_VIEWERS = 8
"""Pages that may be open at once."""
CLOSE_SECONDS = 1.0
"""Seconds to wait for pages at the end."""
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
}
"""Files that are served, and their types."""
STREAM = "stream"
"""Path of the WebSocket."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Viewer:
    """An open page. It gets a picture when it is ready for one: the newest.

    Attributes:
        dropped: Number of pictures that newer ones replaced.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._picture: Picture | None = None
        self._playback: Playback | None = None
        self._asked = False
        self._wake = asyncio.Event()

    def offer(self, picture: Picture, playback: Playback | None) -> None:
        """Replace the picture that waits, and the state of the transport before it was taken."""
        if self._picture is not None:
            self.dropped += 1
            picture = picture.following(self._picture)
        self._picture, self._playback = picture, playback
        self._wake.set()

    def ask(self) -> None:
        """Note that the page is ready for a picture."""
        self._asked = True
        self._wake.set()

    @property
    def waits(self) -> bool:
        """Whether there is a picture that the page has not asked for yet."""
        return self._picture is not None

    async def pictures(self) -> AsyncIterator[tuple[Picture, Playback | None]]:
        """Yield each picture that the page is ready for, and the state of the transport."""
        while True:
            if self._asked and self._picture is not None:
                picture, self._picture, self._asked = self._picture, None, False
                yield picture, self._playback
            self._wake.clear()
            await self._wake.wait()


class ViewServer:
    """Serves the page in a thread. Use as a context manager, which ends it.

    Only clients that know the token in the path get an answer. The token is in no log.

    Args:
        description: What the pages need to know once.
        sampler: Takes the pictures.
        transport: Plays the recording; None for a source with a pace of its own.
        port: Port on the loopback interface; 0 takes a free one.
        explain: Returns which cells decided the last window, as plain values. It is called in a
            thread of its own, once at a time.

    Attributes:
        url: Address of the page, with the token.
        launch_url: Address that leads to the page once. A browser gets it as an argument, which
            other users of this machine can read.
        dropped: Number of pictures that pages were not ready for.

    Raises:
        DataError: The port is not available.
    """

    def __init__(
        self,
        description: Description,
        sampler: Sampler,
        transport: Transport | None = None,
        port: int = 0,
        explain: Callable[[], Mapping[str, Any]] = lambda: {"error": "nothing explains"},
    ) -> None:
        self.dropped = 0
        self._hello = description.to_text()
        self._sampler, self._transport, self._explain = sampler, transport, explain
        self._explaining = asyncio.Lock()
        self._token, self._launch_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._socket = _listen(port)
        root = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self.url, self.launch_url = f"{root}/{self._token}/", f"{root}/{self._launch_token}/"
        self._viewers: set[Viewer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened = threading.Event()
        self._left = time.perf_counter()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def __enter__(self) -> ViewServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5 * CLOSE_SECONDS)

    def wait_for_viewer(self) -> None:
        """Wait until a page is open."""
        self._opened.wait()

    @property
    def seconds_alone(self) -> float:
        """Seconds since the last page was closed; 0 while one is open."""
        return 0.0 if self._viewers else time.perf_counter() - self._left

    # ------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = serve(
            self._talk,
            sock=self._socket,
            process_request=self._answer,
            compression=None,
            max_size=LONGEST,
            server_header=None,
            close_timeout=CLOSE_SECONDS,
            logger=logging.Logger("lmht_deploy.view", logging.CRITICAL + 1),  # in no registry
        )
        async with server:
            await self._sample_until_stopped()
            await self._show_last()

    async def _sample_until_stopped(self) -> None:
        due = self._loop.time()
        while not self._stop.is_set():
            self._sample()
            due = max(due + 1 / PICTURES_PER_SECOND, self._loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), due - self._loop.time())

    async def _show_last(self) -> None:
        """Wait until every page has the last picture, but not for a page that does not ask."""
        self._sample()
        end = self._loop.time() + CLOSE_SECONDS
        while any(viewer.waits for viewer in self._viewers) and self._loop.time() < end:
            await asyncio.sleep(1 / PICTURES_PER_SECOND)

    def _sample(self) -> None:
        """Offer the newest picture to all pages."""
        if not self._viewers:
            return
        # In this order: a picture of an ended recording holds its last window.
        playback = None if self._transport is None else self._transport.state
        if (picture := self._sampler.take()) is not None:
            for viewer in self._viewers:
                viewer.offer(picture, playback)

    # --------------------------------------------------------------------------------- requests

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request; None lets it open the WebSocket."""
        host = _single(request, "Host")
        path = request.path.partition("?")[0].split("/")
        if _host_name(host) not in NAMES:
            return _text(HTTPStatus.FORBIDDEN, "The live view answers on this machine only.")
        if len(path) == 3 and path[2] == "" and _equal(path[1], self._launch_token):
            return self._launch()
        if len(path) != 3 or not _equal(path[1], self._token):
            return _text(HTTPStatus.FORBIDDEN, "Open the address that lmht view prints.")
        if path[2] == STREAM:
            return self._admit(host, _single(request, "Origin"))
        if path[2] not in FILES:
            return _text(HTTPStatus.NOT_FOUND, "There is no such file.")
        name, kind = FILES[path[2]]
        return _response(HTTPStatus.OK, kind, _read(name))

    def _launch(self) -> Response:
        """Lead a browser to the page; nobody else who uses the same address."""
        self._launch_token = secrets.token_urlsafe(32)
        found = _text(HTTPStatus.SEE_OTHER, "The page is elsewhere.")
        found.headers["Location"] = f"/{self._token}/"
        return found

    def _admit(self, host: str, origin: str) -> Response | None:
        if origin != f"http://{host}":
            return _text(HTTPStatus.FORBIDDEN, "Only the page of the live view may connect.")
        if len(self._viewers) >= MAX_VIEWERS:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_VIEWERS} pages are open already.")
        return None

    # ------------------------------------------------------------------------------- a WebSocket

    async def _talk(self, connection: ServerConnection) -> None:
        viewer = self._enter()
        sender = asyncio.create_task(self._send(connection, viewer))
        try:
            async for message in connection:
                await self._obey(connection, viewer, message)
        except DataError as error:
            await connection.close(CloseCode.POLICY_VIOLATION, str(error))
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            self._leave(viewer)

    def _enter(self) -> Viewer:
        viewer = Viewer()
        self._viewers.add(viewer)
        self._sampler.watching = True
        self._sampler.touch()
        self._opened.set()
        return viewer

    def _leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self.dropped += viewer.dropped
        self._sampler.watching = bool(self._viewers)
        self._left = time.perf_counter()

    async def _obey(
        self, connection: ServerConnection, viewer: Viewer, message: str | bytes
    ) -> None:
        command = parse_command(message)
        if command == "next":
            viewer.ask()
        elif command == "explain":
            self._tasks.add(task := asyncio.create_task(self._send_explanation(connection)))
            task.add_done_callback(self._tasks.discard)
        elif self._transport is None:
            raise DataError("this source has a pace of its own")
        else:
            command(self._transport)
            self._sampler.touch()

    async def _send_explanation(self, connection: ServerConnection) -> None:
        if self._explaining.locked():  # one answer is enough for a key that is held down
            return
        async with self._explaining:
            found = await asyncio.to_thread(self._explain)
        with contextlib.suppress(ConnectionClosed):
            await connection.send(encode_explanation(found))

    async def _send(self, connection: ServerConnection, viewer: Viewer) -> None:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(self._hello)
            async for picture, playback in viewer.pictures():
                await connection.send(encode_picture(picture, playback, viewer.dropped))


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise DataError(f"a port lies within 0..65535, not {port}")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise DataError(
            f"port {port} of {HOST} is not available ({error.strerror or error}); "
            "choose another one, or 0 for a free one"
        ) from None


def _single(request: Request, name: str) -> str:
    """The value of a header; empty if it is absent or repeated."""
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else ""


def _equal(given: str, token: str) -> bool:
    """Compare in a time that does not tell how much of the token is right."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode())


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _read(name: str) -> bytes:
    return resources.files(__package__).joinpath("static", name).read_bytes()


def _text(status: HTTPStatus, text: str) -> Response:
    return _response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _response(status: HTTPStatus, kind: str, body: bytes) -> Response:
    headers = Headers(HEADERS)
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status, status.phrase, headers, body)
