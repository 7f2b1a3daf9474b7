"""Encoding of classes in label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..pretrained.label_rules import check_label_format
from ..utils.text import first_values
from .base import ids_from_one
from .files.labels import Color, ColorTable, RasterDecoder, color_png, index_png
from .files.pairs import FolderLayout


@dataclass(frozen=True)
class LabelFormat:
    """Encoding of classes in label files. By default index PNGs whose values are the classes.

    Args:
        color_table: labels are RGB images: the color of each class in order, or color -> id.
        reduce_zero_label: ids start at 1: 0 becomes ignored, k becomes class k - 1.
        ids: class, or the ignore index, of every id that may occur: ``{0: 0, 255: 1}`` for masks of 0 and 255.
        suffix: the part of a label file's name after the stem of its image.

    Raises:
        ValueError: both ``reduce_zero_label`` and ``ids``.
    """

    color_table: Sequence[Color] | Mapping[Color, int] | None = None
    reduce_zero_label: bool = False
    ids: Mapping[int, int] | None = None
    suffix: str = ".png"

    def __post_init__(self) -> None:
        if self.reduce_zero_label and self.ids is not None:
            raise ValueError(
                "ids must be given by reduce_zero_label or by ids; got both: leave out reduce_zero_label and map 0 to "
                "the ignore index"
            )

    @property
    def values_are_classes(self) -> bool:
        """Whether the values of label files are the classes themselves."""
        return self.color_table is None and self.ids is None and not self.reduce_zero_label

    @property
    def palette(self) -> Sequence[Color] | None:
        """Colors of the classes, if the color table lists them in order."""
        return None if isinstance(self.color_table, Mapping) else self.color_table

    @property
    def id_of_color(self) -> Mapping[Color, int] | None:
        """Id of each color; None if labels hold ids."""
        if self.color_table is None or isinstance(self.color_table, Mapping):
            return self.color_table
        return {color: k for k, color in enumerate(self.color_table)}

    def decoder(self) -> RasterDecoder:
        """Return the function that reads a label file as ids."""
        return index_png if self.color_table is None else color_png(self.color_table)

    def class_ids(self, num_classes: int, ignore_index: int) -> Mapping[int, int] | None:
        """Return the class, or ``ignore_index``, of every id that may occur; None if the ids are the classes."""
        return ids_from_one(num_classes, ignore_index) if self.reduce_zero_label else self.ids

    def folder_kwargs(self) -> dict[str, Any]:
        """Return the format as keyword arguments of ``FolderDataset`` and ``check_folder``."""
        return {
            "color_table": self.color_table,
            "reduce_zero_label": self.reduce_zero_label,
            "ids": self.ids,
            "layout": FolderLayout(label_suffix=self.suffix),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the format as plain JSON: {} for index PNGs, else the fields that differ from theirs.

        Ids are text, as keys of JSON are. A color is a list [R, G, B]; where the color table gives ids, they follow
        as a fourth number.

        Raises:
            ValueError: a format beyond the bounds of :meth:`from_dict`.
        """
        content: dict[str, Any] = {}
        if isinstance(self.color_table, Mapping):
            content["color_ids"] = [[*map(int, color), int(label_id)] for color, label_id in self.color_table.items()]
            if isinstance(self.color_table, ColorTable) and self.color_table.tolerance:
                content["tolerance"] = self.color_table.tolerance
        elif self.color_table is not None:
            content["colors"] = [[*map(int, color)] for color in self.color_table]
        if self.reduce_zero_label:
            content["reduce_zero_label"] = True
        if self.ids is not None:
            content["ids"] = {str(int(label_id)): int(k) for label_id, k in self.ids.items()}
        if self.suffix != LabelFormat.suffix:
            content["suffix"] = self.suffix
        self.from_dict(content)
        return content

    @classmethod
    def from_dict(cls, content: Any) -> LabelFormat:
        """Return the format that :meth:`to_dict` wrote. The content is not trusted.

        Raises:
            ValueError: anything but such a dict, with at most 65536 ids or colors, 256 classes, and the ending of a
                file's name as its suffix.
        """
        check_label_format("label_format", content)
        colors: Sequence[Color] | Mapping[Color, int] | None = None
        if "colors" in content:
            colors = tuple((red, green, blue) for red, green, blue in content["colors"])
        elif "color_ids" in content:
            colors = {(red, green, blue): label_id for red, green, blue, label_id in content["color_ids"]}
            if "tolerance" in content:
                colors = ColorTable(colors, content["tolerance"])
        ids = {int(label_id): k for label_id, k in content["ids"].items()} if "ids" in content else None
        return cls(colors, "reduce_zero_label" in content, ids, content.get("suffix", cls.suffix))

    def describe(self, class_names: Sequence[str], ignore_index: int) -> str:
        """Return the format as one line: "ids 0 = background, 255 = nucleus"."""
        names = dict(enumerate(class_names)) | {ignore_index: "ignored"}
        ids = self.class_ids(len(class_names), ignore_index) or {k: k for k in names}
        if self.id_of_color is None:
            pairs = [(str(label_id), k) for label_id, k in sorted(ids.items())]
        else:
            pairs = [(str(color), ids[label_id]) for color, label_id in self.id_of_color.items() if label_id in ids]
        values = first_values((f"{value} = {names.get(k, k)}" for value, k in pairs), 256)
        suffix = "" if self.suffix == LabelFormat.suffix else f"; files are called NAME{self.suffix}"
        return f"{'ids' if self.id_of_color is None else 'colors'} {values}{suffix}"
