"""A user's own images and labels: a folder of each, or a list of pairs in a text file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...utils.images import IMAGE_SUFFIXES
from ..base import ExtraMap, Sample, SegmentationDataset, ids_from_one
from ..files.depth import scaled_png
from ..files.labels import Colour, Decoder, color_png, index_png
from ..files.layout import check_files_exist, list_files


class FolderDataset(SegmentationDataset):
    """Pairs of image and labels with the same stem: ``images/NAME.jpg`` with ``labels/NAME.png``.

    Labels are index PNGs whose values are the classes, unless one of ``color_table``, ``reduce_zero_label`` or
    ``ids`` says otherwise. Items, and what is checked on reading: see :class:`~gatezoo.data.base.SegmentationDataset`.

    Args:
        root: folder that holds ``images`` and ``labels``.
        classes: their number K, or their names.
        ignore_index: a further value, for pixels that do not count.
        transform: joint transform of an item.
        color_table: labels are RGB images: the colour of each class in turn, or colour -> class.
        reduce_zero_label: ids start at 1: 0 becomes ignored, k becomes class k - 1.
        ids: class, or ``ignore_index``, of every id that may occur: ``{0: 0, 255: 1}`` for masks of 0 and 255.
        image_dir, label_dir: names of the folders.
        label_suffix: what follows the image's stem in the name of its labels.
        palette: colours to draw the classes in; default: those of ``color_table``, else the PASCAL VOC colours.
        depth: metres of one unit of ``depth/NAME.png`` (8 or 16 bits, 0 = not measured): items have a "depth" too.

    Raises:
        ValueError: no such folders, no pairs, images without labels or depth; contradicting options.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        classes: int | Sequence[str],
        ignore_index: int = 255,
        transform: Callable[[Sample], Sample] | None = None,
        *,
        color_table: Sequence[Colour] | Mapping[Colour, int] | None = None,
        reduce_zero_label: bool = False,
        ids: Mapping[int, int] | None = None,
        image_dir: str = "images",
        label_dir: str = "labels",
        label_suffix: str = ".png",
        palette: Sequence[Colour] | None = None,
        depth: float | None = None,
    ):
        root = Path(root)
        if not ((root / image_dir).is_dir() and (root / label_dir).is_dir()):
            raise ValueError(f"a data folder must hold the folders {image_dir} and {label_dir}; {root} does not")
        images = list_files(root / image_dir, IMAGE_SUFFIXES)
        if not images:
            raise ValueError(f"a data folder must hold images; there is none in {root / image_dir}")
        masks = [root / label_dir / f"{image.stem}{label_suffix}" for image in images]
        without = [image.name for image, mask in zip(images, masks) if not mask.is_file()]
        if without:
            raise ValueError(
                f"images need {label_dir}/STEM{label_suffix}; {root} lacks {len(without)} of them, "
                f"first for {without[0]}"
            )
        layers = {}
        if depth is not None:
            layers["depth"] = ExtraMap([root / "depth" / f"{image.stem}.png" for image in images], scaled_png(depth))
            check_files_exist("depth/STEM.png of a data folder", layers["depth"].files)
        decode, ids = label_reading(classes, ignore_index, color_table, reduce_zero_label, ids)
        if palette is None and color_table is not None and not isinstance(color_table, Mapping):
            palette = color_table
        super().__init__(
            images,
            masks,
            classes,
            decode=decode,
            ids=ids,
            ignore_index=ignore_index,
            palette=palette,
            layers=layers,
            transform=transform,
        )


def label_reading(
    classes: int | Sequence[str],
    ignore_index: int,
    color_table: Sequence[Colour] | Mapping[Colour, int] | None,
    reduce_zero_label: bool,
    ids: Mapping[int, int] | None,
) -> tuple[Decoder, Mapping[int, int] | None]:
    """What decodes a label file, and the class of each id, from the options of :class:`FolderDataset`."""
    number = classes if isinstance(classes, int) else len(classes)
    if reduce_zero_label and ids is not None:
        raise ValueError("ids must be given by reduce_zero_label or by ids; got both: put 0 among ids as ignored")
    if reduce_zero_label:
        ids = ids_from_one(number, ignore_index)
    return (index_png if color_table is None else color_png(color_table)), ids


def list_dataset(
    path: str | os.PathLike,
    classes: int | Sequence[str],
    ignore_index: int = 255,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    root: str | os.PathLike | None = None,
    color_table: Sequence[Colour] | Mapping[Colour, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    palette: Sequence[Colour] | None = None,
) -> SegmentationDataset:
    """Pairs from a text file: on each line a image, a tab or spaces, and its labels.

    Paths with spaces need the tab. Empty lines and lines that begin with # are left out.

    Args:
        path: the list.
        root: what the paths in it are relative to; default: the folder of the list.
        classes, ignore_index, transform, color_table, reduce_zero_label, ids, palette: as of :class:`FolderDataset`.

    Raises:
        ValueError: no such list, a line that is no pair, files that are not there.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a list of images and labels must be a text file; there is none at {path}")
    base = path.parent if root is None else Path(root)
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        pair = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        if len(pair) != 2:
            raise ValueError(f"a line must be PICTURE<TAB>LABELS; line {number} of {path} is {line!r}")
        pairs.append([base / part for part in pair])
    images, masks = map(list, zip(*pairs)) if pairs else ([], [])
    check_files_exist(f"the list {path}", images, masks)
    decode, ids = label_reading(classes, ignore_index, color_table, reduce_zero_label, ids)
    if palette is None and color_table is not None and not isinstance(color_table, Mapping):
        palette = color_table
    return SegmentationDataset(
        images,
        masks,
        classes,
        decode=decode,
        ids=ids,
        ignore_index=ignore_index,
        palette=palette,
        transform=transform,
    )
