"""Table whose cells are printed as they are."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from ._console import printable


class SafeTable(Table):
    """A table of texts from strangers: see `_console.printable`."""

    def add_row(self, *cells: RenderableType | None, **options: object) -> None:
        """Add a row of cells."""
        safe = (printable(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*safe, **options)  # type: ignore[arg-type]
