"""Reader of data laid out as PASCAL VOC: ``JPEGImages/``, ``SegmentationClass/*.png`` and, if they exist, more.

``ImageSets/Segmentation/{train,val}.txt`` give the splits, and ``SegmentationObject/*.png`` numbers the instances.
Label maps are palette images, of which the index is read, or RGB images in VOC's colors. ``labelmap.txt``, lines
``NAME:R,G,B::`` or ``NAME:::`` as CVAT and datumaro write it, names the classes; where it has colors, they are read and
not the indices. Without that file the classes are those of VOC, if ``Annotations/*.xml`` name no others. 255, or the
outlines' color (224, 224, 192), does not count. The folder is the root, or one in ``VOCdevkit/``. Described at
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...utils.images import IMAGE_SUFFIXES
from ...utils.palette import voc_palette
from ...utils.text import first_line, first_values, shorten
from ..datasets.voc import CLASSES
from ..files.issue import Issue
from ..files.labels import INDEX_MODES, Color, Decoder, color_png, index_png, instance_png, open_raster
from ..files.layout import check_files_exist, list_files, read_ids
from ..instances import InstanceMaskDataset
from .source import BACKGROUND, Entry, ReadOptions, Source

OUTLINE: Color = (224, 224, 192)
IGNORED_INDEX = 255


def find(root: Path) -> str | None:
    """Return what shows that a folder is laid out as VOC; None if nothing does."""
    folder = _folder(root)
    return None if folder is None else f"{len(list_files(folder / 'SegmentationClass', ('.png',)))} label maps"


def open_source(root: Path) -> VocSource:
    """Open a folder laid out as VOC."""
    return VocSource(root)


class VocSource(Source):
    """Images with label maps in the layout of VOC."""

    name = "voc"

    def __init__(self, root: Path):
        folder = _folder(root)
        if folder is None:
            raise ValueError(f"VOC data must have the folders JPEGImages and SegmentationClass; {root} has not")
        images = {image.stem: image for image in list_files(folder / "JPEGImages", IMAGE_SUFFIXES)}
        masks = {mask.stem: mask for mask in list_files(folder / "SegmentationClass", (".png",))}
        split_of = _splits(folder)
        issues = [
            Issue("missing", folder / "JPEGImages", f"has no image {stem}, which is labeled or listed")
            for stem in sorted((masks.keys() | split_of.keys()) - images.keys())
        ]
        issues += [
            Issue("missing", folder / "SegmentationClass", f"has no {stem}.png, which is listed: it is left out", False)
            for stem in sorted(split_of.keys() - masks.keys())
        ]
        entries = [Entry(images[stem], mask, split_of.get(stem, "")) for stem, mask in masks.items() if stem in images]
        self.map = folder / "labelmap.txt"
        found = _read_labelmap(self.map) if self.map.is_file() else dict.fromkeys(CLASSES)
        colors = {name: color for name, color in found.items() if color}
        if 0 < len(colors) < len(found):
            raise ValueError(f"either all classes or none must have a color; in {self.map} only some have one")
        self._colors = colors or None
        super().__init__(root, tuple(found), entries, issues, colors, where=self.map)
        self.named = _named_objects(folder)
        self.objects = folder / "SegmentationObject"
        self.has_instances = self.objects.is_dir()  # type: ignore[misc]

    def class_names(self, options: ReadOptions) -> tuple[str, ...]:
        """Return the names of the classes; the background is one of them, as every pixel has a label."""
        if options.unlabeled != "background":
            raise ValueError(
                f"unlabeled is only supported for regions; in {self.root} (voc) every pixel has a label: leave it out"
            )
        other = [] if self.map.is_file() or options.classes else sorted(self.named - set(self.labels))
        if other:
            raise ValueError(
                f"the classes of VOC data must be known; {self.root} has objects {first_values(other)}, which are not "
                "VOC's, and no labelmap.txt: add it, or pass --classes in the order of the indices"
            )
        names = tuple(options.classes or self.labels)
        return names if self._colors is None or BACKGROUND in names else (BACKGROUND, *names)

    def decoder(self, options: ReadOptions) -> Decoder:
        """Return the function that reads a label map."""
        names, ignored = self.class_names(options), options.ignore_index
        if self._colors is None:
            colors = {color: k for k, color in enumerate(voc_palette(len(names)))}
        else:
            # Without a background in it, black stays one.
            known = {BACKGROUND: (0, 0, 0)} | self._colors
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"classes must be in {self.map}; it has no {unknown[0]!r}")
            colors = {known[name]: k for k, name in enumerate(names)}
        by_color = color_png({OUTLINE: ignored} | colors)
        return partial(_read_map, by_color=by_color, by_index=self._colors is None, ignored=ignored)

    def instances(self, split: str | None, options: ReadOptions) -> InstanceMaskDataset:
        """Open the instances of a split, from ``SegmentationObject``."""
        entries, names = self.of_split(split), self.class_names(options)
        if names[0] != BACKGROUND:
            raise ValueError(f"class 0 of instances must be the background; it is {names[0]!r}: put background first")
        data = InstanceMaskDataset(
            [entry.image for entry in entries],
            [self.objects / entry.key.name for entry in entries],
            names[1:],
            decode=_object_png,
            class_files=[entry.key for entry in entries],
            decode_classes=self.decoder(options),
        )
        check_files_exist(f"SegmentationObject of {self.root}", data.label_files)
        data.palette = tuple(self.palette(names) or voc_palette(len(names)))
        return data


def _folder(root: Path) -> Path | None:
    """Return the folder with images and label maps."""
    years = sorted((root / "VOCdevkit").glob("VOC*"), reverse=True)
    return next((f for f in (root, *years) if all((f / n).is_dir() for n in ("JPEGImages", "SegmentationClass"))), None)


def _splits(folder: Path) -> dict[str, str]:
    """Return the split of each listed image."""
    lists = folder / "ImageSets" / "Segmentation"
    files = {name: lists / f"{name}.txt" for name in ("train", "val", "test")}
    return {stem: name for name, file in files.items() if file.is_file() for stem in read_ids(file)}


def _read_labelmap(file: Path) -> dict[str, Color | None]:
    """Return the color of each class of a labelmap.txt, in order; None for one without a color.

    Raises:
        ValueError: a line that is none of it, or a name or a color twice.
    """
    colors: dict[str, Color | None] = {}
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        color = None
        if numbers := rest.split(":")[0]:
            try:
                red, green, blue = bytes(map(int, numbers.split(",")))
            except ValueError:
                raise ValueError(f"lines must be NAME:R,G,B::; in {file} one is {shorten(line)}") from None
            color = (red, green, blue)
        if name in colors or (color and color in colors.values()):
            raise ValueError(f"classes must have different names and colors; in {file} {shorten(line)} repeats one")
        colors[name] = color
    return colors


def _named_objects(folder: Path) -> set[str]:
    """Return the names of the objects in the XML files."""
    names: set[str] = set()
    annotations = folder / "Annotations"
    for file in list_files(annotations, (".xml",)) if annotations.is_dir() else []:
        try:
            root = ElementTree.parse(file).getroot()
        except (OSError, ElementTree.ParseError) as error:
            raise ValueError(f"VOC annotations must be XML; {file} cannot be read: {first_line(error)}") from None
        names |= {(item.findtext("name") or "").strip() for item in root.iter("object")}
    return names


def _read_map(path: Path, by_color: Decoder, by_index: bool, ignored: int) -> np.ndarray:
    """Read a label map by its indices, if it has some and they tell the classes, else by its colors."""
    if not (by_index and open_raster(path).mode in INDEX_MODES):
        return by_color(path)
    indices = index_png(path)
    return np.where(indices == IGNORED_INDEX, np.uint8(ignored), indices)


def _object_png(path: Path) -> np.ndarray:
    """Read an object map, by its indices or, of an RGB image, by VOC's colors of them; outlines are no instance."""
    if open_raster(path).mode in INDEX_MODES:
        numbers = instance_png(path)
        return np.where(numbers == IGNORED_INDEX, 0, numbers)
    return color_png({OUTLINE: 0} | {color: k for k, color in enumerate(voc_palette(IGNORED_INDEX))})(path)
