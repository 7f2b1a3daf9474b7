"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

NameOrFile = Annotated[
    str, typer.Argument(help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, or a checkpoint of 'gatezoo train'.")
]
Iterations = Annotated[int | None, typer.Option(help="Number of passes of a recurrent network.")]
Device = Annotated[str, typer.Option(help="Device to run on: cpu, cuda, cuda:1 or mps.")]
Scales = Annotated[
    str, typer.Option(help="Average the predictions for the image at these scales, such as '0.5,1,1.5'.")
]
Flip = Annotated[bool, typer.Option(help="Average the predictions for the image and its mirror image.")]
WindowSize = Annotated[
    int | None,
    typer.Option("--window-size", "--window", help="Predict overlapping windows with sides of this many pixels."),
]
WindowOverlap = Annotated[
    float | None,
    typer.Option("--window-overlap", "--overlap", help="Fraction of a window that the next one covers again."),
]
DepthBlur = Annotated[
    float,
    typer.Option("--depth-blur", "--blur", help="Smooth predicted depth by a Gaussian of this many pixels."),
]
ModelKwargs = Annotated[list[str] | None, typer.Option(help="KEY=VALUE: pass a keyword to the model; may be repeated.")]
DataKwargs = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE: pass a keyword to the data set's reader, such as depth=True; may be repeated."),
]
Workers = Annotated[int, typer.Option("--workers", "-j", help="Number of processes that load images.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Use this checkpoint of 'gatezoo train' in place of published weights.")
]

TASK_NAMES = {"semantic": "semantic segmentation", "instance": "instance segmentation"}


def check_task_options(task: str, options: Mapping[str, Mapping[str, object]]) -> None:
    """Check that no option of another task is given.

    Args:
        task: of the model.
        options: the values of the options that only one task has, by their names without dashes, by that task.

    Raises:
        ValueError: an option that networks of this task do not have.
    """
    for other, values in options.items():
        given = [name for name, value in values.items() if value not in (None, False, "")]
        if other != task and given:
            raise ValueError(f"--{given[0]} is only supported for {TASK_NAMES[other]}; this model's task is {task!r}")


def parse_scales(text: str) -> list[float]:
    """Parse numbers separated by commas: ``"0.5,1"`` -> ``[0.5, 1.0]``."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ValueError(f"scales must be numbers separated by commas; got {text!r}: pass --scales 0.5,1,1.5") from None


def parse_kwargs(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``["shallowest=2", "head=fcn"]`` -> ``{"shallowest": 2, "head": "fcn"}``.

    Values are Python literals; any other text is taken as a string.
    """
    keywords = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals):
            raise ValueError(f"a keyword must be given as KEY=VALUE; got {pair!r}")
        try:
            keywords[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            keywords[key] = value
    return keywords
