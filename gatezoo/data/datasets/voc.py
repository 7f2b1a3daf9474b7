"""Reader of PASCAL VOC 2012 (Everingham et al.), and its training set augmented by SBD (Hariharan et al., 2011).

Layout: ``VOCdevkit/VOC2012/{JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val,trainval}.txt}``. Labels
are palette PNGs, 0 = background, 1 .. 20 the other classes, 255 = outlines and difficult objects, ignored. 1464, 1449
and 2913 images. The labels of test (1456 images, an archive of its own with ``test.txt``) are secret. Described at
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.

"train_aug" (10582 images) adds the labels of SBD outside of val, from either

- ``VOCdevkit/VOC2012/SegmentationClassAug/*.png``, labels of both data sets merged, as passed on since DeepLab;
- ``sbd``, SBD itself: ``img/*.jpg``, ``cls/*.mat`` (variable ``GTcls.Segmentation``), ``train.txt`` and ``val.txt``;
  VOC's labels are used for VOC's images.

License: images under Flickr's terms; no license stated for the labels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torchvision.datasets import SBDataset, VOCSegmentation

from ...utils.choices import check_choice
from ...utils.optional import require_package
from ...utils.palette import voc_palette
from ..base import Sample, SegmentationDataset
from ..files.labels import Decoder, index_png
from ..files.layout import check_files_exist, check_layout, list_files, read_ids
from ..files.matlab import mat_file
from ..unlabeled import UnlabeledDataset

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
PALETTE = tuple(voc_palette(len(CLASSES)))

_TREE = "ROOT/VOCdevkit/VOC2012/{JPEGImages, SegmentationClass, ImageSets/Segmentation/*.txt}"
_SBD_TREE = "SBD/{img/*.jpg, cls/*.mat, train.txt, val.txt}"


def voc12(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    sbd: str | os.PathLike | None = None,
) -> SegmentationDataset:
    """Open PASCAL VOC 2012, 21 classes.

    Args:
        root: folder that holds ``VOCdevkit``.
        split: "train", "val", "trainval", "train_aug" or "test", images without labels.
        transform: joint transform of an item.
        sbd: folder of SBD, for "train_aug"; default: ``SegmentationClassAug``.
    """
    check_choice("the split of PASCAL VOC 2012", split, ("train", "val", "trainval", "train_aug", "test"))
    voc = Path(root) / "VOCdevkit" / "VOC2012"
    lists = voc / "ImageSets" / "Segmentation"
    if split == "test":
        check_layout("PASCAL VOC 2012", _TREE, voc / "JPEGImages", lists / "test.txt")
        images = [voc / "JPEGImages" / f"{name}.jpg" for name in read_ids(lists / "test.txt")]
        check_files_exist("PASCAL VOC 2012", images)
        return UnlabeledDataset(
            "the test split of PASCAL VOC 2012", images, CLASSES, palette=PALETTE, transform=transform
        )
    check_layout(
        "PASCAL VOC 2012", _TREE, voc / "JPEGImages", voc / "SegmentationClass", lists / "train.txt", lists / "val.txt"
    )
    decode: Decoder = index_png
    if split == "train_aug":
        images, masks = _merged(voc, lists) if sbd is None else _with_sbd(voc, lists, Path(sbd))
        decode = _png_or_sbd
    else:
        files = VOCSegmentation(root, image_set=split)
        images, masks = list(map(Path, files.images)), list(map(Path, files.masks))
    check_files_exist("PASCAL VOC 2012", images, masks)
    return SegmentationDataset(images, masks, CLASSES, decode=decode, palette=PALETTE, transform=transform)


def _merged(voc: Path, lists: Path) -> tuple[list[Path], list[Path]]:
    """Return the images and labels of ``SegmentationClassAug`` outside of val."""
    folder = voc / "SegmentationClassAug"
    check_layout("the augmented PASCAL VOC 2012", f"{_TREE} and SegmentationClassAug/*.png, or with sbd=SBD", folder)
    held_out = set(read_ids(lists / "val.txt"))
    masks = [mask for mask in list_files(folder, (".png",)) if mask.stem not in held_out]
    return [voc / "JPEGImages" / f"{mask.stem}.jpg" for mask in masks], masks


def _with_sbd(voc: Path, lists: Path, sbd: Path) -> tuple[list[Path], list[Path]]:
    """Return the images and labels of VOC's training set, and those of SBD that are not of VOC."""
    require_package("scipy", "SBD's labels")
    check_layout("SBD", _SBD_TREE, *(sbd / name for name in ("img", "cls", "train.txt", "val.txt")))
    names = read_ids(lists / "train.txt")
    excluded = {*names, *read_ids(lists / "val.txt")}
    pairs = [(voc / "JPEGImages" / f"{name}.jpg", voc / "SegmentationClass" / f"{name}.png") for name in names]
    for part in ("train", "val"):
        files = SBDataset(sbd, image_set=part, mode="segmentation")
        sbd_pairs = zip(map(Path, files.images), map(Path, files.masks))
        pairs += [(image, mask) for image, mask in sbd_pairs if mask.stem not in excluded]
    images, masks = zip(*sorted(pairs, key=lambda pair: pair[0].stem))
    return list(images), list(masks)


_sbd_mat = mat_file("GTcls.Segmentation")


def _png_or_sbd(path: Path) -> np.ndarray:
    return _sbd_mat(path) if path.suffix == ".mat" else index_png(path)
