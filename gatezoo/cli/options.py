"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..utils.text import shorten

NameOrFile = Annotated[
    str, typer.Argument(help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, or a checkpoint of 'gatezoo train'.")
]
Iterations = Annotated[int | None, typer.Option(help="Number of passes of a recurrent network.")]
IterationsOrAuto = Annotated[
    str | None,
    typer.Option(
        "--iterations", help="Number of passes of a recurrent network; 'auto': until a pass changes few of the pixels."
    ),
]
Device = Annotated[
    str, typer.Option(help="Device to run on: auto (the first of CUDA, MPS and CPU), cpu, cuda, cuda:1 or mps.")
]
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
PadTo = Annotated[
    int | None,
    typer.Option("--pad-to", help="Pad smaller images to squares with sides of this many pixels, with the mean color."),
]
DepthBlur = Annotated[
    float | None,
    typer.Option("--depth-blur", "--blur", help="Smooth predicted depth by a Gaussian of this many pixels."),
]
DepthMap = Annotated[
    Path | None,
    typer.Option(
        help="Depth of the image, for networks with gate='given': a 16-bit PNG in millimetres or an .npy in metres; or "
        "a folder of STEM.png, STEM_depth.png or STEM.npy."
    ),
]
ImageMax = Annotated[
    float | None,
    typer.Option(help="Value of full brightness in image files. Default: as in the training, else that of their type."),
]
FigureFile = Annotated[
    Path,
    typer.Option("--out", "--output", help="Figure to write, a .png or .jpg; its folder is created if missing."),
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


def check_figure_file(out: Path, inputs: Iterable[Path | None]) -> None:
    """Check the path of a figure.

    Args:
        out: the path.
        inputs: files that are read; None for those that were not given.

    Raises:
        ValueError: a format other than PNG and JPEG, or one of the files that are read.
    """
    from ..utils.files import check_outputs

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"the figure must be a .png or .jpg; got {out}")
    check_outputs([(out, out)], [path for path in inputs if path])


def parse_iterations(text: str | None) -> int | Literal["auto"] | None:
    """Parse a number of passes or "auto"; None for None."""
    if text is None or text == "auto":
        return text  # type: ignore[return-value]
    # A longer number is out of any bound, and Python takes long to read it.
    if not (text.isdecimal() and len(text) < 10):
        raise ValueError(f"iterations must be a number of passes or 'auto'; got {shorten(text)}: pass --iterations 3")
    return int(text)


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
