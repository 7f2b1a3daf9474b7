"""Progress bars, drawn by the command line and handed to library functions as ``progress=``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .distributed import get_rank_and_world_size

T = TypeVar("T")

# Takes items and their number, and yields the same items while it reports how many are done.
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def track(items: Iterable[T], total: int, description: str = "working") -> Iterable[T]:
    """Yield items and draw a bar on stderr meanwhile, which disappears at the end.

    Of several processes that work together only the first draws. Use ``functools.partial`` to set the description.

    Args:
        items: of any kind.
        total: number of items.
        description: text in front of the bar.
    """
    if get_rank_and_world_size()[0]:
        return items
    from rich.console import Console
    from rich.progress import track as draw_bar

    return draw_bar(items, description, total=total, console=Console(stderr=True), transient=True)
