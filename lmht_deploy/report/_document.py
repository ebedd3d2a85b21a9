"""What a report consists of: sections of facts, notes, tables and figures. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from . import _text as texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Format: TypeAlias = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its header, with the unit.
        format: Formats a value; the value itself goes to CSV files.
        left: Whether it holds text, which is aligned at the left.
    """

    name: str
    format: Format = texts.text
    left: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name in files, unique in a report.
        title: What it shows, in one sentence.
        columns: Its columns. The first one names the rows.
        rows: One value per column; None where it does not exist.
    """

    kind: ClassVar = "table"

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def cells(self) -> list[list[str]]:
        """Return the formatted values, row by row."""
        return [
            [column.format(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        name: Its name in files, unique in a report.
        title: What it is, in a few words.
        caption: What it shows, in one sentence.
        size: Width and height, in inches.
        draw: Draws it on axes.
        data: What is drawn.
    """

    kind: ClassVar = "figure"

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes], None]
    data: Table


@dataclass(frozen=True)
class Fact:
    """A figure that summarizes the report.

    Attributes:
        name: What it is.
        value: The figure.
        note: What to know about it.
        good: Whether it reports a success or a failure; None: neither.
    """

    name: str
    value: str
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Note:
    """A paragraph, and a list below it.

    Attributes:
        text: The paragraph.
        items: Entries of the list.
        absent: Whether it says that something is not available.
    """

    kind: ClassVar = "note"

    text: str
    items: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading inside a section.

    Attributes:
        text: The heading.
        level: 3, or 4 below another one.
    """

    kind: ClassVar = "heading"

    text: str
    level: int = 3


@dataclass(frozen=True)
class Listing:
    """A long text as it is, such as a recipe; closed until a reader opens it."""

    kind: ClassVar = "listing"

    title: str
    text: str


Item: TypeAlias = Note | Heading | Table | Figure | Listing


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        title: Its heading.
        items: Its content.
    """

    title: str
    items: tuple[Item, ...]

    @property
    def anchor(self) -> str:
        """Its name in the address of the page."""
        return texts.slug(self.title)


@dataclass(frozen=True)
class Report:
    """A report: a pure function of the JSON that a command writes.

    Attributes:
        title: Its title.
        subtitle: What was run on what, and when.
        facts: Its summary.
        notes: What to know about the summary.
        sections: Its sections.
        content: The JSON.
    """

    title: str
    subtitle: str
    facts: tuple[Fact, ...]
    notes: tuple[Note, ...]
    sections: tuple[Section, ...]
    content: Any = field(repr=False)

    @property
    def figures(self) -> list[Figure]:
        """All figures, in order."""
        return [item for s in self.sections for item in s.items if isinstance(item, Figure)]

    @property
    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [item for s in self.sections for item in s.items if isinstance(item, Table)]


def absent(what: str, why: str) -> Note:
    """Return the note that something is not available, and why."""
    return Note(f"{what}: not available. {texts.sentence(why)}", absent=True)


def table(
    name: str,
    title: str,
    columns: Sequence[tuple[str, Format]],
    rows: Sequence[Sequence[Any]],
    *,
    optional: Sequence[str] = (),
) -> Table:
    """Return a table. Columns that `texts.text` formats hold text.

    Args:
        name: Its name in files.
        title: What it shows.
        columns: Header and format of each column.
        rows: The values.
        optional: Headers of columns that are left out if all their values are 0 or absent.
    """
    kept = [
        place
        for place, (header, _) in enumerate(columns)
        if header not in optional or any(row[place] for row in rows)
    ]
    found = [Column(*columns[place], columns[place][1] is texts.text) for place in kept]
    return Table(name, title, tuple(found), tuple(tuple(row[i] for i in kept) for row in rows))
