"""Reader of Stanford 2D-3D-Semantics (Armeni et al., 2017): six areas of offices, 13 classes, depth.

Layout: ``area_*/pano/{rgb,semantic,depth}/*_{rgb,semantic,depth}.png`` (panoramas, 4096 x 2048), the same in
``area_*/data`` (1080 x 1080), and ``assets/semantic_labels.json``. A pixel of ``semantic`` is the color
R 65536 + G 256 + B = index in that list of object names ("beam_10_hallway_6_1"), whose first word is the class; <UNK>,
and #0D0D0D where the scan has a hole, are ignored. Depth: metres = value / 512, 65535 = missing; along the ray in
panoramas, along the axis otherwise.
Described at https://github.com/alexsax/2D-3D-Semantics. License: the publishers' terms, non-commercial.

Splits: "train" and "val" are those of the depth-gating paper (Sec. 6.1: areas 3 and 4 for validation), "trainval" is
all areas; "fold1_train", "fold1_val" and so on are those of the publishers' three folds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import check_choice
from ...utils.palette import voc_palette
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.depth import scaled_png
from ..files.labels import packed_colors
from ..files.layout import check_files_exist, check_layout, list_files

CLASSES = (
    "beam", "board", "bookcase", "ceiling", "chair", "clutter", "column", "door", "floor", "sofa", "table", "wall",
    "window",
)  # fmt: skip
PALETTE = tuple(voc_palette(len(CLASSES) + 1)[1:])
HOLE = 0x0D0D0D

_AREAS = ("1", "2", "3", "4", "5a", "5b", "6")
_HELD_OUT = {"": ("3", "4"), "fold1_": ("5a", "5b"), "fold2_": ("2", "4"), "fold3_": ("1", "3", "6")}
SPLITS = (
    {"trainval": _AREAS}
    | {f"{fold}val": areas for fold, areas in _HELD_OUT.items()}
    | {f"{fold}train": tuple(area for area in _AREAS if area not in areas) for fold, areas in _HELD_OUT.items()}
)

# Rows 160 .. 863 of the 1024 of a panorama at half its size.
STRIP = (160 / 1024, 864 / 1024)

_TREE = "ROOT/{assets/semantic_labels.json, area_*/{pano,data}/{rgb,semantic,depth}/*.png}"


def stanford2d3d(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    kind: str = "pano",
    depth: bool = False,
    strip: bool = False,
) -> SegmentationDataset:
    """Open Stanford 2D-3D-Semantics, 13 classes.

    Args:
        root: folder that holds ``assets`` and the areas.
        split: a key of ``SPLITS``.
        transform: joint transform of an item.
        kind: "pano" for panoramas, "data" for ordinary views.
        depth: items have a "depth".
        strip: items have half their size and rows 160 .. 863 of 1024 alone, 704 x 2048, as in the depth-gating paper
            (Sec. 6.1): top and bottom of a panorama are void. Depths are unchanged.

    Raises:
        ValueError: also ``strip`` of ordinary views.
    """
    areas = SPLITS[check_choice("the split of Stanford 2D-3D-S", split, SPLITS)]
    check_choice("the kind of image", kind, ("pano", "data"))
    if strip and kind != "pano":
        raise ValueError(f"strip must be of panoramas; got kind={kind!r}: leave it out")
    root = Path(root)
    names = root / "assets" / "semantic_labels.json"
    folders = [root / f"area_{area}" / kind for area in sorted(areas)]
    check_layout(
        "Stanford 2D-3D-S", _TREE, names, *(folder / part for folder in folders for part in ("rgb", "semantic"))
    )
    images = [path for folder in folders for path in list_files(folder / "rgb", (".png",))]
    masks = [_map_file(path, "semantic") for path in images]
    check_files_exist("Stanford 2D-3D-S", images, masks)
    layers = {}
    if depth:
        layers["depth"] = ExtraMap([_map_file(path, "depth") for path in images], scaled_png(1 / 512, (0, 65535)))
        check_files_exist("Stanford 2D-3D-S' depth", layers["depth"].files)
    data = SegmentationDataset(
        images,
        masks,
        CLASSES,
        decode=packed_colors,
        ids=_ids(names),
        palette=PALETTE,
        layers=layers,
        transform=transform,
    )
    return data.downsampled().cropped(STRIP) if strip else data


def _map_file(image: Path, part: str) -> Path:
    """Return the file of a map ("semantic" or "depth") of an image."""
    return image.parents[1] / part / f"{image.name.removesuffix('rgb.png')}{part}.png"


def _ids(file: Path) -> dict[int, int]:
    """Return the class of each index of the list of object names, by their first words."""
    try:
        classes = [name.split("_")[0] for name in json.loads(file.read_text(encoding="utf-8"))]
        return {HOLE: 255} | {
            index: 255 if name == "<UNK>" else CLASSES.index(name) for index, name in enumerate(classes)
        }
    except (ValueError, AttributeError) as error:
        raise ValueError(f"semantic_labels.json must list objects as CLASS_...; {file} fails at {error}") from None
