"""Reader of ADE20K as the SceneParsing150 benchmark (Zhou et al., 2017): 150 classes, indoors and outdoors.

Layout: ``images/{training,validation}/*.jpg`` and ``annotations/{training,validation}/*.png`` (20210 and 2000). Ids: 0
= other objects, ignored; 1 .. 150 become classes 0 .. 149. The labels of test (3352 images, an archive of its own,
``release_test/testing/*.jpg`` in that folder or beside it) are secret. Described at
https://github.com/CSAILVision/sceneparsing: the names are the first of each line of its ``objectInfo150.txt``, the
colors those of its ``color150.mat``.
License: annotations BSD-3-Clause, images for non-commercial research.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import check_choice
from ..base import Sample, SegmentationDataset, ids_from_one
from ..files.labels import Color
from ..files.layout import check_files_exist, check_layout, list_files
from ..unlabeled import UnlabeledDataset

_NAMES = (
    "wall|building|sky|floor|tree|ceiling|road|bed|windowpane|grass|cabinet|sidewalk|person|"
    "earth|door|table|mountain|plant|curtain|chair|car|water|painting|sofa|shelf|house|sea|"
    "mirror|rug|field|armchair|seat|fence|desk|rock|wardrobe|lamp|bathtub|railing|cushion|base|"
    "box|column|signboard|chest of drawers|counter|sand|sink|skyscraper|fireplace|refrigerator|"
    "grandstand|path|stairs|runway|case|pool table|pillow|screen door|stairway|river|bridge|"
    "bookcase|blind|coffee table|toilet|flower|book|hill|bench|countertop|stove|palm|"
    "kitchen island|computer|swivel chair|boat|bar|arcade machine|hovel|bus|towel|light|truck|"
    "tower|chandelier|awning|streetlight|booth|television|airplane|dirt track|apparel|pole|land|"
    "bannister|escalator|ottoman|bottle|buffet|poster|stage|van|ship|fountain|conveyer belt|"
    "canopy|washer|plaything|swimming pool|stool|barrel|basket|waterfall|tent|bag|minibike|cradle|"
    "oven|ball|food|step|tank|trade name|microwave|pot|animal|bicycle|lake|dishwasher|screen|"
    "blanket|sculpture|hood|sconce|vase|traffic light|tray|ashcan|fan|pier|crt screen|plate|"
    "monitor|bulletin board|shower|radiator|glass|clock|flag"
)
CLASSES = tuple(_NAMES.split("|"))
_COLORS = (
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652 "
    "8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 "
    "ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff "
    "8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff "
    "00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff "
    "ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff "
    "00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 "
    "5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 "
    "0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff "
    "b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff "
)
PALETTE: tuple[Color, ...] = tuple((red, green, blue) for red, green, blue in map(bytes.fromhex, _COLORS.split()))

_PARTS = {
    "train": ("training",),
    "val": ("validation",),
    "trainval": ("training", "validation"),
    "training": ("training",),
    "validation": ("validation",),
    "test": (),
}
_TREE = "ROOT/{images/{training,validation}/*.jpg, annotations/{training,validation}/*.png}"


def ade20k(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> SegmentationDataset:
    """Open ADE20K, SceneParsing150.

    Args:
        root: the unpacked ``ADEChallengeData2016``.
        split: "train", "val", "trainval", both of them, or the names of the folders; or "test", without labels.
        transform: joint transform of an item.
    """
    parts, root = _PARTS[check_choice("the split of ADE20K", split, _PARTS)], Path(root)
    if split == "test":
        inside, beside = root / "release_test" / "testing", root.parent / "release_test" / "testing"
        folder = beside if beside.is_dir() and not inside.is_dir() else inside
        check_layout("ADE20K (SceneParsing150)", "ROOT/release_test/testing/*.jpg", folder)
        images = list_files(folder, (".jpg",))
        check_files_exist("ADE20K (SceneParsing150)", images)
        return UnlabeledDataset("the test split of ADE20K", images, CLASSES, palette=PALETTE, transform=transform)
    check_layout(
        "ADE20K (SceneParsing150)", _TREE, *(root / kind / part for part in parts for kind in ("images", "annotations"))
    )
    images = [image for part in parts for image in list_files(root / "images" / part, (".jpg",))]
    masks = [root / "annotations" / image.parent.name / f"{image.stem}.png" for image in images]
    check_files_exist("ADE20K (SceneParsing150)", images, masks)
    return SegmentationDataset(
        images, masks, CLASSES, ids=ids_from_one(len(CLASSES)), palette=PALETTE, transform=transform
    )
