"""Table whose cells are printed as they are, and whose figures are never cut."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table

from ._printable import printable


class SafeTable(Table):
    """A table of texts from strangers: see `_printable.printable`."""

    def add_row(self, *cells: RenderableType | None, **options: object) -> None:
        """Add a row of cells."""
        safe = [printable(cell) if isinstance(cell, str) else cell for cell in cells]
        super().add_row(*safe, **options)  # type: ignore[arg-type]
        for column, cell in zip(self.columns, safe, strict=False):
            if column.no_wrap:
                texts = (str(column.header), str(cell or ""))
                column.min_width = max(column.min_width or 0, *map(cell_len, texts))
