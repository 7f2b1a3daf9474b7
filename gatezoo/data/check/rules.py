"""Rules of the data check: compare the facts about the files with the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from ...utils.text import first_values
from ..base import UNKNOWN, class_table
from ..files.labels import LOSSY_FORMATS, Color, nearest_ids
from ..label_format import LabelFormat
from .inspect import FilePair
from .report import Issue, Report

# Values or colors of a file that a message names.
MAX_SHOWN = 8


class FolderValidator:
    """Issues and class frequencies of a folder, from the facts about its files.

    Args:
        pairs: the facts.
        classes: number or names of the classes; None: as many as the labels hold.
        ignore_index: value of pixels that do not count.
        label_format: encoding of the classes in the label files.
        min_size: least height and width of an image.
    """

    def __init__(
        self,
        pairs: Sequence[FilePair],
        classes: int | Sequence[str] | None,
        ignore_index: int,
        label_format: LabelFormat,
        min_size: int,
    ):
        self.pairs, self.ignore_index, self.min_size = pairs, ignore_index, min_size
        self.id_of_color = label_format.id_of_color
        self.no_mapping = label_format.values_are_classes
        # A JPEG's values are noise.
        self.values = {value for pair in pairs if pair.format not in LOSSY_FORMATS for value in pair.ids}
        self.classes_given = classes is not None
        if classes is None:
            classes = self._count_classes_of_labels(label_format)
        self.classes = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        ids = label_format.class_ids(len(self.classes), ignore_index)
        self.table = class_table(len(self.classes), ignore_index, ids)
        if ids is None:
            self.expected = f"0 .. {len(self.classes) - 1} and {ignore_index} (ignored)"
        else:
            self.expected = f"the ids {first_values(sorted(ids))}"

    def _count_classes_of_labels(self, label_format: LabelFormat) -> int:
        """Return the number of classes that the labels, or their mapping, hold."""
        offset = int(label_format.reduce_zero_label)
        if mapping := label_format.ids or label_format.id_of_color:
            found = set(mapping.values())
        else:
            found = {value - offset for value in self.values if value < 256}
        return max(found - {self.ignore_index, self.ignore_index - offset}, default=0) + 1

    def _class_of(self, label_id: int) -> int:
        return int(self.table[label_id]) if 0 <= label_id < len(self.table) else UNKNOWN

    def _count_pixels(self, pair: FilePair) -> tuple[Counter[int], dict[int | Color, int]]:
        """Count the pixels of each class, and of each value or color that has no class."""
        ids: Iterable[tuple[int | Color, int, int]]
        if self.id_of_color is None:
            ids = ((value, value, pixels) for value, pixels in pair.ids.items())
        else:
            table = self.id_of_color
            colors = Counter(pair.colors)
            for index, color in pair.palette.items():
                colors[color] += pair.ids[index]
            near = nearest_ids(table, list(colors))
            ids = (
                (color, UNKNOWN if label_id is None else label_id, pixels)
                for (color, pixels), label_id in zip(colors.items(), near)
            )
        classes: Counter[int] = Counter()
        unexpected: dict[int | Color, int] = {}
        for value, label_id, pixels in ids:
            if (k := self._class_of(label_id)) == UNKNOWN:
                unexpected[value] = pixels
            else:
                classes[k] += pixels
        return classes, unexpected

    def check_pair(self, pair: FilePair) -> list[Issue]:
        """Return the issues of a pair of files."""
        issues = [Issue("unreadable", path, reason) for path, reason in pair.errors.items()]
        if pair.value_error:
            issues.append(Issue("values", pair.image, pair.value_error))
        if pair.size and min(pair.size) < self.min_size:
            message = f"is {_size(pair.size)}; images must be at least {self.min_size} pixels on each side: enlarge it"
            issues.append(Issue("small", pair.image, message))
        if pair.mask is None or pair.mask_size is None:
            return issues
        if pair.size and pair.size != pair.mask_size:
            rotated = " (rotated by its EXIF orientation, as viewers show it)" if pair.rotated else ""
            issues.append(
                Issue(
                    "size",
                    pair.mask,
                    f"is {_size(pair.mask_size)}, its image {pair.image.name} {_size(pair.size)}{rotated}: "
                    "labels must have the size of their image",
                )
            )
        if issue := self._check_encoding(pair, pair.mask):
            return [*issues, issue]
        classes, unexpected = self._count_pixels(pair)
        if unexpected:
            issues.append(self._unexpected_values(pair.mask, unexpected))
        elif set(classes) <= {self.ignore_index}:
            issues.append(Issue("ignored", pair.mask, "all its pixels are ignored", fatal=False))
        return issues

    def _check_encoding(self, pair: FilePair, mask: Path) -> Issue | None:
        """Return an issue if the label file holds neither ids nor, with a color table, colors."""
        if pair.format in LOSSY_FORMATS:
            return Issue("jpeg", mask, "is a JPEG, which changes the ids: save labels as PNG, from their source")
        if self.id_of_color is not None:
            if pair.ids and not pair.palette:
                return Issue("mode", mask, f"has mode {pair.mode}, no RGB colors: leave out --rgb or color_table")
        elif pair.is_gray:
            values = first_values(sorted(color[0] for color in pair.colors))
            return Issue("rgb", mask, f"is an RGB image of the grays {values}: save it with one channel")
        elif pair.colors:
            total = sum(pair.colors.values())
            shown = _list_first(f"{color} {pixels / total:.0%}" for color, pixels in pair.colors.items())
            return Issue(
                "rgb",
                mask,
                f"is an RGB image where ids are expected; its colors: {shown}. Give the color of each class: lines "
                "NAME R G B in the class list, with --rgb, or color_table",
            )
        elif not pair.ids:
            return Issue("mode", mask, f"has mode {pair.mode}: save labels as whole numbers, with 8 or 16 bits")
        return None

    def _unexpected_values(self, mask: Path, unexpected: Mapping[int | Color, int]) -> Issue:
        """Return the issue of values or colors that have no class."""
        shown = _list_first(f"{value} ({pixels} pixels)" for value, pixels in unexpected.items())
        if self.id_of_color is not None:
            return Issue("colors", mask, f"holds colors that the table has not: {shown}")
        hint = ""
        if self.no_mapping and self.values - {0, self.ignore_index} == set(range(1, len(self.classes) + 1)):
            hint = ": if ids start at 1 and 0 is to be ignored, pass --reduce-zero-label"
        elif self.no_mapping and unexpected.keys() == {255}:
            hint = ": pass --ignore-index 255 if they do not count, --label-map 255=1 if they are class 1"
        return Issue("ids", mask, f"holds {shown}, outside {self.expected}{hint}")

    def report(self, root: Path) -> Report:
        """Return a report with the pixels of each class over all readable labels, and no issues yet."""
        pixels: Counter[int] = Counter()
        images_with: Counter[int] = Counter()
        for pair in self.pairs:
            if pair.mask and pair.mask_size and not self._check_encoding(pair, pair.mask):
                classes = self._count_pixels(pair)[0]
                pixels.update(classes)
                images_with.update(classes.keys())
        numbers = range(len(self.classes))
        return Report(
            root,
            sum(pair.mask is not None for pair in self.pairs),
            self.classes,
            self.ignore_index,
            pixels=torch.tensor([pixels[k] if k != self.ignore_index else 0 for k in numbers]),
            ignored=pixels[self.ignore_index],
            images_with=torch.tensor([images_with[k] for k in numbers]),
        )

    def check_totals(self, folder: Path, report: Report) -> list[Issue]:
        """Return the issues of the labels taken together."""
        present = [k for k in range(len(self.classes)) if report.pixels[k]]
        is_binary = self.no_mapping and self.values == {0, 255} and self.ignore_index == 255
        if is_binary and (not self.classes_given or len(self.classes) > 1):
            message = (
                "all labels are 0 or 255, and 255 is ignored, which leaves one class: pass --label-map 0=0 "
                "--label-map 255=1 (ids={0: 0, 255: 1}), or save them as 0 and 1"
            )
            return [Issue("binary", folder, message)]
        if not present and self.values:
            return [Issue("ignored", folder, "no pixel of any label counts")]
        if self.classes_given:
            absent = [name for k, name in enumerate(self.classes) if k not in present]
            if absent and present:
                return [Issue("absent", folder, f"no label holds {first_values(absent)}", fatal=False)]
        elif self.no_mapping and 2 * len(present) < len(self.classes):
            message = (
                f"labels hold only {first_values(present)} of 0 .. {len(self.classes) - 1}, like gray levels instead "
                "of classes: map them with --label-map, or pass --classes"
            )
            return [Issue("gaps", folder, message, fatal=False)]
        elif self.no_mapping and 0 not in self.values and self.values:
            message = "ids start at 1, so class 0 stays empty: pass --reduce-zero-label"
            return [Issue("start", folder, message, fatal=False)]
        return []


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _list_first(texts: Iterable[str]) -> str:
    """Join the first texts; "..." marks that there are more."""
    texts = list(texts)
    return ", ".join(texts[:MAX_SHOWN]) + (" ..." if len(texts) > MAX_SHOWN else "")
