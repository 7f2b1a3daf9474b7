"""What a reader of annotations gives: images, the parts of the data set, and how an image's labels are read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ...utils.choices import check_choice
from ...utils.image_bytes import ImageFile, on_disk
from ...utils.images import check_image_max, load_image
from ..base import SegmentationDataset
from ..classes import check_class_list
from ..files.issue import Issue, raise_errors
from ..files.labels import Color, Decoder
from ..label_format import LabelFormat

if TYPE_CHECKING:
    from torch import Tensor

    from ..instances import InstanceMaskDataset
    from .regions import RegionInstances

BACKGROUND = "background"
# What may become of pixels that no region covers.
UNLABELED = ("background", "ignore")

# Labels of labelme's own label files: of the background, and of regions that do not count.
_LABELME_BACKGROUND, IGNORED = "_background_", "__ignore__"

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_of(text: str) -> str:
    """Return the split that the name of a file or a folder tells, "train", "val" or "test"; "" for none.

    "instances_train2017" -> "train", "valid" -> "val".
    """
    words = (_SPLIT_WORDS.get(word) for word in re.split(r"[^a-z]+", text.lower()))
    return next((word for word in words if word), "")


def split_name(name: str) -> str:
    """Return the name of a split: "train", "val" or "test" for other words of these, else itself."""
    return _SPLIT_WORDS.get(name.lower(), name)


def plain_label(label: str) -> str:
    """Return the name of a label's class: that of the background for what labelme calls it."""
    return BACKGROUND if label == _LABELME_BACKGROUND else label


class Entry(NamedTuple):
    """An annotated image.

    Attributes:
        image: its file.
        key: its annotation file, or FILE/INDEX where one file has the annotations of many images.
        split: "train", "val", "test" or another; "" if the data set has no splits.
    """

    image: Path
    key: Path
    split: str = ""


@dataclass(frozen=True)
class ReadOptions:
    """How the annotations of a data set become classes.

    Args:
        classes: names of the classes, in order; None: those of the annotations.
        unlabeled: "background": pixels without a region are of the class of that name, which is made class 0 if there
            is none; "ignore": they do not count.
        ignore_index: value of pixels that do not count.
        in_chans, image_max: see :func:`~gatezoo.utils.images.load_image`.
        label_format: encoding of the classes in label maps that have options for it.
        columns: of images and of label maps, of data in a table; None: by their names.
    """

    classes: Sequence[str] | None = None
    unlabeled: str = "background"
    ignore_index: int = 255
    in_chans: int | None = None
    image_max: float | None = None
    label_format: LabelFormat = field(default_factory=LabelFormat)
    columns: tuple[str | None, str | None] = (None, None)

    def __post_init__(self) -> None:
        check_choice("unlabeled", self.unlabeled, UNLABELED)
        check_image_max(self.image_max)


class Source(ABC):
    """Annotated images of a folder, in one of the formats of :mod:`~gatezoo.data.annotations.formats`.

    Args:
        root: the folder.
        labels: names that the annotations may use, in order.
        entries: the images.
        issues: what is wrong with the files as far as opening them tells.
        colors: color of each label, if the format has some.
        where: file that names the labels, for messages.

    Attributes:
        name: of the format.
        has_instances: whether it tells single objects apart.
        size_issues: names the files whose sizes identify the annotations, beyond the keys of the entries.
    """

    name: ClassVar[str]
    has_instances: ClassVar[bool] = True
    annotation_files: tuple[Path, ...] = ()

    def __init__(
        self,
        root: Path,
        labels: Sequence[str],
        entries: Sequence[Entry],
        issues: Sequence[Issue] = (),
        colors: Mapping[str, Color] | None = None,
        where: Path | None = None,
    ):
        self.root, self.labels, self.entries, self.issues = root, tuple(labels), list(entries), list(issues)
        self.colors = dict(colors or {})
        check_class_list(self.labels, str(where or root))
        self.index_of = {entry.key: number for number, entry in enumerate(self.entries)}

    @property
    def count(self) -> int:
        """Number of images; 0 if it is not known."""
        return len(self.entries)

    def parts(self) -> Iterator[Source]:
        """Yield what holds all images, to be read once: of a stream, some images at a time."""
        yield self

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order; () for a data set without a part to train on."""
        names = tuple(dict.fromkeys(entry.split for entry in self.entries if entry.split))
        return names if "train" in names else ()

    def of_split(self, split: str | None) -> list[Entry]:
        """Return the images of a split; None: all of them.

        Raises:
            ValueError: no such split, or errors of the files.
        """
        raise_errors(self.issues, self.root)
        if split is not None and split not in self.splits:
            has = ", ".join(self.splits) or "none"
            raise ValueError(f"the split must be one of the data's; {self.root} has {has}, got {split!r}: leave it out")
        found = [entry for entry in self.entries if split in (None, entry.split)]
        if not found:
            raise ValueError(f"a data folder must hold annotated images; {self.root} ({self.name}) has none")
        return found

    def class_names(self, options: ReadOptions) -> tuple[str, ...]:
        """Return the names of the classes."""
        names = tuple(plain_label(name) for name in options.classes or self.labels if name != IGNORED)
        if options.unlabeled == "background" and BACKGROUND not in names:
            names = (BACKGROUND, *names)
        if not names:
            raise ValueError(f"annotations must have labels; those in {self.root} ({self.name}) have none")
        return names

    @abstractmethod
    def decoder(self, options: ReadOptions) -> Decoder:
        """Return the function from an entry's key to its classes, (H, W), whole numbers."""

    def finder(self, options: ReadOptions) -> Callable[[Path], ImageFile]:
        """Return the function from the path of an image, or of a label map, to the file that it stands for."""
        return on_disk

    @abstractmethod
    def instances(self, split: str | None, options: ReadOptions) -> RegionInstances | InstanceMaskDataset:
        """Open the instances of a split."""

    def semantic(self, split: str | None, options: ReadOptions) -> SegmentationDataset:
        """Open the classes of a split.

        Raises:
            ValueError: no such split, no labels, or errors of the files.
        """
        entries, names = self.of_split(split), self.class_names(options)
        data = SegmentationDataset(
            [entry.image for entry in entries],
            [entry.key for entry in entries],
            names,
            decode=self.decoder(options),
            ids=options.label_format.class_ids(len(names), options.ignore_index),
            ignore_index=options.ignore_index,
            palette=self.palette(names),
            read_image=partial(
                _read_image, find=self.finder(options), in_chans=options.in_chans or 3, image_max=options.image_max
            ),
        )
        data.image_max = options.image_max
        data.annotation_files = self.annotation_files
        return data

    def palette(self, names: Sequence[str]) -> list[Color] | None:
        """Return the colors of classes, if the format has them for all but the background, each once."""
        colors = [self.colors.get(name, (0, 0, 0) if name == BACKGROUND else None) for name in names]
        known = [color for color in colors if color]
        return known if len(set(known)) == len(names) else None


def _read_image(path: Path, find: Callable[[Path], ImageFile], in_chans: int, image_max: float | None) -> Tensor:
    return load_image(find(path), in_chans, image_max)
