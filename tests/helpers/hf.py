"""Small data sets of Hugging Face ``datasets``, written by that library."""

import io
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Image, disable_progress_bars
from PIL import Image as PIL

from helpers import annotations

disable_progress_bars()

NAMES = "ground,square,triangle"
SPLITS = {"train": 20, "validation": 5}


def encoded(values, format="PNG"):
    """Return the content of an image file of an array."""
    file = io.BytesIO()
    PIL.fromarray(values).save(file, format)
    return file.getvalue()


def label_map():
    """Classes of each image, of 16 bits: the square is 1, the triangle 2."""
    numbers = annotations.numbers()
    return np.where(numbers == 300, 1, numbers).astype(np.uint16)


def rows(folder: Path, count, first=0):
    """Columns "image" and "label", also written to ``images/`` and ``labels/`` of a folder."""
    columns: dict = {"image": [], "label": []}
    for number in range(first, first + count):
        name = f"row{number - first:06}.png"
        image, label = folder / "images" / name, folder / "labels" / name
        annotations.image(image, number)
        label.parent.mkdir(exist_ok=True)
        label.write_bytes(encoded(label_map()))
        columns["image"].append({"bytes": image.read_bytes(), "path": None})
        columns["label"].append({"bytes": label.read_bytes(), "path": "x.png"})
    return columns


def dataset(columns, **features):
    """Return a Dataset whose columns are images unless their features are given."""
    return Dataset.from_dict(columns, Features({name: features.get(name, Image()) for name in columns}))


def write(root: Path, splits):
    """Write splits as the Hub lays them out."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    for name, data in splits.items():
        data.to_parquet(root / "data" / f"{name}-00000-of-00001.parquet")
    return root


def both(tmp_path):
    """Return a folder of parquet files and a plain folder with the same images and labels."""
    plain = tmp_path / "plain"
    folders = {"train": plain / "train", "validation": plain / "val"}
    splits = {name: dataset(rows(folders[name], count, 100 * (name == "validation"))) for name, count in SPLITS.items()}
    return write(tmp_path / "parquet", splits), plain
