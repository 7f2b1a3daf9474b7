"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

NameOrFile = Annotated[
    str, typer.Argument(help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, or a file of 'gatezoo train'.")
]
Iterations = Annotated[int | None, typer.Option(help="Passes of an unrolled network.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Scales = Annotated[str, typer.Option(help="Average over the image scaled by these: '0.5,1,1.5'.")]
Flip = Annotated[bool, typer.Option(help="Average over the mirrored image too.")]
Window = Annotated[int | None, typer.Option(help="Predict window by window, of this side in pixels.")]
Overlap = Annotated[float | None, typer.Option(help="Share of a window that the next one covers again.")]
ModelKwargs = Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the model; may be repeated.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="A file that 'gatezoo train' wrote, in place of published weights.")
]


def refuse_of_other_task(task: str, options: dict[str, dict[str, object]]) -> None:
    """Raise ValueError for an option that is told and that networks of this task do not have."""
    for other, values in options.items():
        told = [name for name, value in values.items() if value not in (None, False, "")]
        if other != task and told:
            raise ValueError(f"--{told[0]} is of {other} networks; this one is of the task {task}: leave it out")


def parse_scales(text: str) -> list[float]:
    """'0.5,1' -> [0.5, 1.0]."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ValueError(f"scales must be numbers separated by commas; got {text!r}: 0.5,1,1.5, say") from None


def parse_kwargs(pairs: Iterable[str]) -> dict[str, Any]:
    """``["shallowest=2", "head=fcn"]`` -> ``{"shallowest": 2, "head": "fcn"}``; values as Python literals or words."""
    keywords = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals):
            raise ValueError(f"a keyword is given as KEY=VALUE; got {pair!r}")
        try:
            keywords[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            keywords[key] = value
    return keywords
