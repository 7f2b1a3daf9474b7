"""Predictions in the files that the evaluation servers of data sets take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.base import SegmentationDataset
from ..data.create import create_dataset
from ..data.datasets.cityscapes import LABEL_IDS
from ..utils.choices import check_choice
from ..utils.files import atomic_write, check_outputs, ensure_dir
from ..utils.progress import Progress
from ..visualization.figures import index_image
from .data_classes import check_class_names, check_num_classes
from .image_files import error_context
from .predictor import Predictor


@dataclass(frozen=True)
class Submission:
    """The files that a server takes: a PNG of each image, with its stem as their name.

    Attributes:
        folder: that holds them, in the output folder; it may contain ``{split}``.
        ids: value of each class in the files, 8 bits without a palette; None: the class, with the data set's palette.
    """

    folder: str
    ids: Sequence[int] | None = None


# By the name of the data set's reader.
#
# Cityscapes: label ids, not train ids, in files whose names begin as those of the images do (CITY_123456_123456), in
# one folder; as evalPixelLevelSemanticLabeling.py of github.com/mcordts/cityscapesScripts finds them.
# PASCAL VOC 2012: palette PNGs in the folder of the development kit, Sec. 5.3; "comp6" is the competition of networks
# that were trained on more than VOC's own data, such as ImageNet.
SUBMISSIONS = {
    "cityscapes": Submission("", LABEL_IDS),
    "voc12": Submission("results/VOC2012/Segmentation/comp6_{split}_cls"),
}


def open_submission(
    predictor: Predictor, name: str, root: str | os.PathLike, split: str = "test"
) -> SegmentationDataset:
    """Open the images that a submission consists of, with their depth for a network that takes it.

    Args:
        predictor: of the network.
        name: a key of ``SUBMISSIONS``.
        root: folder of the data set.
        split: of the data set; its labels are not read.

    Raises:
        ValueError: an unknown name or split, a folder of another layout, or classes that are not the network's.
    """
    check_choice("a submission", name, SUBMISSIONS)
    options: dict[str, Any] = {"depth": True} if predictor.model.takes_depth else {}
    data = create_dataset(name, root, split, **options)
    assert isinstance(data, SegmentationDataset)
    check_num_classes(predictor.model, data)
    check_class_names(predictor.model, data)
    return data


def write_submission(
    predictor: Predictor,
    name: str,
    root: str | os.PathLike,
    out: str | os.PathLike,
    *,
    split: str = "test",
    progress: Progress | None = None,
) -> Iterator[tuple[Path, Path]]:
    """Predict a split of a data set into the files that its evaluation server takes, in the data set's order.

    All paths are checked before the first image is read. Each file is written atomically.

    Args:
        predictor: of the network, in any mode.
        name: a key of ``SUBMISSIONS``.
        root: folder of the data set.
        out: folder of the files; made if it does not exist.
        split: of the data set.
        progress: reports progress.

    Yields:
        Each image and the file that was written for it.

    Raises:
        ValueError: see :func:`open_submission`; a file exists already, or cannot be written; an image cannot be
            predicted.
    """
    data, submission = open_submission(predictor, name, root, split), SUBMISSIONS[name]
    folder = Path(out) / submission.folder.format(split=split)
    files = [folder / f"{image.stem}.png" for image in data.images]
    check_outputs(zip(files, data.images), data.images)
    for file in files:
        if os.path.lexists(file):
            raise ValueError(f"a submission must not replace files; {file} exists: choose another folder")
    ensure_dir(folder)
    layer = data.layers.get("depth")
    items = list(enumerate(zip(data.images, files)))
    for number, (image, file) in progress(items, len(items)) if progress else items:
        with error_context(image):
            prediction = predictor.predict(image, layer.read(layer.files[number]) if layer else None)
        drawing = _drawing(submission, prediction.classes, data.palette)
        atomic_write(file, drawing.save)
        yield image, file


def _drawing(submission: Submission, classes: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Image.Image:
    """Draw a label map (H, W) of classes as the server reads it."""
    if submission.ids is None:
        return index_image(classes, palette)
    return Image.fromarray(np.array(submission.ids, dtype=np.uint8)[classes])
