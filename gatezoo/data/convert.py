"""Write annotated images of any format as images and label maps, which every program reads."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ..utils.files import check_new_folder, new_folder
from ..utils.image_bytes import ImageBytes, ImageFile, on_disk
from ..utils.parallel import parallel_map
from ..utils.text import first_values
from ..utils.tiff import is_tiff
from .annotated import find_format, plain_parts, read_options, require_class_list
from .annotations.formats import PLAIN, open_source
from .annotations.numbered import CLASS_FILE, INSTANCE_DIR
from .annotations.regions import RegionInstances
from .annotations.source import ReadOptions, Source
from .base import SegmentationDataset
from .classes import class_names, read_classes
from .datasets.folder import FolderDataset
from .files.issue import raise_errors
from .files.pairs import IMAGE_DIR, LABEL_DIR
from .instances import InstanceMaskDataset

if TYPE_CHECKING:
    from .splits import FolderOptions

Instances = RegionInstances | InstanceMaskDataset


class Part(NamedTuple):
    """Images to convert.

    Attributes:
        split: their split; "" for data without splits.
        data: the images with their classes.
        instances: their instances, if wanted.
        find: function from the path of an image to its file.
    """

    split: str
    data: SegmentationDataset
    instances: Instances | None = None
    find: Callable[[Path], ImageFile] = on_disk


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
    total, parts = _open_parts(root, folder, classes, instances)
    counts: Counter[str] = Counter()
    part = None
    with new_folder(out) as written:
        images = _write_parts(written, parts)
        for part in folder.progress(images, total) if folder.progress and total else images:
            counts[part.split] += 1
        if part is None:
            raise ValueError(f"a data folder must hold annotated images; {root} has none")
        _write_classes(written / CLASS_FILE, part.data)
    return dict(counts)


def _open_parts(root: Path, folder: FolderOptions, classes: str | None, instances: bool) -> tuple[int, Iterable[Part]]:
    """Return the number of all images, 0 if it is not known, and the images."""
    name = find_format(root, folder, "instance" if instances else "semantic")
    if name == PLAIN:
        names, palette = class_names(require_class_list(root, classes))
        kwargs = folder.folder_kwargs() | {"palette": palette, "in_chans": folder.in_chans or 3}
        parts = [Part(split, FolderDataset(path, names, **kwargs)) for split, path in plain_parts(root).items()]
        return sum(len(part.data) for part in parts), parts
    source = open_source(root, name, once=True)
    if instances and not source.has_instances:
        raise ValueError(f"instances must be separate in the annotations; {root} ({name}) does not")
    options = read_options(folder, class_names(classes)[0] if classes else None)
    source.class_names(options)
    return source.count, _source_parts(source, options, instances)


def _source_parts(source: Source, options: ReadOptions, instances: bool) -> Iterator[Part]:
    for images in source.parts():
        present = {entry.split for entry in images.entries}
        for split in source.splits or (None,):
            if split in (None, *present):
                numbered = images.instances(split, options) if instances else None
                yield Part(split or "", images.semantic(split, options), numbered, images.finder(options))
    raise_errors(source.issues, source.root)  # a stream tells them at its end


def _write_parts(out: Path, parts: Iterable[Part]) -> Iterator[Part]:
    """Write images, and yield the part of each."""
    for part in parts:
        folder = out / part.split
        for name in (IMAGE_DIR, LABEL_DIR, *([INSTANCE_DIR] if part.instances else ())):
            (folder / name).mkdir(parents=True, exist_ok=True)
        stems = _stems(part.data.images)
        # Of an index that is no class, such as the ignored one, the color is that of VOC's outlines.
        palette = [*part.data.palette, *[(224, 224, 192)] * (256 - len(part.data.palette))]
        write = partial(_write_image, out=folder, part=part, palette=palette, stems=stems)
        for _ in parallel_map(write, range(len(part.data))):
            yield part


def _write_image(
    index: int, out: Path, part: Part, palette: Sequence[tuple[int, int, int]], stems: Sequence[str]
) -> None:
    image, stem = part.data.images[index], stems[index]
    labels = part.data[index]["mask"].numpy()  # which checks the image and its size
    file = part.find(image)
    if isinstance(file, ImageBytes):
        (out / IMAGE_DIR / f"{stem}{_suffix(file)}").write_bytes(file.data)
    else:
        shutil.copyfile(file, out / IMAGE_DIR / f"{stem}{image.suffix}")
    drawn = Image.fromarray(labels)
    drawn.putpalette([value for color in palette for value in color])
    drawn.save(out / LABEL_DIR / f"{stem}.png")
    if part.instances:
        numbers = part.instances.numbered(index)
        numbers = np.asarray(numbers[0] if isinstance(numbers, tuple) else numbers)
        if numbers.max(initial=0) > MAX_INSTANCES:
            raise ValueError(f"an image must have at most {MAX_INSTANCES} instances; {image} has {numbers.max()}")
        Image.fromarray(numbers.astype(np.uint16)).save(out / INSTANCE_DIR / f"{stem}.png")


def _suffix(file: ImageBytes) -> str:
    """Return the suffix of an image's format."""
    if is_tiff(file.data):
        return ".tif"
    with Image.open(BytesIO(file.data)) as image:
        return {"JPEG": ".jpg", "MPO": ".jpg"}.get(image.format or "", f".{image.format}".lower())


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
