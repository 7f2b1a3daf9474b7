"""Groups of options, added to commands by decorators: fields of the recipe, and the format of label files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ..recipes.recipe import Recipe

if TYPE_CHECKING:
    from ..data.label_format import LabelFormat
    from ..data.splits import FolderOptions

Command = Callable[..., None]

LABEL_SUFFIX = ".png"


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """Values of the label options.

    Attributes:
        classes: class names separated by commas, or a file; None if not given.
        ignore_index: label that does not count; None if not given.
        rgb: labels are RGB images in the colors of the class file.
        reduce_zero_label: ids start at 1, and 0 does not count.
        label_map: ``ID=CLASS`` for each id.
        label_suffix: the part of a label file's name after the stem of its image.
        image_max: value of full brightness in image files; None: the largest of their type.
    """

    classes: str | None
    ignore_index: int | None
    rgb: bool
    reduce_zero_label: bool
    label_map: list[str] | None
    label_suffix: str
    image_max: float | None = None

    @property
    def given(self) -> list[str]:
        """Names of the options that describe label files and were given."""
        values = {
            "ids": self.label_map,
            "rgb": self.rgb,
            "reduce-zero-label": self.reduce_zero_label,
            "label-suffix": self.label_suffix != LABEL_SUFFIX,
            "ignore-index": self.ignore_index is not None,
            "image-max": self.image_max is not None,
        }
        return [name for name, value in values.items() if value]

    def label_format(self) -> LabelFormat:
        """Return the format of label files.

        Raises:
            ValueError: RGB labels without colors, or contradicting options.
        """
        from ..data.classes import parse_classes, parse_ids
        from ..data.label_format import LabelFormat

        colors = parse_classes(self.classes)[1] if self.rgb else None
        if self.rgb and colors is None:
            raise ValueError("--rgb needs the colors of the classes: pass --classes FILE with lines NAME R G B")
        return LabelFormat(colors, self.reduce_zero_label, parse_ids(self.label_map or []), self.label_suffix)

    def folder_options(self, **others: Any) -> FolderOptions:
        """Return the options to read and split a folder; ``others`` are further fields of them."""
        from ..data.splits import FolderOptions

        return FolderOptions(self.ignored(), self.label_format(), image_max=self.image_max, **others)

    def ignored(self, default: int = 255) -> int:
        """Return the label that does not count, ``default`` if it was not given."""
        return default if self.ignore_index is None else self.ignore_index


def with_label_options(command: Command) -> Command:
    """Give a command the options that describe label files, passed to it as ``labels``, a :class:`LabelOptions`."""
    options = [
        _label_option(
            "classes",
            str | None,
            None,
            "Class names separated by commas, or a file with a line NAME or NAME R G B for each class.",
            show_default=False,
        ),
        _label_option("ignore_index", int | None, None, "Label that does not count. Default: 255.", show_default=False),
        _label_option("rgb", bool, False, "Read labels as RGB images in the colors of --classes.", "--rgb"),
        _label_option("reduce_zero_label", bool, False, "Ids start at 1, and 0 does not count.", "--reduce-zero-label"),
        _label_option(
            "label_map",
            list[str] | None,
            None,
            "ID=CLASS: read this id as this class, such as 255=1; may be repeated, once for each id.",
            "--label-map",
            "--ids",
        ),
        _label_option("label_suffix", str, LABEL_SUFFIX, "Ending of a label file's name, after the stem of its image."),
        _label_option(
            "image_max",
            float | None,
            None,
            "Value of full brightness in the images. Default: 255 of 8 bits, 65535 of 16, 1 of floats.",
            show_default=False,
        ),
    ]
    return _with_options(command, "labels", options, lambda values: LabelOptions(**values))


def with_recipe_options(command: Command) -> Command:
    """Give a command an option for each field of the recipe; those given are passed to it as the dict ``changes``."""
    hints = get_type_hints(Recipe)
    options = []
    for field in dataclasses.fields(Recipe):
        hint = tuple[float, float, float] if field.name in ("mean", "std") else hints[field.name]
        default = "" if field.default in (None, "") else f" Default: {field.default}."
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
        lambda values: {key: value for key, value in values.items() if value is not None},
    )


def _label_option(
    name: str, kind: Any, default: object, text: str, *flags: str, show_default: bool = True
) -> inspect.Parameter:
    option = typer.Option(*flags, help=text, rich_help_panel="Label files", show_default=show_default)
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
