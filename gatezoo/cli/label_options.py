"""Values of the options that describe label files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.label_format import LabelFormat
    from ..data.splits import FolderOptions
    from ..pretrained import PretrainedCfg


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """Values of the label options; None or False for those that were not given.

    Attributes:
        classes: class names separated by commas, a file, or their number.
        images: pattern of the image files.
        labels: pattern of the label files.
        ignore_index: label that does not count.
        rgb: labels are RGB images in the colors of the class file.
        color_tolerance: see :class:`~gatezoo.data.files.labels.ColorTable`.
        reduce_zero_label: ids start at 1, and 0 does not count.
        label_map: ``ID=CLASS`` for each id.
        label_suffix: the part of a label file's name after the stem of its image.
        image_max: value of full brightness in image files; None: the largest of their type.
        format: of the folder; None: guessed.
        unlabeled: what pixels without an annotation are.
    """

    classes: str | None = None
    images: str | None = None
    labels: str | None = None
    ignore_index: int | None = None
    rgb: bool = False
    color_tolerance: int | None = None
    reduce_zero_label: bool = False
    label_map: list[str] | None = None
    label_suffix: str | None = None
    image_max: float | None = None
    format: str | None = None
    unlabeled: str | None = None

    @property
    def given(self) -> list[str]:
        """Names of the options that describe the files of a folder and were given."""
        values = {
            "images": self.images is not None,
            "labels": self.labels is not None,
            "ids": self.label_map,
            "rgb": self.rgb,
            "color-tolerance": self.color_tolerance is not None,
            "reduce-zero-label": self.reduce_zero_label,
            "label-suffix": self.label_suffix is not None,
            "ignore-index": self.ignore_index is not None,
            "image-max": self.image_max is not None,
            "format": self.format,
            "unlabeled": self.unlabeled,
        }
        return [name for name, value in values.items() if value]

    @property
    def encodes(self) -> bool:
        """Whether an option says how label maps hold the classes."""
        return bool(self.rgb or self.reduce_zero_label or self.label_map or self.label_suffix)

    def label_format(self, remembered: LabelFormat | None = None, ignore_index: int = 255) -> LabelFormat:
        """Return the format of label files.

        Args:
            remembered: format for what was not given; default: index PNGs. The colors and ids of labels are one
                convention: one option of them replaces all of it.
            ignore_index: id of colors that do not count.

        Raises:
            ValueError: RGB labels without colors, or contradicting options.
        """
        from ..data.classes import color_codes, parse_ids
        from ..data.label_format import LabelFormat

        remembered = remembered or LabelFormat()
        suffix = remembered.suffix if self.label_suffix is None else self.label_suffix
        if self.color_tolerance is not None and not self.rgb:
            raise ValueError("--color-tolerance is an option of color-coded labels: pass --rgb too, or leave it out")
        if not (self.rgb or self.reduce_zero_label or self.label_map):
            return dataclasses.replace(remembered, suffix=suffix)
        colors = None
        if self.rgb and self.classes is not None:
            colors = color_codes(self.classes, ignore_index, self.color_tolerance or 0)
        if self.rgb and colors is None:
            raise ValueError("--rgb needs the colors of the classes: pass --classes FILE with lines NAME R G B")
        return LabelFormat(colors, self.reduce_zero_label, parse_ids(self.label_map or []), suffix)

    def folder_options(self, remembered: PretrainedCfg | None = None, **others: Any) -> FolderOptions:
        """Return the options to read and split a folder.

        Args:
            remembered: weights whose training data gives the options that were not given, to evaluate on data of the
                same kind; default: index PNGs, 255 ignored. Patterns are never remembered: they are about the names
                of one user's files.
            others: further fields of the options.

        Raises:
            ValueError: as :meth:`label_format`; or weights that remember no valid format.
        """
        from ..data.label_format import LabelFormat
        from ..data.splits import FolderOptions

        stored = FolderOptions()
        if remembered:
            label_format = LabelFormat.from_dict(remembered.label_format)
            stored = FolderOptions(remembered.ignore_index, label_format, image_max=remembered.image_max)
        if self.labels is not None and self.label_suffix is not None:
            raise ValueError("--labels and --label-suffix both say what label files are called: leave out one of them")
        ignore_index = stored.ignore_index if self.ignore_index is None else self.ignore_index
        return FolderOptions(
            ignore_index,
            self.label_format(stored.label_format, ignore_index),
            self.images,
            self.labels,
            image_max=stored.image_max if self.image_max is None else self.image_max,
            format=self.format,
            unlabeled=self.unlabeled,
            **others,
        )
