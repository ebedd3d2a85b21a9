"""Writing beside and renaming, what is never replaced, and readers that raise StorageError only."""

from __future__ import annotations

import lzma
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import pytest

from lmht_deploy.errors import DataError, StorageError
from lmht_deploy.formats import files
from lmht_deploy.formats.files import as_path, atomic_write, reading
from lmht_deploy.formats.hdf5 import writing_hdf5


def write(path: str | Path, content: str = "new") -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
    assert path.read_text() == "new" and names(tmp_path) == ["file"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path):
        raise KeyError("in the block")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_long_names(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255))
    with pytest.raises(StorageError, match=r"cannot be written|at most 255 characters"):
        write(tmp_path / ("n" * 256))


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    code = (
        "import os; from tests.formats.test_files import write;"
        f"os.umask({mask}); write({str(tmp_path / 'file')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_the_umask_is_never_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))
    write(tmp_path / "file")


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a/target")
    for content in ("created", "replaced"):
        write(tmp_path / "link", content)
        assert (tmp_path / "a/target").read_text() == content
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "a") == ["target"]


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_text()))
    reader.start()
    write(fifo)
    reader.join(10)
    assert received == ["new"]
    assert stat.S_ISFIFO(fifo.stat().st_mode) and names(tmp_path) == ["fifo"]


def test_devices_are_never_replaced() -> None:
    before = os.stat("/dev/null")
    write("/dev/null")
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and after.st_ino == before.st_ino


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_device(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="/dev/full: cannot be written"):
        write("/dev/full")


def test_standard_output(tmp_path: Path) -> None:
    """A pipe, and a file to which more is printed before and after."""
    code = (
        "from tests.formats.test_files import write;"
        "print('before', flush=True); write('/dev/stdout', 'content\\n'); print('after')"
    )
    lines = ["before", "content", "after"]
    command = [sys.executable, "-c", code]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stdout.split() == lines
    with (tmp_path / "out").open("a") as file:
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "out").read_text().split() == lines


@pytest.mark.parametrize("path", [None, 3, b"bytes", "a\0b", "", "no/such/folder/file", "."])
def test_what_is_no_path(path: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError):
        write(path)  # type: ignore[arg-type]
    expected = pytest.raises(StorageError, match=r"no such file|is a folder")
    with expected, reading(path, "a file"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("layers"), r"is damaged or was edited \(layers\)"),
        (IndexError(), r"is damaged or was edited \(IndexError\)"),
        (AssertionError("two\nlines"), r"is damaged or was edited \(two\)"),
        (ZeroDivisionError("x"), "is damaged"),
        (RecursionError("x"), "is damaged"),
        (NotImplementedError("x"), "is damaged"),
        (EOFError(), "is damaged"),
        (lzma.LZMAError("x"), "is damaged"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "is damaged"),
        (MemoryError(), "needs more memory than is available"),
        (PermissionError(13, "x"), "cannot be read"),
        (OSError("x"), "is not a test file, or is truncated"),
        (DataError("2 channels"), "does not describe a valid network: 2 channels"),
        (StorageError("as it is"), "^as it is$"),
    ],
)
def test_readers_raise_storage_errors_only(tmp_path: Path, error: Exception, message: str) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(StorageError, match=message) as caught, reading(path, "a test file"):
        raise error
    assert "\n" not in str(caught.value)


def test_interruptions_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyboardInterrupt), reading(tmp_path / "file", "a file"):
        raise KeyboardInterrupt


def test_hdf5_files_bear_their_checksum(tmp_path: Path) -> None:
    with writing_hdf5(tmp_path / "file") as file:
        file["a"] = [1, 2]
    with h5py.File(tmp_path / "file") as file:
        assert len(file.attrs["checksum"]) == 64 and file["a"][:].tolist() == [1, 2]


def test_a_writer_that_has_not_locked_its_file_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one takes the new file for abandoned, and removes it."""
    fcntl = pytest.importorskip("fcntl")
    lock, removing = files._lock, list[threading.Timer]()

    def lock_late(descriptor: int, **options: bool) -> bool:
        if not removing:
            (path,) = tmp_path.iterdir()
            other = os.open(path, os.O_WRONLY)
            fcntl.flock(other, fcntl.LOCK_EX)
            removing.append(threading.Timer(0.1, lambda: (path.unlink(), os.close(other))))
            removing[0].start()
        return lock(descriptor, **options)

    monkeypatch.setattr(files, "_lock", lock_late)
    with atomic_write(tmp_path / "net.lmht") as temporary:
        temporary.write_bytes(b"net")
        removing[0].join()
    assert [path.name for path in tmp_path.iterdir()] == ["net.lmht"]
    assert (tmp_path / "net.lmht").read_bytes() == b"net"


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(StorageError, match="'': is not the name of a file"):
        as_path("")
