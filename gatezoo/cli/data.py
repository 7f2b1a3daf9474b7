"""``gatezoo data check`` and ``gatezoo data convert``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .option_groups import LabelOptions, with_label_options
from .tables import table_console

app = typer.Typer(help="Inspect and convert data before training.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder of annotations in any format, or of images/ and labels/, or what --images and --labels say; or "
        "hf:org/name."
    ),
]


@app.command()
@with_label_options
def check(
    folder: Folder,
    *,
    labels: LabelOptions,
    all_: Annotated[bool, typer.Option("--all", help="Print every issue, not ten of each kind.")] = False,
) -> None:
    """Report the format of a folder, everything in it that training would fail on, and the share of each class.

    The exit code is 2 if there are errors.
    """
    from ..data.annotated import check_any
    from ..data.check.summary import report_lines, report_table
    from ..utils.progress import track

    options = labels.folder_options(in_chans=None, progress=partial(track, description="reading"))
    reports = check_any(folder, options, labels.classes)
    for report in reports:
        if len(reports) > 1:
            print(report.root)
        table_console().print(report_table(report))
        for line in report_lines(report, None if all_ else 10):
            print(line)
    if any(report.errors for report in reports):
        raise typer.Exit(2)


@app.command()
@with_label_options
def convert(
    folder: Folder,
    *,
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder to write, which must be new or empty.")],
    instances: Annotated[
        bool, typer.Option("--instances", help="Also write instances/, 16-bit PNGs that number the instances.")
    ] = False,
    labels: LabelOptions,
) -> None:
    """Write a folder in any format as images/, labels/ and classes.txt, with splits in train/, val/ and test/."""
    from ..data.convert import convert_folder
    from ..utils.progress import track

    options = labels.folder_options(in_chans=None, progress=partial(track, description="converting"))
    for split, count in convert_folder(folder, out, options, labels.classes, instances).items():
        print(f"{count} images -> {out / split}")
