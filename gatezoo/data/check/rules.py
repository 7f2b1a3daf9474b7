"""The rules of the check: what was seen in the files, held against the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from ..base import UNKNOWN, class_table, ids_from_one
from ..files.labels import Colour
from .inspect import FilePair
from .report import Issue, Report

# Values or colours told of one file.
_SHOWN = 8


class FolderValidator:
    """Problems and shares of the classes of files that were seen.

    Args:
        found: the files.
        classes: number or names of the classes; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids: as of :class:`~gatezoo.data.datasets.folder.FolderDataset`.
    """

    def __init__(
        self,
        found: Sequence[FilePair],
        classes: int | Sequence[str] | None,
        ignore_index: int,
        color_table: Sequence[Colour] | Mapping[Colour, int] | None,
        reduce_zero_label: bool,
        ids: Mapping[int, int] | None,
    ):
        self.found, self.ignore_index = found, ignore_index
        if color_table is not None and not isinstance(color_table, Mapping):
            color_table = {colour: number for number, colour in enumerate(color_table)}
        self.color_table = color_table
        self.values = {number for seen in found if seen.format != "JPEG" for number in seen.ids}
        self.plain = color_table is None and ids is None and not reduce_zero_label
        self.told = classes is not None
        if classes is None:
            if color_table is not None or ids is not None:
                known = set((ids or color_table).values())
            else:
                known = {number - reduce_zero_label for number in self.values if number < 256}
            classes = max(known - {ignore_index, ignore_index - reduce_zero_label}, default=0) + 1
        self.classes = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        if reduce_zero_label:
            ids = ids_from_one(len(self.classes), ignore_index)
        self.table = class_table(len(self.classes), ignore_index, ids)
        self.expected = f"0 .. {len(self.classes) - 1} and {ignore_index} (ignored)"
        if ids is not None:
            self.expected = f"the ids {_some(sorted(ids))}"

    def _class_of(self, number: int) -> int:
        return int(self.table[number]) if 0 <= number < len(self.table) else UNKNOWN

    def _sorted_out(self, seen: FilePair) -> tuple[Counter[int], dict]:
        """Pixels of each class, and of each value or colour that is none."""
        classes: Counter[int] = Counter()
        strange = {}
        for value, pixels in (seen.ids if self.color_table is None else seen.colours).items():
            number = value if self.color_table is None else self.color_table.get(value, UNKNOWN)
            if (k := self._class_of(number)) == UNKNOWN:
                strange[value] = pixels
            else:
                classes[k] += pixels
        return classes, strange

    def problems_of(self, seen: FilePair) -> list[Issue]:
        """What is wrong with a pair of files."""
        problems = [Issue("unreadable", path, why) for path, why in seen.errors.items()]
        if seen.mask_size is None:
            return problems
        if seen.size and seen.size != seen.mask_size:
            turned = " (turned by its EXIF note, as viewers show it)" if seen.turned else ""
            problems.append(
                Issue(
                    "size",
                    seen.mask,
                    f"is {_size(seen.mask_size)}, its image {seen.image.name} {_size(seen.size)}{turned}: "
                    "labels must have the size of their image",
                )
            )
        if form := self._form(seen):
            return [*problems, form]
        classes, strange = self._sorted_out(seen)
        if strange:
            problems.append(self._strange(seen, strange))
        elif set(classes) <= {self.ignore_index}:
            problems.append(Issue("ignored", seen.mask, "all its pixels are ignored", fatal=False))
        return problems

    def _form(self, seen: FilePair) -> Issue | None:
        """Labels in another form than ids, or colours, one can read."""
        if seen.format == "JPEG":
            return Issue("jpeg", seen.mask, "is a JPEG, which changes the ids: save labels as PNG, from their source")
        if self.color_table is not None:
            if seen.ids:
                return Issue("mode", seen.mask, f"has mode {seen.mode}, no RGB colours: leave the colour table out")
        elif seen.grey:
            values = _some(sorted(colour[0] for colour in seen.colours))
            return Issue("rgb", seen.mask, f"is an RGB image of the greys {values}: save it with one channel")
        elif seen.colours:
            total = sum(seen.colours.values())
            shown = [f"{c} {n / total:.0%}" for c, n in list(seen.colours.items())[:_SHOWN]]
            more = " ..." if len(seen.colours) > _SHOWN else ""
            return Issue(
                "rgb",
                seen.mask,
                f"is an RGB image where ids are expected; its colours: {', '.join(shown)}{more}. Give the colour of "
                "each class: lines NAME R G B in the class list, with --rgb, or color_table",
            )
        elif seen.mode not in ("1", "L", "P"):
            return Issue("mode", seen.mask, f"has mode {seen.mode}: save labels with 8 bits")
        return None

    def _strange(self, seen: FilePair, strange: dict) -> Issue:
        shown = ", ".join(f"{value} ({n} pixels)" for value, n in list(strange.items())[:_SHOWN])
        more = " ..." if len(strange) > _SHOWN else ""
        if self.color_table is not None:
            return Issue("colours", seen.mask, f"holds colours that the table has not: {shown}{more}")
        hint = ""
        if self.plain and self.values - {0, self.ignore_index} == set(range(1, len(self.classes) + 1)):
            hint = ": ids start at 1? Then 0 is to be ignored: --reduce-zero-label"
        elif self.plain and strange.keys() == {255}:
            hint = ": --ignore-index 255 if they do not count, --ids 255=1 if they are class 1"
        return Issue("ids", seen.mask, f"holds {shown}{more}, outside {self.expected}{hint}")

    def report(self, root: Path) -> Report:
        """Shares of the classes over all labels that can be read."""
        pixels, images_with = Counter(), Counter()
        for seen in self.found:
            if seen.mask_size and not self._form(seen):
                classes = self._sorted_out(seen)[0]
                pixels.update(classes)
                images_with.update(classes.keys())
        numbers = range(len(self.classes))
        return Report(
            root,
            sum(seen.mask is not None for seen in self.found),
            self.classes,
            self.ignore_index,
            pixels=torch.tensor([pixels[k] if k != self.ignore_index else 0 for k in numbers]),
            ignored=pixels[self.ignore_index],
            images_with=torch.tensor([images_with[k] for k in numbers]),
        )

    def problems_of_all(self, folder: Path, report: Report) -> list[Issue]:
        """What is wrong with the labels taken together."""
        problems = []
        occur = [k for k in range(len(self.classes)) if report.pixels[k]]
        binary = self.plain and self.values == {0, 255} and self.ignore_index == 255
        if binary and (not self.told or len(self.classes) > 1):
            problems.append(
                Issue(
                    "binary",
                    folder,
                    "all labels are 0 or 255, and 255 is ignored, which leaves one class: say --ids 0=0 --ids 255=1 "
                    "(ids={0: 0, 255: 1}), or save them as 0 and 1",
                )
            )
        elif not occur and self.values:
            problems.append(Issue("ignored", folder, "no pixel of any label counts"))
        elif self.told:
            absent = [self.classes[k] for k in range(len(self.classes)) if k not in occur]
            if absent and occur:
                problems.append(Issue("absent", folder, f"no label holds {_some(absent)}", fatal=False))
        elif self.plain and 2 * len(occur) < len(self.classes):
            message = (
                f"labels hold only {_some(occur)} of 0 .. {len(self.classes) - 1}: grey levels instead of classes?"
            )
            problems.append(Issue("gaps", folder, f"{message} Then map them with --ids, or say --classes", fatal=False))
        elif self.plain and 0 not in self.values and self.values:
            message = "ids start at 1: say --reduce-zero-label, or class 0 stays empty"
            problems.append(Issue("start", folder, message, fatal=False))
        return problems


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _some(values: Iterable) -> str:
    values = list(map(str, values))
    return ", ".join(values[:_SHOWN]) + (f" ... {values[-1]}" if len(values) > _SHOWN else "")
