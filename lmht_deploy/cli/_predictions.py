"""Files of predictions: one row per window, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lmht_deploy.errors import DataError, StorageError

from ._console import writing

COLUMNS = {
    "source": "string",
    "window": "int64",
    "time": "float64",
    "label": "int64",
    "class": "string",
    "predicted": "int64",
    "margin": "float64",
    "steps": "int64",
}
"""Columns before the logits, and their types in Parquet files."""
ROWS = 4096
"""Rows of a Parquet file that are written at once."""
UNKNOWN_NAME = "unknown"
"""Name of the answer for a window whose margin is too small."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one window.

    Attributes:
        source: Name of the recording or the data.
        window: Index of the window, from 0.
        time: Start of the window in seconds from the first event of its recording, if known.
        label: Class that the window has, if known.
        predicted: Class that the network answers, or `answers.UNKNOWN`.
        margin: Difference of the two largest logits (real values).
        logits: Logits of the window, in units of the network's scale.
        steps: Number of time-steps that were run, where windows may end early.
    """

    source: str
    window: int
    time: float | None
    label: int | None
    predicted: int
    margin: float
    logits: Sequence[float]
    steps: int | None = None


def check_predictions(path: Path | None) -> Path | None:
    """Check the name of a file of predictions, and that its package is installed."""
    if path is None:
        return None
    if path.suffix not in (".csv", ".parquet") or path.is_dir():
        what = "is a folder; " if path.is_dir() else ""
        raise StorageError(f"{path}: {what}expected a .csv or .parquet file")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{path}: the package 'pyarrow' is not installed; run: pip install pyarrow, or write a "
            ".csv file"
        )
    return path


@dataclass(frozen=True)
class Classes:
    """The classes of a network, for the columns of a file.

    Attributes:
        number: K.
        names: Their names; empty if they are not known.
        logits: Type of a logit: `int`, or `float` for a float network.
    """

    number: int
    names: Sequence[str] = ()
    logits: type = int

    def name(self, label: int) -> str:
        """Return the name of an answer; its number if the classes have no names."""
        if label < 0:
            return UNKNOWN_NAME
        return self.names[label] if self.names else str(label)

    @property
    def columns(self) -> dict[str, str]:
        """Columns of a file and their types in Parquet."""
        kind = "int64" if self.logits is int else "float64"
        return COLUMNS | {f"logit_{label}": kind for label in range(self.number)}

    def cells(self, row: Prediction) -> list[Any]:
        """Return one row of a file."""
        known = [row.source, row.window, row.time, row.label, self.name(row.predicted)]
        return [*known, row.predicted, row.margin, row.steps, *row.logits]


def write_predictions(path: Path, predictions: Iterable[Prediction], classes: Classes) -> None:
    """Write a complete file, as CSV or Parquet by its suffix."""
    from lmht_deploy.formats.files import atomic_write

    with (
        atomic_write(path) as temporary,
        open_predictions(path, classes, write_to=temporary) as add,
    ):
        for prediction in predictions:
            add(prediction)


@contextmanager
def open_predictions(
    path: Path, classes: Classes, *, write_to: Path | None = None
) -> Iterator[Callable[[Prediction], None]]:
    """Open a file of predictions, whose suffix gives its format.

    A CSV file is written row by row, a Parquet file in groups of rows.

    Args:
        path: The file.
        classes: The classes of the network.
        write_to: File to write instead, in the format of `path`.

    Yields:
        The function that adds one row.

    Raises:
        StorageError: The file cannot be written.
    """
    kind = _Csv if path.suffix == ".csv" else _Parquet
    with writing(path):
        file = (write_to or path).open("wb")

    def add(prediction: Prediction) -> None:
        with writing(path):
            writer.add(prediction)

    try:
        with writing(path):
            writer = kind(file, classes)
        try:
            yield add
        finally:
            with writing(path):
                writer.close()
    finally:
        with writing(path):
            file.close()


class _Csv:
    def __init__(self, file: BinaryIO, classes: Classes) -> None:
        self._file, self._classes = file, classes
        self._write(classes.columns)

    def add(self, row: Prediction) -> None:
        self._write(self._classes.cells(row))

    def _write(self, cells: Iterable[Any]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line).writerow(cells)
        self._file.write(line.getvalue().encode(errors="backslashreplace"))
        self._file.flush()

    def close(self) -> None:
        """Do nothing: every row is in the file."""


class _Parquet:
    def __init__(self, file: BinaryIO, classes: Classes) -> None:
        import pyarrow
        from pyarrow import parquet

        self._classes = classes
        self._schema = pyarrow.schema(list(classes.columns.items()))
        self._rows: list[list[Any]] = []
        self._writer: Any = parquet.ParquetWriter(file, self._schema)

    def add(self, row: Prediction) -> None:
        self._rows.append(self._classes.cells(row))
        if len(self._rows) == ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            self._rows.clear()
            self._writer.write_table(pyarrow.table(columns, schema=self._schema))
