"""Images and labels of a user: a folder of each, or a list of pairs in a text file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from ...utils.images import check_image_max, load_image
from ...utils.keyword_types import check_keyword
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.depth import scaled_png
from ..files.issue import raise_errors
from ..files.labels import Color
from ..files.layout import check_files_exist
from ..files.pairs import FolderLayout, find_folder_files
from ..label_format import LabelFormat


class FolderDataset(SegmentationDataset):
    """Pairs of image and labels, by default with the same stem: ``images/NAME.jpg`` with ``labels/NAME.png``.

    Labels are index PNGs whose values are the classes, unless ``color_table``, ``reduce_zero_label`` or ``ids`` is
    given. Items, and what is checked on reading: see :class:`~gatezoo.data.base.SegmentationDataset`. Pairs that no
    pattern tells: see :func:`list_dataset`.

    Args:
        root: folder that holds the files.
        classes: number K or names of the classes.
        ignore_index: a further value, for pixels that do not count.
        transform: joint transform of an item.
        color_table: labels are RGB images: the color of each class in order, or color -> id.
        reduce_zero_label: ids start at 1: 0 becomes ignored, k becomes class k - 1.
        ids: class, or ``ignore_index``, of every id that may occur: ``{0: 0, 255: 1}`` for masks of 0 and 255.
        layout: names of the files: ``FolderLayout("images/*_training.tif", "1st_manual/*_manual1.gif")``, or
            ``FolderLayout(label_suffix="_mask.png")``.
        palette: colors to draw the classes in; default: those of ``color_table``, else the PASCAL VOC colors.
        depth: metres of one unit of ``depth/NAME.png`` (8 or 16 bits, 0 = not measured): items have a "depth" too.
        in_chans, image_max: channels of the network's images and value of full brightness, see
            :func:`~gatezoo.utils.images.load_image`.

    Raises:
        ValueError: no such folders, no pairs, files without a partner or with two, images without depth; contradicting
            options.
    """

    def __init__(  # noqa: PLR0913
        self,
        root: str | os.PathLike,
        classes: int | Sequence[str],
        ignore_index: int = 255,
        transform: Callable[[Sample], Sample] | None = None,
        *,
        color_table: Sequence[Color] | Mapping[Color, int] | None = None,
        reduce_zero_label: bool = False,
        ids: Mapping[int, int] | None = None,
        layout: FolderLayout | None = None,
        palette: Sequence[Color] | None = None,
        depth: float | None = None,
        in_chans: int = 3,
        image_max: float | None = None,
    ):
        layout = layout or FolderLayout()
        label_format = LabelFormat(color_table, reduce_zero_label, ids, layout.label_suffix)
        root = Path(check_keyword("root", root, "str | Path"))
        images, labels, issues, _ = find_folder_files(root, layout)
        raise_errors(issues, root)
        layers = {}
        if depth is not None:
            layers["depth"] = ExtraMap([root / "depth" / f"{image.stem}.png" for image in images], scaled_png(depth))
            check_files_exist("depth/STEM.png of a data folder", layers["depth"].files)
        super().__init__(
            images,
            [path for path in labels if path],
            classes,
            decode=label_format.decoder(),
            ids=label_format.class_ids(classes if isinstance(classes, int) else len(classes), ignore_index),
            ignore_index=ignore_index,
            palette=label_format.palette if palette is None else palette,
            layers=layers,
            read_image=_reader(in_chans, image_max),
            transform=transform,
        )
        self.label_format, self.image_max = label_format, image_max


def _reader(in_chans: int, image_max: float | None) -> Callable[[Path], Tensor]:
    """Return the function that reads image files; one that can be pickled, for worker processes."""
    check_image_max(image_max)
    return partial(load_image, in_chans=in_chans, image_max=image_max)


def list_dataset(  # noqa: PLR0913
    path: str | os.PathLike,
    classes: int | Sequence[str],
    ignore_index: int = 255,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    root: str | os.PathLike | None = None,
    color_table: Sequence[Color] | Mapping[Color, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    palette: Sequence[Color] | None = None,
    in_chans: int = 3,
    image_max: float | None = None,
) -> SegmentationDataset:
    """Open the pairs of a text file: on each line an image, a tab or spaces, and its labels.

    Paths with spaces need the tab. Empty lines and lines that begin with # are skipped.

    Args:
        path: the list.
        root: folder to which the paths in it are relative; default: the folder of the list.
        classes, ignore_index, transform, color_table, reduce_zero_label, ids, palette, in_chans, image_max: see
            :class:`FolderDataset`.

    Raises:
        ValueError: no such list, a line that is not a pair, missing files.
    """
    label_format = LabelFormat(color_table, reduce_zero_label, ids)
    path = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"a list of images and labels must be a text file; there is none at {path}")
    base = path.parent if root is None else Path(root)
    images, masks = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        pair = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        if len(pair) != 2:
            raise ValueError(f"a line must be IMAGE<TAB>LABELS; line {number} of {path} is {line!r}")
        images.append(base / pair[0])
        masks.append(base / pair[1])
    check_files_exist(f"the list {path}", images, masks)
    data = SegmentationDataset(
        images,
        masks,
        classes,
        decode=label_format.decoder(),
        ids=label_format.class_ids(classes if isinstance(classes, int) else len(classes), ignore_index),
        ignore_index=ignore_index,
        palette=label_format.palette if palette is None else palette,
        read_image=_reader(in_chans, image_max),
        transform=transform,
    )
    data.label_format, data.image_max = label_format, image_max
    return data
