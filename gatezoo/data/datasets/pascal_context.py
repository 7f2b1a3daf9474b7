"""Reader of PASCAL Context (Mottaghi et al., 2014): whole scenes of PASCAL VOC 2010 with the usual 59 classes.

Layout: the images and lists of VOC 2010 in ``VOCdevkit/VOC2010/{JPEGImages, ImageSets/Main/{train,val}.txt}`` (4998
and 5105 images), the labels in ``trainval/*.mat`` (variable ``LabelMap``, ids 1 .. 459, 0 where nothing was drawn),
and ``labels.txt``, the names of the ids ("2: aeroplane"). Described at
https://cs.stanford.edu/~roozbeh/pascal-context/.

``CLASSES`` follow ``59_labels.txt`` of the publishers, the 20 classes of VOC first; tools built on the "Detail"
interface have them in alphabetical order. All other ids are ignored, or class 0 with ``background=True``.
License: images under Flickr's terms; no license stated for the labels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import check_choice
from ...utils.optional import require_package
from ...utils.palette import voc_palette
from ..base import Sample, SegmentationDataset
from ..files.layout import TRAIN_VAL, check_files_exist, check_layout, read_ids
from ..files.matlab import mat_file

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor", "bag", "bed", "bench",
    "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door", "fence", "floor", "flower",
    "food", "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform", "sign", "plate",
    "road", "rock", "shelves", "sidewalk", "sky", "snow", "bedcloth", "track", "tree", "truck", "wall", "water",
    "window", "wood",
)  # fmt: skip
PALETTE = tuple(voc_palette(len(CLASSES) + 1)[1:])

# Three classes have another name among the 459.
_NAMES_IN_LABELS = {"diningtable": "table", "clothes": "cloth", "bedcloth": "bedclothes"}

_TREE = "ROOT/{VOCdevkit/VOC2010/{JPEGImages, ImageSets/Main/*.txt}, trainval/*.mat, labels.txt}"


def pascal_context(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    background: bool = False,
) -> SegmentationDataset:
    """Open PASCAL Context, 59 classes.

    Args:
        root: folder that holds ``VOCdevkit``, ``trainval`` and ``labels.txt``.
        split: "train", "val" or "trainval", both of them.
        transform: joint transform of an item.
        background: 60 classes: 0 is everything else, and class k becomes k + 1.
    """
    parts = TRAIN_VAL[check_choice("the split of PASCAL Context", split, TRAIN_VAL)]
    require_package("scipy", "PASCAL Context's labels")
    root = Path(root)
    voc = root / "VOCdevkit" / "VOC2010"
    names, name_lists = root / "labels.txt", [voc / "ImageSets" / "Main" / f"{part}.txt" for part in parts]
    check_layout("PASCAL Context", _TREE, voc / "JPEGImages", *name_lists, root / "trainval", names)
    stems = [stem for name_list in name_lists for stem in read_ids(name_list)]
    images = [voc / "JPEGImages" / f"{stem}.jpg" for stem in stems]
    masks = [root / "trainval" / f"{stem}.mat" for stem in stems]
    check_files_exist("PASCAL Context", images, masks)
    return SegmentationDataset(
        images,
        masks,
        ("background", *CLASSES) if background else CLASSES,
        decode=mat_file("LabelMap"),
        ids=_ids(names, background),
        palette=((0, 0, 0), *PALETTE) if background else PALETTE,
        transform=transform,
    )


def _ids(file: Path, background: bool) -> dict[int, int]:
    """Return the class of each of the 459 ids, by their names."""
    try:
        pairs = (line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        id_of_name = {name.strip(): int(label_id) for label_id, name in pairs}
        ids = [id_of_name[_NAMES_IN_LABELS.get(name, name)] for name in CLASSES]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"labels.txt must name the 459 ids, a line each as '2: aeroplane'; {file} fails at {error}"
        ) from None
    rest = 0 if background else 255
    return dict.fromkeys((0, *id_of_name.values()), rest) | {
        label_id: k for k, label_id in enumerate(ids, start=int(background))
    }
