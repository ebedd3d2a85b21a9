"""Messages between the live view and its page.

To the page: one text message when it connects (JSON, see `Description`), then pictures. A picture
is a binary message: the number n of bytes of a header (uint32, little-endian), the header (n bytes
of JSON), and the event counts (uint8 `[2, H, W]`, OFF and ON). The answer to "explain" is a text
message {"explanation": {...}}. From the page: commands, text
messages of JSON with exactly these keys:

    {"do": "next"}                   the page is ready for a picture
    {"do": "pause"}, {"do": "play"}, {"do": "step"}
    {"do": "speed", "value": 0.5}    a multiple of real time; null: as fast as possible
    {"do": "seek", "us": 2500000}    time from the first event
    {"do": "explain"}                which cells decided the last window?
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lmht_deploy.errors import DataError

from .sampler import Layer, Picture, Shown
from .transport import Playback, Transport

LONGEST = 256
"""Bytes of a command, at most."""
SLOWEST, FASTEST = 1e-3, 1e3
"""Speeds that a page may choose."""
LATEST = 2**53 - 1
"""Largest time in us: the largest integer that JavaScript represents exactly."""


@dataclass(frozen=True)
class Description:
    """What a page needs to know once.

    Attributes:
        network: Name of the network.
        source: Name of the source.
        classes: Name of each class.
        scale: Real value of one unit of a logit.
        layers: The layers of neurons.
        synaptic: Names of the layers with synapses.
        window: The window rule in words.
        size: Height and width of the pictures.
        sensor: Height and width of the sensor.
        duration: Duration of a recording in us; None for another source.
    """

    network: str
    source: str
    classes: tuple[str, ...]
    scale: float
    layers: tuple[Layer, ...]
    synaptic: tuple[str, ...]
    window: str
    size: tuple[int, int]
    sensor: tuple[int, int]
    duration: int | None

    def to_text(self) -> str:
        """Return the message."""
        layers = [layer._asdict() for layer in self.layers]
        return _dump(asdict(self) | {"layers": layers})


def encode_picture(picture: Picture, playback: Playback | None, dropped: int) -> bytes:
    """Return the message with a picture.

    Args:
        picture: The picture.
        playback: State of the transport; None if the source has a pace of its own.
        dropped: Number of pictures that this page has not got.
    """
    header = {
        "picture": picture.number,
        "dropped": dropped,
        "time": picture.time,
        "answer": picture.answer and _as_json(picture.answer),
        "answers": [_as_json(shown) for shown in picture.answers],
        "totals": picture.totals._asdict(),
        "rates": picture.rates._asdict(),
        "latency": picture.latency,
        "playback": playback and _playback(playback),
    }
    text = _dump(header).encode()
    return struct.pack("<I", len(text)) + text + picture.counts.tobytes()


def _as_json(shown: Shown) -> dict[str, Any]:
    # vars, not asdict: it copies nothing, and every picture holds many decisions
    return vars(shown.decision) | {"by_layer": {"spikes": shown.spikes, "sops": shown.sops}}


def _playback(playback: Playback) -> dict[str, Any]:
    speed = playback.speed if playback.speed < math.inf else None
    return asdict(playback) | {"speed": speed}


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def encode_explanation(explanation: Mapping[str, Any]) -> str:
    """Return the message that answers "explain"."""
    return _dump({"explanation": dict(explanation)})


Command = Callable[[Transport], None]
"""A command of a page, to be given to the transport."""
PLAIN: dict[str, Command] = {
    "pause": Transport.pause,
    "play": Transport.play,
    "step": Transport.step,
}


def parse_command(message: str | bytes) -> Command | Literal["next", "explain"]:
    """Return the command in a message; "next" and "explain" are not for the transport.

    Raises:
        DataError: The message is not a command.
    """
    found = _parse_object(message)
    match found:
        case {"do": "next", **more} if not more:
            return "next"
        case {"do": "explain", **more} if not more:
            return "explain"
        case {"do": str(name), **more} if name in PLAIN and not more:
            return PLAIN[name]
        case {"do": "speed", "value": value, **more} if not more and _is_speed(value):
            return lambda transport: transport.set_speed(math.inf if value is None else value)
        case {"do": "seek", "us": us, **more} if not more and type(us) is int and 0 <= us <= LATEST:
            return lambda transport: transport.seek(us)
    raise DataError("this is not a command of the live view")


def _parse_object(message: str | bytes) -> object:
    if not isinstance(message, str) or len(message) > LONGEST:
        raise DataError(f"a command is a text of up to {LONGEST} bytes")
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise DataError("a command is an object in JSON") from None


def _is_speed(value: object) -> bool:
    return value is None or (type(value) in (int, float) and SLOWEST <= value <= FASTEST)  # type: ignore[operator]
