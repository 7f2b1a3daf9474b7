"""Columns of a Hugging Face data set, found by their types and names, and the names of its classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...utils.optional import require_package
from ..classes import read_classes
from ..files.json_file import read_json
from ..files.labels import Color
from .numbered import CLASS_FILE

# Names of columns of the type Image; an image is also in the only one that is none of the others.
IMAGE_COLUMN = "image"
LABEL_COLUMNS = (
    *("label", "labels", "label_map", "mask", "annotation", "segmentation", "segmentation_mask"),
    *("segmentation_map", "semantic_segmentation", "semantic_seg", "semantic_mask"),
)
NAMES_FILE = "id2label.json"
MAX_NAMES_BYTES = 1 << 20


def require_datasets() -> ModuleType:
    """Return the package, or raise ValueError with the command that installs it."""
    return require_package("datasets", "parquet files and data sets of the Hub", "hf")


def find_columns(root: Path, features: Mapping[str, Any], wanted: tuple[str | None, str | None]) -> tuple[str, str]:
    """Return the columns of the images and of the label maps.

    Args:
        root: the data set, for messages.
        features: types of its columns.
        wanted: the columns that are given; None: by their names.

    Raises:
        ValueError: none or several; a given one that does not exist.
    """
    of_images = [name for name, feature in features.items() if isinstance(feature, require_datasets().Image)]
    labels = [name for name in of_images if name.lower() in LABEL_COLUMNS]
    others = [name for name in of_images if name not in (*labels, *wanted)]
    images = [IMAGE_COLUMN] if IMAGE_COLUMN in others else others
    found = [[name] if name else names for name, names in zip(wanted, (images, labels))]
    if any(len(names) != 1 or names[0] not in of_images for names in found):
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise ValueError(
            f"a data set must have one column of the type Image for images and one for label maps; {root} has "
            f"{columns or 'none'}: pass --format hf --images COLUMN --labels COLUMN"
        )
    return found[0][0], found[1][0]


def class_list(root: Path, features: Mapping[str, Any]) -> tuple[Sequence[str], dict[str, Color]]:
    """Return the names of the classes, as far as a file beside the data or a column tells them, and their colors.

    A column of one class for each image says what the image shows, and not what the values of its label map mean.
    """
    if os.path.isfile(root / CLASS_FILE):
        names, colors = read_classes(root / CLASS_FILE)
        return names, dict(zip(names, colors or ()))
    if os.path.isfile(root / NAMES_FILE):
        return _read_names(root / NAMES_FILE), {}
    inner = [getattr(feature, "feature", None) for feature in features.values()]
    lists = [feature.names for feature in inner if isinstance(feature, require_datasets().ClassLabel)]
    return (lists[0] if len(lists) == 1 else ()), {}


def _read_names(file: Path) -> list[str]:
    """Read the names of classes from the JSON file {"0": NAME, "1": NAME, ...} of a data set's author."""
    content = read_json(file, "names of classes", MAX_NAMES_BYTES)
    numbers = [str(number) for number in range(len(content))] if isinstance(content, dict) else []
    if not numbers or set(numbers) != content.keys():
        raise ValueError(f"names of classes must be by number from 0, without gaps; {file} has others: pass --classes")
    return [str(content[number]) for number in numbers]
