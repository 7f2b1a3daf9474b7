"""Cityscapes (Cordts et al., 2016): streets of 50 cities, 2048 x 1024, 19 classes.

Layout: ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` (2975 train, 500
val); for depth ``disparity/SPLIT/CITY/*_disparity.png`` and ``camera/SPLIT/CITY/*_camera.json`` as well. Label ids 0 ..
33 become the 19 train ids or are ignored (so is the licence plate, 255 in a file). The table of ids is that of the
publishers, as torchvision has it. Described at https://github.com/mcordts/cityscapesScripts.
Licence: non-commercial research and teaching, see https://www.cityscapes-dataset.com/license/.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torchvision.datasets import Cityscapes

from ...utils.choices import check_choice
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.depth import cityscapes_png
from ..files.labels import instance_png
from ..files.layout import check_files_exist, check_layout

_SCORED = sorted((row for row in Cityscapes.classes if 0 <= row.train_id < 255), key=lambda row: row.train_id)
CLASSES = tuple(row.name for row in _SCORED)
PALETTE = tuple(row.color for row in _SCORED)
IDS = {row.id % 256: row.train_id % 256 for row in Cityscapes.classes}

_TREE = "ROOT/{leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_labelIds.png}"
_DEPTH_TREE = "ROOT/{disparity/SPLIT/CITY/*_disparity.png, camera/SPLIT/CITY/*_camera.json}"


def cityscapes(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    depth: bool = False,
    instances: bool = False,
) -> SegmentationDataset:
    """Cityscapes, finely labelled, 19 classes.

    Args:
        root: folder that holds ``leftImg8bit`` and ``gtFine``.
        split: "train" or "val".
        depth: items have a "depth", baseline * focal length / disparity.
        instances: items have an "instance", int32 (H, W): label id * 1000 + number where objects are told apart, else
            0. The data set then has ``instance_sizes``, the mean size of each class' objects in pixels.
    """
    check_choice("the split of Cityscapes", split, ("train", "val"))
    root = Path(root)
    check_layout("Cityscapes", _TREE, root / "leftImg8bit" / split, root / "gtFine" / split)
    found = Cityscapes(root, split, target_type=["semantic", "instance"])
    triples = sorted((Path(image), *map(Path, files)) for image, files in zip(found.images, found.targets))
    images, masks, objects = map(list, zip(*triples)) if triples else ([], [], [])
    check_files_exist("Cityscapes", images, masks)
    layers = {}
    if depth:
        check_layout("Cityscapes' depth", _DEPTH_TREE, root / "disparity" / split, root / "camera" / split)
        near = [image.relative_to(root / "leftImg8bit") for image in images]
        files = [root / "disparity" / str(path).replace("_leftImg8bit", "_disparity") for path in near]
        check_files_exist("Cityscapes' disparity", files)
        layers["depth"] = ExtraMap(files, cityscapes_png)
    if instances:
        check_files_exist("Cityscapes' instances", objects)
        layers["instance"] = ExtraMap(objects, _objects)
    data = SegmentationDataset(images, masks, CLASSES, ids=IDS, palette=PALETTE, layers=layers, transform=transform)
    if instances:
        data.instance_sizes = {CLASSES.index(name): size for name, size in CITYSCAPES_SIZES.items()}
    return data


def _objects(path: Path) -> np.ndarray:
    """Ids of single objects; the publishers' file has the bare label id elsewhere, and for groups."""
    ids = instance_png(path)
    return np.where(ids < 1000, 0, ids)


# Mean sizes in pixels of the instances of Cityscapes, as its evaluation script has them
# (github.com/mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py).
CITYSCAPES_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
