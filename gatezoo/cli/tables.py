"""Print tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Columns of a table that goes to a file or another program: nothing in it is broken.
_UNBROKEN = 10_000


def table_console() -> Console:
    """Return the console that tables are printed to: in a terminal as wide as that, elsewhere as wide as any table."""
    from rich.console import Console

    return Console(width=None if Console().is_terminal else _UNBROKEN)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table; cells that are too long for a terminal are broken, nothing is cut.

    Args:
        columns: titles.
        rows: cells of each row.
        right: titles of the columns that are aligned to the right.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    table_console().print(table)
