"""lmht.js: every integer equal to the reference, in Node.js and in a browser; errors; files."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmht_deploy as lmht
from lmht_deploy import reference, zoo
from lmht_deploy.events.arrays import EventValidator, Sensor
from lmht_deploy.events.recordings import Recording, open_recording, read_events, write_events
from lmht_deploy.events.stream import Packet, WholeWindows, Windower, decide
from lmht_deploy.events.windows import WindowRule
from lmht_deploy.ir import Network
from lmht_deploy.result import Result
from tests.support.chromium import open_page
from tests.support.networks import SPECIAL, networks, windows_for
from web import bundle

from .cases import CASES, decode_task, expression_task, in_node, run_task, stream_task

MAX_GZIPPED = 120_000
"""Bytes of the compressed engine, at most."""

ATTEMPT = (
    "(() => { try { %s } catch (error) { return [error.name, error.kind, error.message]; } })()"
)
"""An expression for what goes wrong in another one."""
Case = tuple[Network, np.ndarray]


def special_cases() -> list[Case]:
    return [(net, windows_for(net)) for net in (build() for build in SPECIAL.values())]


def random_cases(number: int) -> list[Case]:
    """Random networks, the same in every run."""
    found: list[Case] = []

    @settings(max_examples=number, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(net=networks(), batch=st.integers(1, 3))
    def collect(net: Network, batch: int) -> None:
        found.append((net, windows_for(net, batch)))

    collect()
    return found


def assert_exact(cases: list[Case], answers: list[Any]) -> None:
    assert len(cases) == len(answers)
    for (net, windows), answer in zip(cases, answers, strict=True):
        assert "error" not in answer, answer
        expected = reference.run(net, windows, trace=True)
        assert_same_integers(expected, answer)


def assert_same_integers(expected: Result, answer: dict[str, Any]) -> None:
    assert answer["logits"] == expected.logits.tolist()
    assert answer["answers"] == expected.predictions.tolist()
    for name, counts in (
        ("spikes", expected.spikes), ("events", expected.events),
        ("sops", expected.sops), ("eventSops", expected.event_sops),
    ):  # fmt: skip
        assert (
            answer[name]
            == np.array(list(counts.values())).T.reshape(len(expected.logits), -1).tolist()
        ), name
    assert expected.traces is not None
    for trace, found in zip(expected.traces.values(), answer["traces"], strict=True):
        assert found == trace.ravel().tolist()


def test_every_spike_in_node(package: Path, tmp_path: Path) -> None:
    cases = [*special_cases(), *random_cases(40)]
    tasks = [run_task(net, windows) for net, windows in cases]
    assert_exact(cases, in_node(package, tmp_path, tasks))


def test_every_spike_in_a_browser(engine: bytes, tmp_path: Path) -> None:
    cases = special_cases()
    tasks = json.dumps([run_task(net, windows) for net, windows in cases])
    (tmp_path / "cases.js").write_text(CASES.read_text() + "globalThis.answerAll = answerAll;\n")
    (tmp_path / "tasks.js").write_text(f"globalThis.TASKS = {tasks};\n")
    (tmp_path / "script.js").write_text(bundle.script(engine, tmp_path / "cases.js"))
    scripts = "".join(f"<script src={name}></script>" for name in ("script.js", "tasks.js"))
    (tmp_path / "index.html").write_text(f"<!doctype html>{scripts}")
    with open_page(tmp_path, (tmp_path / "index.html").as_uri()) as page:
        page.wait("Boolean(globalThis.TASKS && globalThis.answerAll)")
        page.run("void answerAll(TASKS).then((found) => { globalThis.found = found; })")
        assert_exact(cases, json.loads(page.wait("globalThis.found")))


def native_decisions(
    net: Network, path: Path, rule: WindowRule, drop: bool
) -> list[dict[str, Any]]:
    """The decisions of `lmht stream`, by the reference."""
    stream, size = open_recording(path), Sensor(*net.input.shape[1:])

    class Backend:
        def run(self, windows: np.ndarray) -> Result:
            return reference.run(net, windows)

    bins = WholeWindows(Backend(), net.input.max_value, rule.steps, stream.sensor, size)
    packets = (Packet(events, None) for events in stream.packets)
    validator = EventValidator(stream.sensor, drop=drop)
    return [asdict(found) for found in decide(packets, Windower(rule, bins), validator)]


@pytest.mark.parametrize("hop", [4, 1])
def test_a_stream_gives_the_decisions_of_lmht_stream(
    hop: int, package: Path, tmp_path: Path
) -> None:
    net, path = lmht.load("zoo:digits"), zoo.recording_path(Path("zoo:digits"))
    rule = WindowRule(4, "time", 100_000, hop)
    expected = native_decisions(net, path, rule, drop=False)
    (answer,) = in_node(package, tmp_path, [stream_task(net, path, window={"hop": hop})])
    assert len(answer["decisions"]) == len(expected) == (20 if hop == 4 else 77)
    for found, decision in zip(answer["decisions"], expected, strict=True):
        shown = {key: found[key] for key in decision if key not in ("latency", "seconds")}
        assert shown == {key: decision[key] for key in shown}
    assert not any(answer["losses"].values())


def test_recordings_are_read_as_in_python(package: Path, tmp_path: Path) -> None:
    """The formats that Python writes; the library's own tests have the others."""
    events = read_events("zoo:digits").events[:3000]
    paths = [tmp_path / f"recording{suffix}" for suffix in (".aedat4", ".raw")]
    for path in paths:
        write_events(path, Recording(events, Sensor(16, 16)))
    records = tmp_path / "recording.bin"
    t = events["t"].astype(np.uint32)
    columns = [events["x"], events["y"], events["p"] << 7 | t >> 16, t >> 8 & 255, t & 255]
    records.write_bytes(np.stack([column.astype(np.uint8) for column in columns], 1).tobytes())
    tasks = [*map(decode_task, paths), decode_task(records, width=34, height=34)]
    expected = [[int(t), int(x), int(y), int(p)] for t, x, y, p in events.tolist()]
    for answer in in_node(package, tmp_path, tasks):
        assert answer["events"] == expected


MOVED = """((moved) => {
  structuredClone(moved.buffer, { transfer: [moved.buffer] });
  return %s;
})(new Uint8Array(16))"""
"""An expression about an array whose memory was transferred to somebody else."""
ONE = "Events.from({ t: [7], x: [1], y: [2], p: [1] })"
INDICES = ("1", "-1", "0.5", "NaN", "null", "'0'", "0n", "Symbol()", "{}", "")
NO_OPTIONS = ("null", "5", "'trace'", "true", "Symbol()")
ARGUMENTS = {
    **{f"{ONE}.{name}({index})": ("argument", "there is no event")
       for name in "txyp" for index in INDICES},
    **{f"{call % value}": ("argument", "options are an object")
       for call in ("net.run([], %s)", "net.stream(%s)", "net.stream({ window: %s })",
                    "Events.from(%s)") for value in NO_OPTIONS},
    **{f"net.run({value})": ("argument", "windows are an array of integers")
       for value in ("", "null", "2048", "'0'", "Symbol()", "{ length: -2048 }", "{ length: 0.5 }",
                     "() => 0", "new DataView(new ArrayBuffer(8))")},
    **{f"net.run(Array(2048).fill({value}))": ("argument", "integers of 32 bits")
       for value in ("1n", "Symbol()", "null", "'1'", "2 ** 31", "NaN", "{}")},
    "net.run([], { trase: true })": ("argument", 'there is no option "trase"; there are trace'),
    "net.run([], { trace: 1 })": ("argument", "trace is true or false"),
    "net.run({ length: 2048 * 2 ** 30 })": ("memory", "there is not enough memory"),
    "net.stream({ stop: 1 })": ("argument", 'there is no option "stop"'),
    "net.stream({ window: { size: 1 } })": ("argument", "there are by, length, hop"),
    "net.stream({ window: { by: Symbol() } })": ("argument", "not by Symbol()"),
    "net.stream({ window: { by: 'none', hop: 1 } })": ("argument", 'not by "none"'),
    "net.stream({ window: { length: 5n } })": ("argument", "a length and a gap are integers"),
    "net.stream({ maxGap: null })": ("argument", "a length and a gap are integers"),
    "net.stream({ maxGap: -1 })": ("argument", ""),
    "net.stream({ smooth: 0 })": ("argument", ""),
    "net.stream({ drop: 'yes' })": ("argument", "drop and trace are true or false"),
    "net.stream({ trace: null })": ("argument", "drop and trace are true or false"),
    "net.stream({ minMargin: 'x' })": ("argument", "the smallest margin is a number"),
    "net.stream({ minMargin: NaN })": ("argument", "the smallest margin is a number"),
    "net.stream({ minMargin: 1n })": ("argument", "the smallest margin is a number"),
    "net.stream({ width: null })": ("argument", "the size of a sensor is two integers"),
    "net.stream().push(null)": ("argument", "an object of the class Events"),
    "net.stream().elapse(null)": ("argument", "a time is an integer"),
    "net.stream().elapse(1n)": ("argument", "a time is an integer"),
    "new Events()": ("argument", "16 bytes each"),
    "new Events(null)": ("argument", "16 bytes each"),
    "Events.from({ t: '1', x: [1], y: [1], p: [0] })": ("argument", "one t, x, y and p each"),
    "Events.from({ t: [1], x: [Symbol()], y: [1], p: [0] })": ("argument", "address (Symbol()"),
    "Events.from({ t: [1n], x: [1], y: [1], p: [0] })": ("argument", "is not an event"),
    "Events.from({ t: [1], x: [1], y: [1], p: [null] })": ("argument", "is not an event"),
    "(({ length }) => Events.from({ t: { length }, x: { length }, y: { length }, p: { length } }))"
    "({ length: 2 ** 52 })": ("memory", "there is not enough memory"),
    f"{ONE}.slice(0.5, 1.5)": ("argument", "the start and the end of a slice"),
    f"{ONE}.slice(null)": ("argument", "the start and the end of a slice"),
    f"{ONE}.slice(0n)": ("argument", "the start and the end of a slice"),
    f"{ONE}.search()": ("argument", "a time is a number, not undefined"),
    f"{ONE}.search(NaN)": ("argument", "a time is a number, not NaN"),
    f"{ONE}.search(Symbol())": ("argument", "a time is a number, not Symbol()"),
    "new Network()": ("argument", "a network is made by Network.read"),
    "new Recording()": ("argument", "a recording is opened by Recording.open"),
    "new (net.stream().constructor)()": ("argument", "a stream is begun by the method stream"),
    MOVED % "new Events(moved)": ("argument", "was transferred"),
    MOVED % "net.run(moved)": ("argument", "there is no window to run"),
    f"""((events) => {{
      structuredClone(events.bytes.buffer, {{ transfer: [events.bytes.buffer] }});
      return events.t(0);
    }})({ONE})""": ("argument", "there is no event 0; the index is an integer below 0"),
}  # fmt: skip
"""Mistakes in the arguments of functions, by expression."""


def test_mistakes_are_errors_with_a_kind(package: Path, tmp_path: Path) -> None:
    """An error leaves the network usable."""
    net = lmht.load("zoo:digits")
    mistakes = {
        "net.run(new Int32Array(3))": ("argument", "a multiple of 2048 integers, not 3"),
        "net.run(new Int32Array(net.windowLength).fill(256))": ("argument", "takes 0 to 255"),
        "net.run(new Float64Array(net.windowLength).fill(0.5))": ("argument", "integers of 32"),
        "net.run(new BigInt64Array(net.windowLength))": ("argument", "integers of 32"),
        "net.stream({ width: 4, height: 4 })": ("argument", "a sensor of 4 x 4"),
        "net.stream({ width: 2 ** 32 + 16 })": ("argument", "the size of a sensor is two integers"),
        "net.stream({ height: 16.5 })": ("argument", "the size of a sensor is two integers"),
        "net.stream({ smooth: 1.5 })": ("argument", "a number of windows are integers"),
        "net.stream({ window: { hop: 'x' } })": ("argument", "a hop and a number"),
        "net.stream().push([1])": ("argument", "an object of the class Events"),
        "net.stream().elapse(0.5)": ("argument", "a time is an integer"),
        "net.stream().elapse()": ("argument", "a time is an integer"),
        "new Events(new Uint8Array(17))": ("argument", "16 bytes each"),
        "Events.from()": ("argument", "one t, x, y and p each"),
        "net.stream({ window: { by: 'frames' } })": ("argument", 'not by "frames"'),
        "Events.from({ t: [1], x: [1], y: [1] })": ("argument", "one t, x, y and p each"),
        "Events.from({ t: [1], x: [-1], y: [1], p: [0] })": ("argument", "address (-1, 1)"),
        "[...net.stream().push(Events.from({ t: [5], x: [16], y: [0], p: [0] }))]": ("event", ""),
        **ARGUMENTS,
    }
    tasks = [expression_task(net, ATTEMPT % text) for text in mistakes]
    after = f"{ATTEMPT % tuple(mistakes)[:1]} && net.run(new Int32Array(net.windowLength)).logits"
    damaged = {"kind": "run", "network": base64.b64encode(b"LMHTFLAT").decode(), "windows": ""}
    answers = in_node(package, tmp_path, [*tasks, expression_task(net, after), damaged])
    for (text, (kind, message)), answer in zip(mistakes.items(), answers, strict=False):
        assert answer is not None, text
        assert answer[:2] == ["LmhtError", kind] and message in answer[2], (text, answer)
    silent = reference.run(net, np.zeros((1, *net.window_shape), np.int64))
    assert answers[-2] == silent.logits.tolist()
    assert answers[-1]["error"] == "LmhtError" and answers[-1]["kind"] == "file"


def test_mistakes_about_files_are_errors_with_a_kind(package: Path, tmp_path: Path) -> None:
    mistakes = {
        "Network.read(new Uint8Array(0))": ("file", "is neither a .lmht nor a .lmhtf file"),
        **{f"Network.read({value})": ("argument", "an ArrayBuffer or a Uint8Array")
           for value in ("", "null", "'net.lmht'", "[1]")},
        MOVED % "Network.read(moved)": ("argument", "its ArrayBuffer was transferred"),
        MOVED % "Network.read(moved.buffer)": ("argument", "its ArrayBuffer was transferred"),
        MOVED % "Recording.open(moved, '.raw')": ("argument", "its ArrayBuffer was transferred"),
        "Recording.open(new Uint8Array(0))": ("argument", "a recording has a name"),
        "Recording.open(null, '.raw')": ("argument", "an ArrayBuffer or a Uint8Array"),
        "Recording.open(new Uint8Array(0), '.raw', null)": ("argument", "options are an object"),
        "Recording.open(new Uint8Array(0), '.raw', { size: 4 })": ("argument", "no option"),
        "Recording.open(new Uint8Array(0), '.raw', { width: null })": ("argument", "two integers"),
        "Recording.open(new Uint8Array(0), '.raw', { width: -1, height: 4 })": ("argument", ""),
        "Recording.open(new Uint8Array(0), '.raw', { track: 5 })": ("argument", "a track is"),
        "Recording.open(new Uint8Array(0), '.raw', { width: 1.5, height: 1 })": (
            "argument",
            "the size of a sensor is two integers",
        ),
        "Recording.open(new Uint8Array(0), 'a.png')": ("unsupported", "not a recording"),
    }  # fmt: skip
    caught = "%s.catch(({ name, kind, message }) => [name, kind, message])"
    tasks = [expression_task(SPECIAL["if"](), caught % text) for text in mistakes]
    answers = in_node(package, tmp_path, tasks)
    for (kind, message), answer in zip(mistakes.values(), answers, strict=True):
        assert answer[:2] == ["LmhtError", kind] and message in answer[2], answer


FULL = """(() => {
  const { _instance: instance } = net;
  for (const bits of [25, 22, 19, 16, 13, 10, 7, 4]) while (instance.allocate(2 ** bits) < 2 ** 31);
  const { logits, traces } = net.run(new Int32Array(3 * net.windowLength), { trace: true });
  const at = instance.call("lmht_result_trace", net._result, 0) >>> 0;
  return { at, logits, trace: [...traces[0]] };
})()"""
"""Runs windows where the memory of 2 GiB is used up."""


def test_addresses_beyond_2_gib_are_read(package: Path, tmp_path: Path) -> None:
    net = lmht.load("zoo:digits")
    (answer,) = in_node(package, tmp_path, [expression_task(net, FULL)])
    expected = reference.run(net, np.zeros((3, *net.window_shape), np.int64), trace=True)
    assert expected.traces is not None and answer.pop("at") > 2**31
    trace = next(iter(expected.traces.values()))
    assert answer == {"logits": expected.logits.tolist(), "trace": trace.ravel().tolist()}


def test_a_network_describes_itself(package: Path, tmp_path: Path) -> None:
    net = lmht.load("zoo:digits")
    names = ("input", "classes", "scale", "window", "layers", "metadata")
    text = f"({{ {', '.join(f'{name}: net.{name}' for name in names)} }})"
    (found,) = in_node(package, tmp_path, [expression_task(net, text)])
    assert found["input"] == {
        "channels": 2, "height": 16, "width": 16, "steps": 4,
        "minCount": 0, "maxCount": 255, "kind": "events",
    }  # fmt: skip
    assert found["classes"] == list(net.class_names) and found["scale"] == net.readout.scale
    assert found["window"] == {"by": "time", "length": 100_000, "hop": 4}
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in net.layers]
    assert found["metadata"] == dict(net.metadata)


def test_the_package_is_small_and_complete(engine: bytes, package: Path) -> None:
    assert len(gzip.compress(engine, 9)) <= MAX_GZIPPED
    about = json.loads((package / "package.json").read_text())
    assert about["version"] == lmht.__version__ and about["name"] == "lmht.js"
    assert all((package / name).is_file() for name in about["files"])
    lists = re.findall(r"^export \{ (.+) \}", (package / "lmht.js").read_text(), re.M)
    exported = {name for names in lists for name in names.split(", ")}
    typed = set(re.findall(r"^export class (\w+)", (package / "lmht.d.ts").read_text(), re.M))
    assert exported == typed == {
        "Network", "Pool", "Stream", "Recording", "Events", "LmhtError",
    }  # fmt: skip
