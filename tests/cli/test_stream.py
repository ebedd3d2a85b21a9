"""`lmht stream`: the decisions of the reference model, for files, text and UDP."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.cli._stream_summary import Summary
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.live import DATAGRAM
from lmht_deploy.events.windows import WindowRule, count_windows
from lmht_deploy.formats.lmht import save_network
from tests.support.networks import SPECIAL
from tests.support.recordings import binned

from .test_cli import lmht, refused

NET = SPECIAL["lm-ht"]()
SENSOR = Sensor(*NET.input.shape[1:])


@pytest.fixture
def net(tmp_path: Path) -> Path:
    save_network(NET, tmp_path / "net.lmht")
    return tmp_path / "net.lmht"


@pytest.mark.parametrize("verb", ["run", "compare", "evaluate", "stream"])
@pytest.mark.parametrize("size", ["8x8", "20x16", "8x7"])
def test_every_verb_says_how_a_sensor_becomes_the_input(
    verb: str,
    size: str,
    net: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All events of a larger sensor are counted, in fewer pixels; a smaller one is refused."""
    events = make_events(np.arange(0, 4000, 40), *np.zeros((3, 100), int))
    monkeypatch.chdir(tmp_path)
    np.save("recording.npy", events)
    data = ["recording.npy"] if verb == "stream" else ["--data", "recording.npy"]
    more = {
        "compare": ["--backends", "event"],
        "evaluate": ["--out", "out", "--workers", "1"],
        "stream": ["--json", "out.json"],
    }
    command = [verb, net, *data, "--length", "4ms", "--sensor", size, *more.get(verb, [])]
    if size == "8x7":
        message = "windows of 8 x 8 pixels cannot be made from a sensor of 8 x 7; they must not be"
        assert message in refused(capsys, *command)
        return
    assert lmht(*command) == 0
    said = capsys.readouterr().err
    assert ("20 x 16 pixels are down-sampled to 8 x 8" in said) == (size == "20x16"), said


@pytest.fixture
def events(tmp_path: Path) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = make_events(
        np.sort(rng.integers(0, 100_000, 900)),
        rng.integers(3, size=900),
        rng.integers(4, 8, 900),
        rng.integers(2, size=900),
    )
    np.save(tmp_path / "recording.npy", found)
    return found


def expected(events: np.ndarray, rule: WindowRule) -> list[tuple[int, int, int]]:
    """Class, spikes and SOPs of every window, by the reference model."""
    result = reference.run(
        NET, np.minimum(count_windows(events, SENSOR, rule), NET.input.max_value)
    )
    return list(
        zip(
            result.predictions.tolist(),
            sum(result.spikes.values()).tolist(),
            sum(result.sops.values()).tolist(),
            strict=True,
        )
    )  # type: ignore[union-attr]


def decisions(text: str) -> list[tuple[int, int, int]]:
    return [
        (line["label"], line["spikes"], line["sops"]) for line in map(json.loads, text.splitlines())
    ]


@pytest.mark.parametrize("backend", ["event", "reference"])
@pytest.mark.parametrize("pace", [[], ["--speed", 10]])
def test_a_recording(
    net: Path, events: np.ndarray, backend: str, pace: list, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, written = net.with_name("recording.npy"), net.with_name("out.jsonl")
    assert (
        lmht(
            "stream",
            net,
            recording,
            "--length",
            "10ms",
            "--sensor",
            "8x8",
            "--backend",
            backend,
            "--json",
            written,
            *pace,
        )
        == 0
    )
    rule = binned(NET.input.steps, "time", 2500)
    assert decisions(written.read_text()) == expected(events, rule)
    lost = int(np.maximum(count_windows(events, SENSOR, rule) - NET.input.max_value, 0).sum())
    assert lost > 0 and f"{lost} events above the input range" in capsys.readouterr().err


def test_lines_for_people_and_a_limit(
    net: Path, events: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        lmht(
            "stream",
            net,
            net.with_name("recording.npy"),
            "--by",
            "events",
            "--length",
            80,
            "--sensor",
            "8x8",
            "--limit",
            3,
        )
        == 0
    )
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 3
    assert re.search(
        r"3 windows of 240 events, [\d,]+ events/s; "
        r"latency p50 [\d.]+ ms, p99 [\d.]+ ms, of which the network p50",
        said.err,
    )
    for line, (label, spikes, sops) in zip(
        lines, expected(events, binned(NET.input.steps, "events", 20)), strict=False
    ):
        assert (
            f"class {label:3d}" in line
            and f"{spikes:,} spikes" in line
            and f"{sops:,} SOPs" in line
        )


def test_classes_have_names_where_the_network_carries_them(
    net: Path, events: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"kind {label}" for label in range(NET.classes)]
    save_network(dataclasses.replace(NET, metadata={"classes": json.dumps(names)}), net)
    arguments = [
        "stream",
        net,
        net.with_name("recording.npy"),
        "--length",
        "10ms",
        "--sensor",
        "8x8",
    ]
    assert lmht(*arguments) == 0
    labels = [label for label, _, _ in expected(events, binned(NET.input.steps, "time", 2500))]
    for line, label in zip(capsys.readouterr().out.splitlines(), labels, strict=True):
        assert f"class {names[label]} " in line
    assert lmht(*arguments, "--json", "-") == 0
    assert [json.loads(line)["class"] for line in capsys.readouterr().out.splitlines()] == [
        names[label] for label in labels
    ]


@pytest.mark.parametrize("hop", [1, 3])
def test_overlapping_windows(
    net: Path, events: np.ndarray, hop: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for backend in ("event", "reference"):
        arguments = [
            "stream",
            net,
            net.with_name("recording.npy"),
            "--length",
            "10ms",
            "--sensor",
            "8x8",
            "--hop",
            hop,
            "--json",
            "-",
        ]
        assert lmht(*arguments, "--backend", backend) == 0
        found.append(
            [
                {k: v for k, v in json.loads(line).items() if k not in ("latency", "seconds")}
                for line in capsys.readouterr().out.splitlines()
            ]
        )
    assert found[0] == found[1] and len(found[0]) > 100_000 // 2500 // hop - 4


def test_a_live_window_ends_though_no_event_comes(net: Path) -> None:
    process = start(
        "stream",
        net,
        "-",
        "--length",
        "10ms",
        "--live",
        "--limit",
        3,
        "--json",
        "-",
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("0 1 1 1\n5 2 2 0\n")
    process.stdin.flush()
    lines = [
        json.loads(process.stdout.readline()) for _ in range(3)
    ]  # standard input stays open, and silent
    process.communicate()
    assert [line["events"] for line in lines] == [2, 0, 0] and [line["time"] for line in lines] == [
        10_000,
        20_000,
        30_000,
    ]
    assert process.returncode == 0


def start(*arguments: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen:
    command = [
        sys.executable,
        "-c",
        "from lmht_deploy.cli import main; main()",
        *map(str, arguments),
    ]
    return subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_standard_input(net: Path, events: np.ndarray) -> None:
    lines = "\n".join(f"{t} {x} {y} {int(p)}" for t, x, y, p in events.tolist())
    out, err = start(
        "stream", net, "-", "--length", "10ms", "--json", "-", stdin=subprocess.PIPE
    ).communicate(lines)
    assert decisions(out) == expected(events, binned(NET.input.steps, "time", 2500)), err
    process = start("stream", net, "-", "--length", "10ms", stdin=subprocess.PIPE)
    _, err = process.communicate("1 2 3\n")
    assert process.returncode == 2 and "must hold four integers" in err and err.count("\n") == 1


def test_a_line_that_is_no_event_is_dropped_and_counted(net: Path, events: np.ndarray) -> None:
    lines = [f"{t} {x} {y} {int(p)}" for t, x, y, p in events.tolist()]
    lines[50:50] = ["t x y p", "1 2"]
    arguments = ("stream", net, "-", "--length", "10ms", "--drop", "--json", "-")
    process = start(*arguments, stdin=subprocess.PIPE)
    out, err = process.communicate("\n".join(lines))
    assert decisions(out) == expected(events, binned(NET.input.steps, "time", 2500)), err
    assert process.returncode == 0 and "; 2 malformed lines dropped" in err


def test_a_reader_that_leaves_early_is_no_error(net: Path, events: np.ndarray) -> None:
    process = start(
        "stream",
        net,
        net.with_name("recording.npy"),
        "--length",
        "4us",
        "--sensor",
        "8x8",
        "--json",
        "-",
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and "Traceback" not in said, said


def test_udp(net: Path, events: np.ndarray) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(
        "stream",
        net,
        f"udp://127.0.0.1:{port}",
        "--length",
        "10ms",
        "--silence",
        3,
        "--drop",
        "--json",
        "-",
        "--limit",
        9,
    )
    wire = events.astype(DATAGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while (
            process.poll() is None
        ):  # the process listens some time after its start: what comes before is refused, or lost
            try:
                sender.sendto(wire.tobytes(), ("127.0.0.1", port))
            except ConnectionRefusedError:
                continue
            try:
                out, err = process.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
    assert decisions(out) == expected(events, binned(NET.input.steps, "time", 2500))[:9], err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recording.npy"], "give the length of its windows, as in --length 50ms"),
        (["recording.npy", "--by", "recording"], "give the length of its windows"),
        (["recording.npy", "--by", "time"], "needs the length of a window, as in --length 50ms"),
        (["recording.npy", "--by", "events"], "needs the length of a window, as in --length 5000"),
        (["recording.npy", "--by", "frames"], "'recording', 'time' or 'events', not 'frames'"),
        (["recording.npy", "--length", "5"], "no unit; write 5ms, or 5 events with --by events"),
        (["recording.npy", "--length", "5", "--by", "time"], "no unit; write 5us, 5ms or 5s"),
        (["recording.npy", "--length", "5ms", "--by", "events"], "needs a number of events"),
        (["recording.npy", "--length", "5ms", "--by", "recording"], "has no --length"),
        (["recording.npy", "--length", "0ms"], "whole number of microseconds, at least 1"),
        (["recording.npy", "--length", "0.5us"], "whole number of microseconds, at least 1"),
        (["recording.npy", "--length", "1.5", "--by", "events"], "whole number of events"),
        (["recording.npy", "--length", "ten"], "a time as in 50ms, 12500us or 1.5s"),
        (["recording.npy", "--length", "5us"], "multiple of 4 microseconds, not 5"),
        (["recording.npy", "--length", "20us"], "does not say how large its sensor is"),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8"],
            "a size is given as WIDTHxHEIGHT, as in 128x128, not '8'",
        ),
        (
            ["recording.npy", "--length", "20us", "--sensor", "7x7"],
            "lies beside the sensor|must not be larger",
        ),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8x8", "--hop", "9"],
            "must be 1 to 4 bins, not 9",
        ),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8x8", "--speed", "0"],
            "the speed of a recording must be > 0",
        ),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8x8", "--json", "absent/a.json"],
            "cannot be written",
        ),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8x8", "--silence", "1"],
            "--silence ends a UDP source",
        ),
        (["absent.npy", "--length", "20us"], "there is no such file"),
        (["-", "--length", "20us", "--speed", "1"], "--speed plays a recording"),
        (
            ["recording.npy", "--length", "20us", "--sensor", "8x8", "--live"],
            "--live is for standard input, UDP and cameras",
        ),
        (["-", "--by", "events", "--length", "20", "--live"], "--live ends windows by time"),
        (
            ["camera", "--length", "20us"],
            "faery has no camera drivers here; run: pip install neuromorphic-drivers"
            "|no event camera could be opened",
        ),
        (["udp://127.0.0.1", "--length", "20us"], "an address is given as udp://HOST:PORT"),
        (["udp://127.0.0.1:99999", "--length", "20us"], "a port lies within"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    net: Path,
    events: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(net.parent)
    assert re.search(message, refused(capsys, "stream", net, *arguments))


def test_a_network_for_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(SPECIAL["image"](), tmp_path / "image.lmht")
    assert "takes image of shape (3, 8, 8)" in refused(
        capsys, "stream", tmp_path / "image.lmht", "-", "--length", "20us"
    )


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="who started the tests has them ignore SIGINT",
)
def test_a_recording_played_in_real_time_is_left_with_ctrl_c(net: Path) -> None:
    np.save(
        net.with_name("long.npy"),
        make_events(np.arange(0, 60_000_000, 1000), *np.zeros((3, 60_000), np.int64)),
    )
    with start(
        "stream",
        net,
        net.with_name("long.npy"),
        "--length",
        "10ms",
        "--sensor",
        "8x8",
        "--speed",
        1,
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=50)
    assert process.returncode == 130 and re.match(r"[\d,]+ windows? of ", said)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_stream_though_its_input_is_silent(net: Path, name: str, code: int) -> None:
    number = getattr(signal, name)
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"who started the tests has them ignore {name}")
    with start("stream", net, "-", "--length", "10ms", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(f"{t} 1 1 1\n" for t in range(0, 30_000, 3)))
        process.stdin.flush()
        assert process.stdout.readline()
        time.sleep(0.3)
        asked = time.perf_counter()
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()  # standard input stays open
        assert process.wait(timeout=20) == code and time.perf_counter() - asked < 2
    assert re.match(r"2 windows of [\d,]+ events", said) and "Traceback" not in said


@pytest.mark.parametrize("live", [[], ["--live"]])
@pytest.mark.parametrize("hostile", ["one", "many"])
def test_a_hostile_datagram_does_not_end_a_stream(net: Path, live: list[str], hostile: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--length", "10ms", "--drop", "--silence", 1, "--json", "-", *live]
    process = start("stream", net, f"udp://127.0.0.1:{port}", *options)

    def send(times: range | list[int]) -> None:
        events = np.zeros(len(times), DATAGRAM)
        events["t"], events["x"] = times, np.arange(len(times)) % 8
        sender.sendto(events.tobytes(), ("127.0.0.1", port))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        wait_for_socket(port)
        for number in range(60):
            if number == 20:
                send([2**61] if hostile == "one" else range(2**61, 2**61 + 100))
            if number == 40:
                send([number * 1000 + 10**9])
            send(range(number * 1000, number * 1000 + 100))
            time.sleep(0.001)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    late = re.search(r"([\d,]+) events dropped that arrived after their window", err)
    counted = sum(line["events"] for line in lines)
    assert counted + int(late[1].replace(",", "") if late else 0) == 6000 and len(lines) < 500, err
    number = 2 if hostile == "one" else 101
    assert re.search(rf"{number} events (with invalid order dropped|dropped with a time)", err)


@pytest.mark.parametrize(
    ("late", "said"),
    [
        (1, "1 event dropped that arrived after its window"),
        (1300, "1,300 events dropped that arrived after their window"),
    ],
)
def test_late_events_are_summarized(late: int, said: str) -> None:
    windower = SimpleNamespace(late=late, skipped=0)
    source = SimpleNamespace(
        packets=None, udp=None, validator=SimpleNamespace(seen=0, dropped={}), dropped={"lines": 0}
    )
    summary = Summary(cast(Any, None))
    assert summary.text(cast(Any, windower), cast(Any, source), None).endswith("; " + said)


def wait_for_socket(port: int) -> None:
    table = Path("/proc/net/udp")
    if not table.exists():
        pytest.skip("this system does not list its sockets in /proc/net/udp")
    deadline = time.perf_counter() + 60
    while f":{port:04X} " not in table.read_text():
        assert time.perf_counter() < deadline
        time.sleep(0.02)


def test_a_time_far_ahead_makes_no_windows(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = np.append(np.arange(0, 100_000, 1000), 100_000 + 10**9)
    np.save(net.with_name("far.npy"), make_events(times, *np.zeros((3, 101), np.int64)))
    arguments = ["stream", net, net.with_name("far.npy"), "--length", "10ms", "--sensor", "8x8"]
    assert lmht(*arguments) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 12 and "99,999 empty windows skipped" in said.err
    assert lmht(*arguments, "--max-gap", "2000s", "--limit", 50) == 0
    assert capsys.readouterr().out.count("\n") == 50
    assert "a duration is a number with a unit" in refused(capsys, *arguments, "--max-gap", "5")


@pytest.mark.parametrize("first", [10**15, -(10**15)])
def test_a_live_stream_survives_a_bad_first_event(net: Path, first: int) -> None:
    options = ["--length", "10ms", "--live", "--drop", "--json", "-"]
    process = start("stream", net, "-", *options, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(f"{first} 1 1 1\n")
    process.stdin.flush()
    time.sleep(0.05)
    for index in range(100):
        process.stdin.write("".join(f"{index * 1000 + i * 200} 1 1 1\n" for i in range(5)))
        process.stdin.flush()
        time.sleep(0.001)
    out, err = process.communicate(timeout=30)
    counted = sum(json.loads(line)["events"] for line in out.splitlines())
    assert process.returncode == 0 and counted >= 450, err
