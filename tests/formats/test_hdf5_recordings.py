"""The layout of HDF5 recordings is checked before the HDF5 library reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lmht_deploy.errors import DataError
from lmht_deploy.events import read_events
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.formats.hdf5 import check_recording_layout

pytestmark = pytest.mark.timeout(20)
SENSOR = Sensor(480, 640)
EVENT_CD = [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")]
LAYOUTS = [{}, {"libver": "v108"}, {"track_order": True}]
"""Options of h5py.File: the layout of the default, and the ones that newer HDF5 writes."""


def write(path: Path, **options: Any) -> Path:
    """Three events in `path`, beside texts, tables and arrays of other types."""
    with h5py.File(path, "w", **options) as file:
        file.attrs["version"], file.attrs["none"] = "1.0", h5py.Empty("f4")
        events = file.create_group("events", track_order=options.get("track_order"))
        for name in "txyp":
            events.create_dataset(
                name,
                data=np.arange(3) if name != "p" else np.arange(3) % 2,
                chunks=(2,),
                maxshape=(None,),
                compression="gzip",
            )
        other = file.create_group("other")
        other["texts"] = np.array(["a", "bc"], h5py.string_dtype())
        other["table"] = np.zeros(2, [("a", "f4", (3, 2)), ("b", [("c", "S7"), ("d", "?")])])
        other["enum"] = np.zeros(3, h5py.enum_dtype({"ON": 1, "OFF": 0}, "u1"))
        other["complex"], other["opaque"] = np.zeros(3, complex), np.zeros(3, "V9")
        other.create_dataset("lists", (3,), h5py.vlen_dtype("i4"))
        other.create_dataset("references", (3,), h5py.ref_dtype)
        file["type"], file["soft"] = np.dtype("f4"), h5py.SoftLink("/events/t")
    return path


@pytest.mark.parametrize("options", LAYOUTS)
def test_accepts_what_writers_write(options: dict[str, Any], tmp_path: Path) -> None:
    events, _, _ = read_events(write(tmp_path / "a.h5", **options), SENSOR)
    assert events["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("options", LAYOUTS)
def test_accepts_many_small_chunks(options: dict[str, Any], tmp_path: Path) -> None:
    """Tables as Prophesee writes them, with an index beside, in a B-tree of several levels."""
    with h5py.File(tmp_path / "a.h5", "w", **options) as file:
        events = np.zeros(20_000, EVENT_CD)
        events["t"] = np.arange(20_000)
        file.create_dataset("CD/events", data=events, chunks=(4,), maxshape=(None,))
        file.create_dataset("CD/indexes", data=np.zeros(9, [("id", "u8"), ("ts", "i8")]))
    assert len(read_events(tmp_path / "a.h5", SENSOR).events) == 20_000


@pytest.mark.parametrize("libver", ["v110", "latest"])
def test_what_is_not_read_names_the_way_out(libver: str, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", libver=libver)
    with pytest.raises(DataError, match=r"a\.h5: has a layout of HDF5 .* with libver='earliest'"):
        read_events(tmp_path / "a.h5", SENSOR)
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "b.h5", "w") as new:
        for name in "txyp":
            new[f"events/{name}"] = old[f"events/{name}"][:]
    assert len(read_events(tmp_path / "b.h5", SENSOR).events) == 3


def refused(path: Path) -> str:
    """The message with which the recording `path` is refused."""
    with pytest.raises(DataError) as caught:
        read_events(path, SENSOR)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("options", LAYOUTS)
def test_does_not_leave_the_file(options: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", **options)
    with h5py.File(path, "r+") as file:
        file.create_dataset("raw", (4,), "u1", external="/etc/passwd")
    assert refused(path) == "stores /raw in another file, which is not read"
    write(path, **options)
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((5,), "i8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "t", (5,))
        file.create_virtual_dataset("virtual", layout)
    assert refused(path) == "stores /virtual in another file, which is not read"
    write(path, **options)
    with h5py.File(path, "r+") as file:
        file["external"] = h5py.ExternalLink("/etc/passwd", "t")
    assert len(read_events(path, SENSOR).events) == 3  # nobody follows it


def test_groups_of_many_members_in_the_new_layout(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5", libver="v108"), "r+", libver="v108") as file:
        for number in range(9):
            file[f"other/{number}"] = number
    assert "is not read (the many members of /other/)" in refused(tmp_path / "a.h5")


@pytest.mark.parametrize("options", LAYOUTS)
def test_hard_links(options: dict[str, Any], tmp_path: Path) -> None:
    """40 groups, each of which holds the next one twice: 2^40 paths."""
    with h5py.File(tmp_path / "a.h5", "w", **options) as file:
        group = file.create_group("0")
        for _ in range(20):
            group["b"] = group["a"] = group.create_group("c")
            group = group["c"]
    assert "in two places, which is not read" in refused(tmp_path / "a.h5")


def test_arrays_that_are_no_numbers(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5"), "r+") as file:
        del file["events/t"]
        file.create_dataset("events/t", (3,), h5py.vlen_dtype("i4"))
    assert refused(tmp_path / "a.h5") == "must hold numbers t, x, y, p; 't' holds object"
    with h5py.File(write(tmp_path / "a.h5"), "r+") as file:
        file.attrs["sensor_resolution"] = "480 640"
    assert "two numbers in the attribute 'sensor_resolution'" in refused(tmp_path / "a.h5")


# ------------------------------------------------------------------------------- hostile structures


def _new_root(content: bytearray) -> int:
    return int(struct.unpack_from("<Q", content, 36)[0])


def _superblock_extension(content: bytearray) -> None:
    struct.pack_into("<Q", content, 20, 48)


def _base(content: bytearray) -> None:
    struct.pack_into("<Q", content, 12, 8)


def _huge_header(content: bytearray) -> None:
    at = _new_root(content)
    content[at + 5] |= 3
    content[at + 22 : at + 30] = b"\xff" * 8


def _no_header(content: bytearray) -> None:
    struct.pack_into("<Q", content, 36, 49)


def _cut(content: bytearray) -> None:
    del content[-1:]


def _continuation_of_itself(content: bytearray) -> None:
    """The first continuation block of an object refers to itself."""
    at = content.index(b"OCHK")
    for where in range(at):
        if struct.unpack_from("<Q", content, where)[0] == at:
            content[at + 4 : at + 8] = struct.pack("<BHB", 16, 16, 0)
            content[at + 8 : at + 24] = content[where : where + 16]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_superblock_extension, "an extension of its superblock"),
        (_base, "is damaged"),
        (_huge_header, "is damaged"),
        (_no_header, "is damaged"),
        (_cut, "is damaged, truncated"),
        (_continuation_of_itself, "is damaged"),
    ],
)
def test_hostile_structures(
    edit: Callable[[bytearray], None], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.h5", libver="v108")
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)
    with pytest.raises((DataError, ValueError, OSError, struct.error)):
        check_recording_layout(path)
    assert message in refused(path)


@pytest.mark.parametrize("options", LAYOUTS)
def test_any_changed_byte(options: dict[str, Any], tmp_path: Path) -> None:
    """Whatever byte is changed, the recording is read or refused."""
    path = write(tmp_path / "a.h5", **options)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 300):
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            read_events(path, SENSOR)
        except DataError as error:
            assert "\n" not in str(error)
