"""Class maps and files of the tiny data sets."""

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
SIZE = (HEIGHT, WIDTH)


def class_map(classes, seed, ignored=True):
    """Return blocks of 8 x 8 pixels of these classes, some of them ignored (255)."""
    random = np.random.default_rng(seed)
    choice = [*classes, 255] if ignored else list(classes)
    blocks = random.choice(choice, (HEIGHT // 8, WIDTH // 8))
    return np.kron(blocks, np.ones((8, 8), dtype=np.uint8)).astype(np.uint8)


def save(path, values, palette=False):
    """Save an array as an image file; uint16 as 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(path)


def photograph(path, classes):
    """Save an image whose colors depend on the classes."""
    shade = (classes.astype(int) * 37 % 251)[..., None] + np.arange(3) * 20
    save(path, (shade % 256).astype(np.uint8))


def ids_of(classes, table):
    """Return the ids of a class map, by the table class -> id."""
    lookup = np.zeros(256, dtype=np.int32)
    for k, number in table.items():
        lookup[k] = number
    return lookup[classes]


def text(path, lines):
    """Save a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def mat(path, **variables):
    """Save a MATLAB file of an old version."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def with_trainval(known):
    """Return the class maps with the split of all training and validation images added."""
    return known | {"trainval": known["train"] | known["val"]}


def draw_splits(classes, ignored=True, **sizes):
    """Return class maps of these splits, {split: {name: uint8 (H, W)}}; names are numbered through all splits."""
    number, known = 0, {}
    for split, size in sizes.items():
        known[split] = {}
        for _ in range(size):
            known[split][f"p{number:03}"] = class_map(classes, number, ignored)
            number += 1
    return known
