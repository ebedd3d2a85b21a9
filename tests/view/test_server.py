"""The server of the live view: who gets an answer, and which pictures a page gets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.view import Description, Layer, Sampler, Transport, ViewServer
from lmht_deploy.view.server import FILES, MAX_VIEWERS
from tests.support.viewer import address, open_viewer, origin

SENSOR = Sensor(height=4, width=6)
ABOUT = Description(
    network="net.lmht",
    source="recording.npy",
    classes=("a", "b"),
    scale=0.5,
    layers=(Layer("conv", 96),),
    synaptic=("conv", "out"),
    window="windows of 10 ms",
    size=SENSOR,
    sensor=SENSOR,
    duration=1000,
)


@pytest.fixture
def sampler() -> Sampler:
    return Sampler(SENSOR)


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def server(sampler: Sampler, transport: Transport) -> Iterator[ViewServer]:
    with ViewServer(ABOUT, sampler, transport) as found:
        yield found


def count(sampler: Sampler, number: int = 1) -> None:
    """Let the sampler count events of the pixel (1, 2), all ON."""
    place = np.ones(number, np.int64)
    sampler.count(make_events(place, place, 2 * place, place), 0, number, 1)


def get(server: ViewServer, path: str, **headers: str) -> http.client.HTTPResponse:
    host, port = server.url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def path(server: ViewServer, name: str = "") -> str:
    return f"/{server.url.split('/')[3]}/{name}"


def refused(server: ViewServer, **options: object) -> int:
    """The status with which the WebSocket is refused."""
    url = options.pop("url", address(server.url))
    with pytest.raises(InvalidStatus) as error:
        connect(url, **({"origin": origin(server.url)} | options))  # type: ignore[arg-type]
    return error.value.response.status_code


# ------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("name", FILES)
def test_the_page_is_served_with_strict_headers(server: ViewServer, name: str) -> None:
    found = get(server, path(server, name))
    assert found.status == 200 and found.headers["Content-Type"].startswith(FILES[name][1][:8])
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert found.headers["Cache-Control"] == "no-store"
    assert found.headers["Referrer-Policy"] == "no-referrer"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert b"://" not in found.body  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "wrong",
    ["/", "/stream", "/view.js", "//", "/x/", "/x/stream", "/%00/", "/../", "/\xff/", "//["],
)
def test_without_the_token_nothing_is_served(server: ViewServer, wrong: str) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))) as s:
        host = server.url.split("/")[2]
        s.sendall(f"GET {wrong} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        status = s.makefile("rb").readline()
    assert status.startswith(b"HTTP/1.1 403 ") or (not status and not wrong.isascii())


def test_a_token_that_is_nearly_right_is_refused(server: ViewServer) -> None:
    right = path(server)
    for wrong in (right[:-2] + "/", right.upper(), right[:-1] + "x/", right.rstrip("/")):
        assert get(server, wrong).status == 403
    assert get(server, path(server, "other")).status == 404
    assert get(server, path(server, "../view.py")).status == 403


def test_a_browser_is_led_to_the_page_once(server: ViewServer) -> None:
    """Other users see the arguments of a browser: an address there works only for the first."""
    launch = f"/{server.launch_url.split('/')[3]}/"
    assert server.launch_url != server.url and get(server, launch + "stream").status == 403
    assert get(server, launch, Host="evil.example").status == 403
    found = get(server, launch)
    assert found.status == 303 and found.headers["Location"] == path(server)
    assert get(server, launch).status == 403 and get(server, path(server)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "[", ""]
)
def test_another_host_is_refused(server: ViewServer, host: str) -> None:
    """A name server of an attacker may direct any name to this machine."""
    assert get(server, path(server), Host=host).status == 403
    assert get(server, path(server, "stream"), Host=host, Origin=f"http://{host}").status == 403


def test_a_forwarded_port_is_served(server: ViewServer) -> None:
    assert get(server, path(server), Host="localhost:9999").status == 200


@pytest.mark.parametrize(
    "wrong", [None, "null", "http://evil.example", "http://127.0.0.1", "https://{host}"]
)
def test_only_the_page_may_connect(server: ViewServer, wrong: str | None) -> None:
    host = server.url.split("/")[2]
    assert refused(server, origin=wrong and wrong.format(host=host)) == 403


def test_a_websocket_without_the_token_is_refused(server: ViewServer) -> None:
    assert refused(server, url=address(server.url).replace(path(server), "/wrong/")) == 403


def test_only_this_machine_is_served(server: ViewServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert server._socket.getsockname()[0] == "127.0.0.1"
    with ViewServer(ABOUT, Sampler(SENSOR)) as other:
        assert server.url.split("/")[3] != other.url.split("/")[3]


def test_a_port_that_is_taken_is_an_error_of_one_line(server: ViewServer) -> None:
    port = int(server.url.split(":")[2].split("/")[0])
    with pytest.raises(DataError, match=rf"port {port} of 127.0.0.1 is not available"):
        ViewServer(ABOUT, Sampler(SENSOR), port=port)
    with pytest.raises(DataError, match=r"a port lies within 0..65535, not 70000"):
        ViewServer(ABOUT, Sampler(SENSOR), port=70000)


def test_the_token_is_in_no_log(
    server: ViewServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    get(server, path(server))
    refused(server, origin=None)
    with open_viewer(server.url) as viewer:
        viewer.socket.send("wrong")
    token = server.url.split("/")[3]
    lines = [r.getMessage() for r in caplog.records if not r.name.startswith("websockets.client")]
    assert not any(token in line for line in lines)
    said = capfd.readouterr()
    assert token not in said.out + said.err


# ------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    "wrong",
    [
        "", "x", "[]", "null", '"next"', "{}", "[" * 200, b'{"do":"next"}',
        '{"do":"next","us":1}', '{"do":"stop"}', '{"do":[]}', '{"do":"next"}' + 300 * " ",
        '{"do":"seek"}', '{"do":"seek","us":-1}', '{"do":"seek","us":1.5}',
        '{"do":"seek","us":true}', '{"do":"seek","us":1e999}',
        '{"do":"seek","us":9999999999999999}',
        '{"do":"speed"}', '{"do":"speed","value":0}', '{"do":"speed","value":-1}',
        '{"do":"speed","value":NaN}', '{"do":"speed","value":Infinity}',
        '{"do":"speed","value":"1"}', '{"do":"speed","value":true}',
    ],
)  # fmt: skip
def test_what_is_no_command_ends_the_connection(server: ViewServer, wrong: str | bytes) -> None:
    with open_viewer(server.url) as viewer:
        viewer.socket.send(wrong)
        with pytest.raises(ConnectionClosed) as error:
            viewer.receive()
    assert error.value.rcvd is not None and error.value.rcvd.code in (1008, 1009)
    with open_viewer(server.url) as viewer:
        assert viewer.picture()  # the server goes on


def test_commands_reach_the_transport(server: ViewServer, transport: Transport) -> None:
    with open_viewer(server.url) as viewer:
        assert viewer.about["classes"] == ["a", "b"] and viewer.about["size"] == [4, 6]
        viewer.send("speed", value=2.5)
        viewer.send("pause")
        found = viewer.until(lambda header: header["playback"]["paused"])
        assert found.header["playback"] == {"paused": True, "speed": 2.5, "ended": False}
        viewer.send("speed", value=None)
        viewer.send("play")
        viewer.until(lambda header: header["playback"]["speed"] is None)
        viewer.send("seek", us=5)
        viewer.picture()
    assert transport.begin() == 5


def test_a_source_with_a_pace_of_its_own_takes_no_commands(sampler: Sampler) -> None:
    with ViewServer(ABOUT, sampler) as server, open_viewer(server.url) as viewer:
        assert viewer.picture().header["playback"] is None
        viewer.send("pause")
        with pytest.raises(ConnectionClosed, match="a pace of its own"):
            viewer.receive()


# ------------------------------------------------------------------------------------- pictures


def test_a_page_gets_pictures_only_when_it_asks(server: ViewServer, sampler: Sampler) -> None:
    with open_viewer(server.url) as viewer:
        viewer.picture()
        for _ in range(10):
            count(sampler)
            time.sleep(0.05)
        with pytest.raises(TimeoutError):
            viewer.receive(timeout=0)
        found = viewer.picture()
        assert found.header["dropped"] > 0  # the newest picture, not the next one
        assert found.header["totals"]["events"] == 10
        assert found.counts.sum() == found.counts[1, 2, 1] == 10  # with those of dropped ones
    end = time.monotonic() + 20
    while server.dropped == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert server.dropped >= found.header["dropped"]


def test_every_event_is_in_a_picture(server: ViewServer, sampler: Sampler) -> None:
    with open_viewer(server.url) as viewer:
        pictures = [viewer.picture()]
        for _ in range(20):
            count(sampler, 7)
            time.sleep(0.01)
        while pictures[-1].header["totals"]["events"] < 140:
            pictures.append(viewer.picture())
        assert sum(int(picture.counts.sum()) for picture in pictures) == 140


def test_a_second_page_sees_the_same_and_a_ninth_is_refused(
    server: ViewServer, sampler: Sampler, transport: Transport
) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_viewer(server.url)) for _ in range(2))
        second.send("pause")
        for viewer in (first, second):
            viewer.until(lambda header: header["playback"]["paused"])
        count(sampler)
        for viewer in (first, second):
            viewer.until(lambda header: header["totals"]["events"] == 1)
        for _ in range(MAX_VIEWERS - 2):
            stack.enter_context(open_viewer(server.url))
        assert refused(server) == 503
    assert transport.state.paused


def test_a_page_that_is_closed_leaves_the_stream_alone(
    server: ViewServer, sampler: Sampler
) -> None:
    assert server.seconds_alone > 0
    with open_viewer(server.url) as viewer:
        server.wait_for_viewer()
        viewer.picture()
        assert sampler.watching and server.seconds_alone == 0
        viewer.socket.socket.close()  # without a closing handshake
    end = time.monotonic() + 20
    while sampler.watching and time.monotonic() < end:
        time.sleep(0.01)
    assert not sampler.watching and server.seconds_alone > 0
    count(sampler, 3)
    with open_viewer(server.url) as viewer:
        assert viewer.picture().header["totals"]["events"] == 3


def test_the_last_answer_reaches_a_page_before_the_server_ends(sampler: Sampler) -> None:
    with ViewServer(ABOUT, sampler) as server, open_viewer(server.url) as viewer:
        viewer.until(lambda header: True)
        viewer.send("next")
        count(sampler, 5)
        server.__exit__()
        found = viewer.receive()
        while found.header["totals"]["events"] < 5:
            found = viewer.picture()
        with pytest.raises(ConnectionClosed):
            viewer.receive()


def test_the_first_message_is_plain_json(server: ViewServer) -> None:
    with open_viewer(server.url) as viewer:
        assert viewer.about == json.loads(ABOUT.to_text())
        assert viewer.about["layers"] == [{"name": "conv", "neuron_steps": 96}]


def test_a_page_asks_which_cells_decide(sampler: Sampler) -> None:
    asked = threading.Event()

    def explain() -> dict[str, object]:
        asked.wait(5)
        return {"window": 3, "deltas": [[-1.5]]}

    with (
        ViewServer(ABOUT, sampler, explain=explain) as server,
        open_viewer(server.url) as page,
    ):
        page.send("explain")
        page.send("explain")  # a key that is held down
        sampler.touch()
        assert page.picture().header["picture"] == 1  # the server has read both
        asked.set()
        found = json.loads(page.socket.recv(10))
        assert found == {"explanation": {"window": 3, "deltas": [[-1.5]]}}
        sampler.touch()
        assert page.picture().header["picture"] == 2  # no second answer came first
