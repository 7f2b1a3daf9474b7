"""``gatezoo data check``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .option_groups import LabelOptions, with_label_options

app = typer.Typer(help="Inspect data before training.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Keep ``check`` a sub-command though it is the only one."""


@app.command()
@with_label_options
def check(
    folder: Annotated[
        Path, typer.Argument(help="Folder that contains images/ and labels/, or what --images and --labels say.")
    ],
    *,
    labels: LabelOptions,
    all_: Annotated[bool, typer.Option("--all", help="Print every issue, not ten of each kind.")] = False,
) -> None:
    """Report everything in a folder that training would fail on, and the share of each class.

    The exit code is 2 if there are errors.
    """
    from rich.console import Console

    from ..data.check.check import check_folder
    from ..data.check.summary import report_lines, report_table
    from ..data.classes import parse_classes
    from ..utils.progress import track

    options = labels.folder_options(in_chans=None)
    report = check_folder(
        folder,
        parse_classes(labels.classes)[0],
        **options.folder_kwargs(),
        progress=partial(track, description="reading"),
    )
    Console().print(report_table(report))
    for line in report_lines(report, None if all_ else 10):
        print(line)
    if report.errors:
        raise typer.Exit(2)
