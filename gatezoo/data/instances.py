"""Instances, each with a mask and a box, and the calling convention of torchvision's detectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import ops, tv_tensors

from ..utils.images import load_image
from ..utils.palette import voc_palette
from .base import Sample
from .files.labels import Decoder, index_png, instance_png


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
    """Data set of images with one instance map each, such as 16-bit PNGs: 0 = background, k = instance k.

    An item: "image" uint8 (3, H, W); "boxes" ``tv_tensors.BoundingBoxes`` float (N, 4), XYXY; "labels" int64 (N), 1 ..
    K, as 0 is the detectors' background; "masks" ``tv_tensors.Mask`` bool (N, H, W); "image_id", the index.
    The transform gets the instance map under "instance" in place of these: one map for any number of instances. An
    instance that it removes from the map is not in the item.

    Args:
        images: image files.
        label_files: their instance maps, in the same order.
        names: name of the one class; or of K classes, which ``class_files`` tell.
        decode: function that reads an instance map as whole numbers (H, W).
        transform: joint transform, item -> item.
        class_files: label maps with classes 1 .. K on the instances. An instance is of the class that most of its
            pixels have; one whose pixels have none of them is left out.
        decode_classes: function that reads a label map.
        read_image: function that reads an image file.

    Attributes:
        classes: "background" and the names: ``num_classes`` is K + 1.
    """

    def __init__(
        self,
        images: Sequence[Path],
        label_files: Sequence[Path],
        names: str | Sequence[str],
        decode: Decoder = instance_png,
        transform: Callable[[Sample], Sample] | None = None,
        *,
        class_files: Sequence[Path] = (),
        decode_classes: Decoder = index_png,
        read_image: Callable[[Path], Tensor] = load_image,
    ):
        self.images, self.label_files, self.class_files = list(images), list(label_files), list(class_files)
        self.classes = ("background", *([names] if isinstance(names, str) else names))
        self.num_classes = len(self.classes)
        if self.num_classes > 2 and not self.class_files:
            raise ValueError(
                f"instances of {self.num_classes - 1} classes must have class_files that tell them; got none"
            )
        self.palette = ((0, 0, 0), (255, 255, 255)) if self.num_classes == 2 else tuple(voc_palette(self.num_classes))
        self.transform = transform
        self._decode, self._decode_classes, self._read_image = decode, decode_classes, read_image

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image, path = self.images[index], self.label_files[index]
        numbers, class_of = self.numbered(index)
        sample = {"image": tv_tensors.Image(self._read_image(image)), "instance": tv_tensors.Mask(numbers)}
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
        labels = torch.tensor([class_of[k] for k in present.tolist() if k > 0], dtype=torch.int64)
        return sample | {"boxes": boxes, "labels": labels, "masks": tv_tensors.Mask(masks), "image_id": index}

    def numbered(self, index: int) -> tuple[Tensor, dict[int, int]]:
        """Return the instance map of an image, (H, W), and the class of each number in it.

        Raises:
            ValueError: a label map of another size, or with classes beyond K.
        """
        path = self.label_files[index]
        numbers = self._decode(path)
        found = np.unique(numbers[numbers > 0]).tolist()
        if not self.class_files:
            return torch.from_numpy(numbers), dict.fromkeys(found, 1)
        file = self.class_files[index]
        classes = self._decode_classes(file)
        if classes.shape != numbers.shape:
            raise ValueError(f"labels must have the size of their instances; {file} is {classes.shape}, {path} another")
        on_instances = (numbers > 0) & (classes > 0) & (classes != 255)
        if (highest := int(classes[on_instances].max(initial=0))) >= self.num_classes:
            raise ValueError(f"labels must be 0 .. {self.num_classes - 1} or 255 (ignored); {file} holds {highest}")
        pairs, pixels = np.unique(
            np.stack([numbers[on_instances], classes[on_instances]]).astype(np.int64), axis=1, return_counts=True
        )
        # In order of their pixels, so that the most frequent class of a number is the last.
        class_of = {int(pairs[0, i]): int(pairs[1, i]) for i in np.argsort(pixels, kind="stable")}
        numbers = np.where(np.isin(numbers, list(class_of)), numbers, 0)
        return torch.from_numpy(numbers), class_of

    def subset(self, indices: Iterable[int]) -> InstanceMaskDataset:
        """Return the data set of these images only, in this order."""
        part, indices = copy.copy(self), list(indices)
        part.images, part.label_files = ([files[i] for i in indices] for files in (self.images, self.label_files))
        if self.class_files:
            part.class_files = [self.class_files[i] for i in indices]
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
