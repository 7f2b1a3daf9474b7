"""Reader of COCO-Stuff 10k, version 1.1 (Caesar et al., 2018): 80 things and 91 kinds of stuff.

Layout: ``images/*.jpg``, ``annotations/*.mat`` (variable ``S``), ``imageLists/{train,test}.txt`` (9000 and 1000). Ids:
0 unlabeled, ignored; 1 .. 91 things with COCO's ids, of which 11 were given up and never occur; 92 .. 182 stuff. The
171 classes are the remaining ids in order. Version 1.0 counts from 1 and is not supported. Described at
https://github.com/nightrome/cocostuff10k and, the ids, https://github.com/nightrome/cocostuff/blob/master/labels.txt.
License: images under Flickr's terms, annotations CC BY 4.0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import check_choice
from ...utils.optional import require_package
from ...utils.palette import voc_palette
from ..base import Sample, SegmentationDataset
from ..files.layout import check_files_exist, check_layout, read_ids
from ..files.matlab import mat_file

_THINGS = (
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|"
    "parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|"
    "handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|"
    "surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|"
    "broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|toilet|tv|"
    "laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|"
    "scissors|teddy bear|hair drier|toothbrush"
)
_STUFF = (
    "banner|blanket|branch|bridge|building-other|bush|cabinet|cage|cardboard|carpet|ceiling-other|"
    "ceiling-tile|cloth|clothes|clouds|counter|cupboard|curtain|desk-stuff|dirt|door-stuff|fence|"
    "floor-marble|floor-other|floor-stone|floor-tile|floor-wood|flower|fog|food-other|fruit|"
    "furniture-other|grass|gravel|ground-other|hill|house|leaves|light|mat|metal|mirror-stuff|moss|"
    "mountain|mud|napkin|net|paper|pavement|pillow|plant-other|plastic|platform|playingfield|railing|"
    "railroad|river|road|rock|roof|rug|salad|sand|sea|shelf|sky-other|skyscraper|snow|solid-other|"
    "stairs|stone|straw|structural-other|table|tent|textile-other|towel|tree|vegetable|wall-brick|"
    "wall-concrete|wall-other|wall-panel|wall-stone|wall-tile|wall-wood|water-other|waterdrops|"
    "window-blind|window-other|wood"
)
CLASSES = tuple(f"{_THINGS}|{_STUFF}".split("|"))
PALETTE = tuple(voc_palette(len(CLASSES) + 1)[1:])

# Street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush.
GIVEN_UP = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_USED = [label_id for label_id in range(1, 183) if label_id not in GIVEN_UP]
IDS = dict.fromkeys((0, *GIVEN_UP), 255) | {label_id: k for k, label_id in enumerate(_USED)}

_TREE = "ROOT/{images/*.jpg, annotations/*.mat, imageLists/{train,test}.txt}"


def cocostuff10k(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> SegmentationDataset:
    """Open COCO-Stuff 10k, 171 classes.

    Args:
        root: folder that holds ``images``, ``annotations`` and ``imageLists``.
        split: "train" or "test".
        transform: joint transform of an item.
    """
    check_choice("the split of COCO-Stuff 10k", split, ("train", "test"))
    require_package("scipy", "COCO-Stuff's labels")
    root = Path(root)
    name_list = root / "imageLists" / f"{split}.txt"
    check_layout("COCO-Stuff 10k", _TREE, root / "images", root / "annotations", name_list)
    stems = read_ids(name_list)
    images, masks = [root / "images" / f"{s}.jpg" for s in stems], [root / "annotations" / f"{s}.mat" for s in stems]
    check_files_exist("COCO-Stuff 10k", images, masks)
    return SegmentationDataset(
        images, masks, CLASSES, decode=mat_file("S"), ids=IDS, palette=PALETTE, transform=transform
    )
