"""Write annotated images of any format as images and label maps, which every program reads."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..utils.files import check_new_folder, new_folder
from ..utils.parallel import parallel_map
from ..utils.text import first_values
from .annotated import find_format, plain_parts, read_options, require_class_list
from .annotations.formats import PLAIN, open_source
from .annotations.numbered import CLASS_FILE, INSTANCE_DIR
from .annotations.regions import RegionInstances
from .base import SegmentationDataset
from .classes import class_names, read_classes
from .datasets.folder import FolderDataset
from .files.pairs import IMAGE_DIR, LABEL_DIR
from .instances import InstanceMaskDataset

if TYPE_CHECKING:
    from .splits import FolderOptions

Instances = RegionInstances | InstanceMaskDataset
# What is converted of a split, whose name is "" for data without splits.
Parts = dict[str, tuple[SegmentationDataset, Instances | None]]

MAX_INSTANCES = 65535


def convert_folder(
    root: Path, out: Path, folder: FolderOptions, classes: str | None = None, instances: bool = False
) -> dict[str, int]:
    """Write ``images/``, ``labels/`` (index PNGs, 255 ignored), ``classes.txt`` and, if wanted, ``instances/``.

    With splits, the folders lie in ``train/``, ``val/`` and so on. Images are copied as they are. Instance maps have 16
    bits: 0 = none, k = instance k, a later one over an earlier one, crowds left out. The folder appears when all of it
    is written.

    Args:
        root: folder in any format.
        out: the folder to write, which must not exist or be empty.
        folder: how to read the other one.
        classes: see :func:`~gatezoo.data.classes.class_names`; None: those of the data.
        instances: write instance maps, too.

    Returns:
        The number of images of each split; {"": number} without splits.

    Raises:
        ValueError: errors of the files, naming the first; an occupied folder; two images of one name.
    """
    check_new_folder(out)
    parts = _open_parts(root, folder, classes, instances)
    with new_folder(out) as written:
        for split, (data, numbered) in parts.items():
            _write_part(written / split, data, numbered, folder)
        data = next(iter(parts.values()))[0]
        _write_classes(written / CLASS_FILE, data)
    return {split: len(data) for split, (data, _) in parts.items()}


def _open_parts(root: Path, folder: FolderOptions, classes: str | None, instances: bool) -> Parts:
    name = find_format(root, folder, "instance" if instances else "semantic")
    if name != PLAIN:
        source, options = open_source(root, name), read_options(folder, class_names(classes)[0] if classes else None)
        if instances and not source.has_instances:
            raise ValueError(f"instances must be separate in the annotations; {root} ({name}) does not")
        splits: Sequence[str | None] = source.splits or [None]
        return {
            split or "": (source.semantic(split, options), source.instances(split, options) if instances else None)
            for split in splits
        }
    names, palette = class_names(require_class_list(root, classes))
    kwargs = folder.folder_kwargs() | {"palette": palette, "in_chans": folder.in_chans or 3}
    return {split: (FolderDataset(part, names, **kwargs), None) for split, part in plain_parts(root).items()}


def _write_part(out: Path, data: SegmentationDataset, numbered: Instances | None, folder: FolderOptions) -> None:
    for name in (IMAGE_DIR, LABEL_DIR, *([INSTANCE_DIR] if numbered else ())):
        (out / name).mkdir(parents=True)
    stems = _stems(data.images)
    # Of an index that is no class, such as the ignored one, the color is that of VOC's outlines.
    palette = [*data.palette, *[(224, 224, 192)] * (256 - len(data.palette))]
    write = partial(_write_image, out=out, data=data, numbered=numbered, palette=palette, stems=stems)
    written = parallel_map(write, range(len(data)))
    for _ in folder.progress(written, len(data)) if folder.progress else written:
        pass


def _write_image(
    index: int,
    out: Path,
    data: SegmentationDataset,
    numbered: Instances | None,
    palette: Sequence[tuple[int, int, int]],
    stems: Sequence[str],
) -> None:
    image, stem = data.images[index], stems[index]
    labels = data[index]["mask"].numpy()  # which checks the image and its size
    shutil.copyfile(image, out / IMAGE_DIR / f"{stem}{image.suffix}")
    drawn = Image.fromarray(labels)
    drawn.putpalette([value for color in palette for value in color])
    drawn.save(out / LABEL_DIR / f"{stem}.png")
    if numbered:
        numbers = numbered.numbered(index)
        numbers = np.asarray(numbers[0] if isinstance(numbers, tuple) else numbers)
        if numbers.max(initial=0) > MAX_INSTANCES:
            raise ValueError(f"an image must have at most {MAX_INSTANCES} instances; {image} has {numbers.max()}")
        Image.fromarray(numbers.astype(np.uint16)).save(out / INSTANCE_DIR / f"{stem}.png")


def _stems(images: Sequence[Path]) -> list[str]:
    """Return names for images: their stems or, where these are not different, with the folders that tell them apart.

    Raises:
        ValueError: images that only their suffixes tell apart.
    """
    stems = [image.stem for image in images]
    if len(set(map(str.casefold, stems))) < len(stems):
        base = Path(os.path.commonpath([image.parent for image in images]))
        stems = ["_".join(image.relative_to(base).with_suffix("").parts) for image in images]
    name, count = Counter(map(str.casefold, stems)).most_common(1)[0]
    if count > 1:
        first, second = [image for image, stem in zip(images, stems) if stem.casefold() == name][:2]
        raise ValueError(f"images must have different names; {first} and {second} have the same: rename one")
    return stems


def _write_classes(file: Path, data: SegmentationDataset) -> None:
    colors = (" ".join(map(str, color)) for color in data.palette)
    is_colored = len(set(data.palette)) == len(data.classes)
    lines = [f"{name} {color}" if is_colored else name for name, color in zip(data.classes, colors)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if read_classes(file)[0] != data.classes:
        raise ValueError(f"class names must be lines of a class list; got {first_values(data.classes)}: rename one")
