"""``gatezoo data check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at data before training on them.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Keep ``check`` a sub-command though it is the only one."""


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder that holds images/ and labels/.")],
    classes: Annotated[
        str | None, typer.Option(help="Their number, NAME,NAME,... or a file: NAME or NAME R G B a line.")
    ] = None,
    ignore_index: Annotated[int, typer.Option(help="Label that does not count.")] = 255,
    rgb: Annotated[bool, typer.Option("--rgb", help="Labels are RGB images in the colours of --classes.")] = False,
    reduce_zero_label: Annotated[
        bool, typer.Option("--reduce-zero-label", help="Ids start at 1; 0 does not count.")
    ] = False,
    ids: Annotated[list[str] | None, typer.Option(help="ID=CLASS for each id of the labels; may be repeated.")] = None,
    label_suffix: Annotated[str, typer.Option(help="What follows a image's stem in the name of its labels.")] = ".png",
    all_: Annotated[bool, typer.Option("--all", help="Tell every problem, not ten of each kind.")] = False,
):
    """Everything that training would stumble over, and the share of each class. Exit code 2 if there are errors."""
    from rich.console import Console
    from rich.progress import track

    from ..data.check.check import check_folder
    from ..data.check.summary import lines_of, table_of
    from ..data.classes import parse_classes, parse_ids

    names, colours = parse_classes(classes)
    if rgb and colours is None:
        raise ValueError("--rgb needs the colours of the classes: --classes FILE with lines NAME R G B")
    stderr = Console(stderr=True)
    report = check_folder(
        folder,
        names,
        ignore_index,
        color_table=colours if rgb else None,
        reduce_zero_label=reduce_zero_label,
        ids=parse_ids(ids or []),
        label_suffix=label_suffix,
        progress=lambda read, total: track(read, "reading", total=total, console=stderr, transient=True),
    )
    Console().print(table_of(report))
    for line in lines_of(report, None if all_ else 10):
        print(line)
    if report.errors:
        raise typer.Exit(2)
