"""Progress bars, drawn by the command line and handed to library functions as ``progress=``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from .parallel import is_main_process

T = TypeVar("T")

# Takes items and their number, and yields the same items while it reports how many are done.
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def track(items: Iterable[T], total: int, description: str = "working") -> Iterable[T]:
    """Yield items and draw a bar with the time left on stderr meanwhile, which disappears at the end.

    Of several processes that work together only the first draws. Use ``functools.partial`` to set the description.

    Args:
        items: of any kind.
        total: number of items.
        description: text in front of the bar.
    """
    return _draw(items, total, description) if is_main_process() else items


def _draw(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield items and draw a bar; the time left is shown from the first item on, by the mean time of an item."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    start, console = time.monotonic(), Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, left="")
        for done, item in enumerate(items, start=1):
            yield item
            seconds = round((time.monotonic() - start) / done * (total - done))
            bar.update(task, completed=done, left=f"{timedelta(seconds=seconds)} left")
