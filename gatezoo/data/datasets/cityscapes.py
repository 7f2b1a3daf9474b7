"""Reader of Cityscapes (Cordts et al., 2016): streets of 50 cities, 2048 x 1024, 19 classes.

Layout: ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` (2975 train, 500
val); for depth also ``disparity/SPLIT/CITY/*_disparity.png`` and ``camera/SPLIT/CITY/*_camera.json``. Label ids 0 .. 33
become the 19 train ids or are ignored (so is the license plate, 255 in a file). The table of ids is the publishers',
as torchvision has it. The labels of test (1525 images) are secret: the files of that name in ``gtFine`` are blank and
are not read. Described at https://github.com/mcordts/cityscapesScripts.
License: non-commercial research and teaching, see https://www.cityscapes-dataset.com/license/.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torchvision.datasets import Cityscapes

from ...utils.choices import check_choice
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.depth import cityscapes_png
from ..files.labels import instance_png
from ..files.layout import TRAIN_VAL, check_files_exist, check_layout, list_files, list_paths
from ..unlabeled import UnlabeledDataset

_SCORED = sorted((row for row in Cityscapes.classes if 0 <= row.train_id < 255), key=lambda row: row.train_id)
CLASSES = tuple(row.name for row in _SCORED)
PALETTE = tuple(row.color for row in _SCORED)
IDS = {row.id % 256: row.train_id % 256 for row in Cityscapes.classes}
# Label id of each class: what the evaluation server takes.
LABEL_IDS = tuple(row.id for row in _SCORED)

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
    """Open Cityscapes with its fine labels, 19 classes.

    Args:
        root: folder that holds ``leftImg8bit`` and ``gtFine``.
        split: "train", "val", "trainval", both of them, or "test", images without labels.
        transform: joint transform of an item.
        depth: items have a "depth", baseline * focal length / disparity.
        instances: items have an "instance", int32 (H, W): label id * 1000 + number on single instances, else 0. The
            data set then has ``instance_sizes``, the mean size in pixels of the instances of each class.
    """
    check_choice("the split of Cityscapes", split, (*TRAIN_VAL, "test"))
    root = Path(root)
    if split == "test":
        return _test(root, transform, depth, instances)
    triples = [triple for part in TRAIN_VAL[split] for triple in _labeled_files(root, part)]
    images, masks, instance_maps = map(list, zip(*triples)) if triples else ([], [], [])
    check_files_exist("Cityscapes", images, masks)
    layers = {"depth": _depth(root, images)} if depth else {}
    if instances:
        check_files_exist("Cityscapes' instances", instance_maps)
        layers["instance"] = ExtraMap(instance_maps, _single_instances)
    data = SegmentationDataset(images, masks, CLASSES, ids=IDS, palette=PALETTE, layers=layers, transform=transform)
    if instances:
        data.instance_sizes = {CLASSES.index(name): size for name, size in CITYSCAPES_SIZES.items()}
    return data


def _labeled_files(root: Path, part: str) -> list[tuple[Path, ...]]:
    """Return image, label map and instance map of every image of "train" or "val", in order of the images."""
    check_layout("Cityscapes", _TREE, root / "leftImg8bit" / part, root / "gtFine" / part)
    files = Cityscapes(root, part, target_type=["semantic", "instance"])
    return sorted((Path(image), *map(Path, targets)) for image, targets in zip(files.images, files.targets))


def _test(
    root: Path, transform: Callable[[Sample], Sample] | None, depth: bool, instances: bool
) -> SegmentationDataset:
    """Open the images of "test"."""
    if instances:
        raise ValueError("instances must be left out of the test split of Cityscapes, which has no labels; got True")
    folder = root / "leftImg8bit" / "test"
    check_layout("Cityscapes", _TREE, folder)
    cities = sorted(path for path in list_paths(folder) if path.is_dir())
    images = [path for city in cities for path in list_files(city, (".png",))]
    check_files_exist("Cityscapes", images)
    layers = {"depth": _depth(root, images)} if depth else {}
    return UnlabeledDataset(
        "the test split of Cityscapes", images, CLASSES, palette=PALETTE, layers=layers, transform=transform
    )


def _depth(root: Path, images: Sequence[Path]) -> ExtraMap:
    """Return the depth of images, from their disparity."""
    names = [image.relative_to(root / "leftImg8bit") for image in images]
    for part in sorted({name.parts[0] for name in names}):
        check_layout("Cityscapes' depth", _DEPTH_TREE, root / "disparity" / part, root / "camera" / part)
    files = [root / "disparity" / str(name).replace("_leftImg8bit", "_disparity") for name in names]
    check_files_exist("Cityscapes' disparity", files)
    return ExtraMap(files, cityscapes_png)


def _single_instances(path: Path) -> np.ndarray:
    """Read the ids of single instances; the publishers' file has the bare label id elsewhere, and for groups."""
    ids = instance_png(path)
    return np.where(ids < 1000, 0, ids)


# Mean sizes in pixels of the instances of Cityscapes, from its evaluation script
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
