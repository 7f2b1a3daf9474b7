"""Encoding of classes in label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import ids_from_one
from .files.labels import Color, Decoder, color_png, index_png


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

    def decoder(self) -> Decoder:
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
            "label_suffix": self.suffix,
        }
