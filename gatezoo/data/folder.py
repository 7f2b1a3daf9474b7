"""A folder of pictures and a folder of index PNGs: ``images/NAME.jpg`` with ``labels/NAME.png``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..pictures import PICTURE_SUFFIXES, open_picture


class FolderDataset(Dataset):
    """Pairs of picture and labels with the same stem.

    An item is ``(image, labels)``: uint8 (3, H, W) ``tv_tensors.Image`` and uint8 (H, W) ``tv_tensors.Mask``.

    Args:
        root: folder that holds ``images`` and ``labels``.
        num_classes: labels are 0 .. num_classes - 1.
        ignore_index: a further value, for pixels that do not count.
        transform: joint transform of (image, labels).

    Raises:
        ValueError: no pairs, or pictures without labels; on reading, labels of another size or outside the classes.
    """

    def __init__(
        self, root: str | os.PathLike, num_classes: int, ignore_index: int = 255, transform: Callable | None = None
    ):
        root = Path(root)
        images, labels = root / "images", root / "labels"
        if not (images.is_dir() and labels.is_dir()):
            raise ValueError(f"a data folder must hold the folders images and labels; {root} does not")
        pictures = sorted(path for path in images.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        self.pairs = [(picture, labels / f"{picture.stem}.png") for picture in pictures]
        without = [picture.name for picture, mask in self.pairs if not mask.is_file()]
        if without:
            raise ValueError(
                f"pictures need labels/STEM.png; {root} lacks {len(without)} of them, first for {without[0]}"
            )
        if not self.pairs:
            raise ValueError(f"a data folder must hold pictures; there is none in {images}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        picture, mask = self.pairs[index]
        image = tv_tensors.Image(open_picture(picture))
        labels = tv_tensors.Mask(self.labels(index))
        if image.shape[-2:] != labels.shape:
            raise ValueError(
                f"labels must have the size of their picture; {mask} is {tuple(labels.shape)}, "
                f"{picture.name} {tuple(image.shape[-2:])}"
            )
        return self.transform(image, labels) if self.transform else (image, labels)

    def labels(self, index: int) -> torch.Tensor:
        """Labels (H, W), uint8, checked against the classes: the message names file and value."""
        path = self.pairs[index][1]
        with Image.open(path) as file:
            if file.mode not in ("L", "P"):
                raise ValueError(f"labels must be an index PNG (mode L or P); {path} has mode {file.mode}")
            labels = np.array(file)
        wrong = (labels >= self.num_classes) & (labels != self.ignore_index)
        if wrong.any():
            raise ValueError(
                f"labels must be 0 .. {self.num_classes - 1} or {self.ignore_index} (ignored); "
                f"{path} holds {labels[wrong][0]}: set num_classes or ignore_index, or mend the file"
            )
        return torch.from_numpy(labels)

    def frequencies(self) -> torch.Tensor:
        """Share of each class among the labelled pixels: (num_classes,), sums to 1."""
        counts = torch.zeros(256, dtype=torch.long)
        for index in range(len(self)):
            counts += torch.bincount(self.labels(index).flatten(), minlength=256)
        counts = counts[: self.num_classes].double()
        return counts / counts.sum()
