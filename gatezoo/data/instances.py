"""Instances, each with a mask and a box, and the calling convention of torchvision's detectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import ops, tv_tensors

from ..utils.images import load_image
from .base import Sample
from .files.labels import Decoder, instance_png


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Compute the smallest boxes around masks (N, H, W): float (N, 4), XYXY.

    Unlike in torchvision, the right and bottom edges lie behind the last pixel; an empty mask has the box 0, 0, 0, 0.
    """
    masks = masks.as_subclass(Tensor) != 0
    boxes = masks.new_zeros((len(masks), 4), dtype=torch.float32)
    not_empty = masks.flatten(1).any(1)
    if not_empty.any():
        boxes[not_empty] = ops.masks_to_boxes(masks[not_empty]) + boxes.new_tensor([0, 0, 1, 1])
    return boxes


class InstanceMaskDataset(Dataset):
    """Data set of images with one instance map each, such as 16-bit PNGs: 0 = background, k = instance k. One class.

    An item: "image" uint8 (3, H, W); "boxes" ``tv_tensors.BoundingBoxes`` float (N, 4), XYXY; "labels" int64 (N), all
    1, as 0 is the detectors' background; "masks" ``tv_tensors.Mask`` bool (N, H, W); "image_id", the index.
    The transform gets the instance map under "instance" in place of these: one map for any number of instances. An
    instance that it removes from the map is not in the item.

    Args:
        images: image files.
        label_files: their instance maps, in the same order.
        name: name of the class.
        decode: function that reads an instance map as whole numbers (H, W).
        transform: joint transform, item -> item.

    Attributes:
        classes: "background" and the name: ``num_classes`` is 2.
    """

    def __init__(
        self,
        images: Sequence[Path],
        label_files: Sequence[Path],
        name: str,
        decode: Decoder = instance_png,
        transform: Callable[[Sample], Sample] | None = None,
    ):
        self.images, self.label_files = list(images), list(label_files)
        self.classes, self.num_classes = ("background", name), 2
        self.palette = ((0, 0, 0), (255, 255, 255))
        self.transform = transform
        self._decode = decode

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image, path = self.images[index], self.label_files[index]
        numbers = torch.from_numpy(self._decode(path))
        sample = {"image": tv_tensors.Image(load_image(image)), "instance": tv_tensors.Mask(numbers)}
        if numbers.shape != sample["image"].shape[-2:]:
            raise ValueError(
                f"instances must have the size of their image; {path} is {tuple(numbers.shape)}, "
                f"{image.name} {tuple(sample['image'].shape[-2:])}"
            )
        sample = self.transform(sample) if self.transform else sample
        numbers = sample.pop("instance").as_subclass(Tensor)
        present = numbers.unique()
        masks = numbers == present[present > 0][:, None, None]
        boxes = tv_tensors.BoundingBoxes(masks_to_boxes(masks), format="XYXY", canvas_size=tuple(numbers.shape))
        labels = torch.ones(len(masks), dtype=torch.int64)
        return sample | {"boxes": boxes, "labels": labels, "masks": tv_tensors.Mask(masks), "image_id": index}

    def subset(self, indices: Iterable[int]) -> InstanceMaskDataset:
        """Return the data set of these images only, in this order."""
        part, indices = copy.copy(self), list(indices)
        part.images, part.label_files = ([files[i] for i in indices] for files in (self.images, self.label_files))
        return part


def detection_collate(samples: Sequence[Sample]) -> tuple[list[Tensor], list[Sample]]:
    """Collate items into (images, targets), the lists that torchvision's detectors take: a ``collate_fn``.

    Crowds, which are no single instances, are left out.
    """
    targets = []
    for sample in samples:
        single = sample.get("iscrowd", torch.zeros_like(sample["labels"])) == 0
        target = {key: value for key, value in sample.items() if key not in ("image", "iscrowd")}
        for key in ("boxes", "labels", "masks"):
            target[key] = tv_tensors.wrap(target[key].as_subclass(Tensor)[single], like=target[key])
        targets.append(target)
    return [sample["image"] for sample in samples], targets
