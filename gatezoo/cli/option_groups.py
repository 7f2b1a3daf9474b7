"""Groups of options, added to commands by decorators: fields of the recipe, and the format of label files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from ..recipes.recipe import Recipe
from .label_options import LabelOptions
from .options import Device, Workers

Command = Callable[..., None]


def with_label_options(command: Command) -> Command:
    """Give a command the options that describe label files, passed to it as ``labels``, a :class:`LabelOptions`."""
    options = [
        _label_option(
            "classes",
            str | None,
            None,
            "Class names separated by commas, a file with a line NAME or NAME R G B for each class, or their number. "
            "Default: classes.txt in the folder, or the labels of its annotations.",
        ),
        _label_option(
            "images",
            str | None,
            None,
            "Pattern of the image files in the folder, such as 'images/*_training.tif'. Default: 'images/*'. Of "
            "--format hf, the column of the images.",
        ),
        _label_option(
            "labels",
            str | None,
            None,
            "Pattern of the label files, such as '1st_manual/*_manual1.gif': the part at * is that of the image. "
            "Default: 'labels/*.png'. Of --format hf, the column of the label maps.",
        ),
        _label_option("ignore_index", int | None, None, "Label that does not count. Default: 255."),
        _label_option("rgb", bool, False, "Read labels as RGB images in the colors of --classes.", "--rgb"),
        _label_option(
            "color_tolerance",
            int | None,
            None,
            "With --rgb, a color that is not in the list is the nearest one if no channel differs by more. Default: 0.",
        ),
        _label_option("reduce_zero_label", bool, False, "Ids start at 1, and 0 does not count.", "--reduce-zero-label"),
        _label_option(
            "label_map",
            list[str] | None,
            None,
            "ID=CLASS: read this id as this class, such as 255=1; may be repeated, once for each id.",
            "--label-map",
            "--ids",
        ),
        _label_option(
            "label_suffix",
            str | None,
            None,
            "Ending of a label file's name, after the stem of its image. Default: .png.",
        ),
        _label_option(
            "image_max",
            float | None,
            None,
            "Value of full brightness in the images. Default: 255 of 8 bits, 65535 of 16, 1 of floats.",
        ),
        _label_option(
            "format",
            str | None,
            None,
            "Format of the folder: plain, labelme, yolo, coco, cvat, voc, numbered or hf. Default: what its files "
            "show.",
        ),
        _label_option(
            "unlabeled", str | None, None, "Pixels outside all regions: background (default, a class) or ignore."
        ),
    ]
    return _with_options(command, "labels", options, lambda values: LabelOptions(**values))


_RUN_OPTIONS = {
    "workers": (Workers, 1),
    "device": (Device, "auto"),
    "resume": (Annotated[bool, typer.Option("--resume", help="Continue the training in --out.")], False),
    "auto_resume": (
        Annotated[
            bool, typer.Option("--auto-resume", help="Continue the training in --out if it holds one, else start it.")
        ],
        False,
    ),
    "resume_with_changes": (
        Annotated[
            bool,
            typer.Option(
                "--resume-with-changes",
                help="Continue the training in --out although recipe, data or model have changed.",
            ),
        ],
        False,
    ),
    "log_with": (
        Annotated[str | None, typer.Option(help="Also log to tensorboard, wandb or another tracker of Accelerate.")],
        None,
    ),
}


def with_run_options(command: Command) -> Command:
    """Give a command the options of how a training runs, passed to it as ``run``, a dict of fields of RunOptions."""
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _RUN_OPTIONS.items()
    ]
    return _with_options(command, "run", options, _run_fields)


def _run_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(values)
    if fields.pop("auto_resume"):
        if fields["resume"]:
            raise ValueError("--resume and --auto-resume must not be given together: leave one out")
        fields["resume"] = "auto"
    return fields


# Types of options that are not those of the fields, which the command line cannot read.
_OPTION_TYPES: dict[str, Any] = {
    **dict.fromkeys(("mean", "std"), tuple[float, float, float]),
    "frozen_layers": list[str],
}


def with_recipe_options(command: Command, defaults: Mapping[str, str] | None = None) -> Command:
    """Give a command an option for each field of the recipe; those given are passed to it as the dict ``changes``.

    Args:
        command: to give the options to.
        defaults: text for the help, by field, of the defaults that are the command's own.
    """
    hints = get_type_hints(Recipe)
    options = []
    for field in dataclasses.fields(Recipe):
        hint = _OPTION_TYPES.get(field.name, hints[field.name])
        value = (defaults or {}).get(field.name, field.default)
        default = "" if value in (None, "", ()) else f" Default: {value}."
        option = typer.Option(
            *field.metadata["flags"],
            help=field.metadata["help"] + default,
            rich_help_panel="Recipe",
            show_default=False,
        )
        options.append(_parameter(field.name, hint | None, None, option))
    return _with_options(
        command,
        "changes",
        options,
        lambda values: {key: value for key, value in values.items() if value is not None and value != []},
    )


def _label_option(name: str, kind: Any, default: object, text: str, *flags: str) -> inspect.Parameter:
    option = typer.Option(*flags, help=text, rich_help_panel="Label files", show_default=False)
    return _parameter(name, kind, default, option)


def _parameter(name: str, kind: Any, default: object, option: Any) -> inspect.Parameter:
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_options(
    command: Command,
    argument: str,
    options: Sequence[inspect.Parameter],
    collect: Callable[[Mapping[str, Any]], object],
) -> Command:
    """Replace an argument of a command by options, whose values are collected into that argument."""
    names = {option.name for option in options}

    def run(**values: Any) -> None:
        group = {key: value for key, value in values.items() if key in names}
        others = {key: value for key, value in values.items() if key not in names}
        command(**others, **{argument: collect(group)})

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        parameters += options if parameter.name == argument else [parameter]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
