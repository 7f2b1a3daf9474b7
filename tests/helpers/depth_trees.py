"""Tiny data sets with depth: see :mod:`helpers.trees`."""

import json

import numpy as np

from .tree_files import HEIGHT, WIDTH, class_map, draw_splits, ids_of, mat, photograph, save


def nyuv2(root):
    """Six frames of the publishers' file; class k has the id 3 (k + 1) + 2."""
    import h5py

    known = draw_splits(range(40), train=3, test=2)
    root.mkdir(parents=True, exist_ok=True)
    frames = [2, 4, 5, 1, 6]  # counted from 1, as in MATLAB; the third is in no split
    maps = [classes for split in known.values() for classes in split.values()]
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        images, labels = np.zeros((6, 3, WIDTH, HEIGHT), np.uint8), np.zeros((6, WIDTH, HEIGHT), np.uint16)
        depths = np.zeros((6, WIDTH, HEIGHT), np.float32)
        for frame, classes in zip(frames, maps):
            labels[frame - 1] = ids_of(classes, {k: 3 * (k + 1) + 2 for k in range(40)} | {255: 0}).T
            images[frame - 1] = classes.T
            depths[frame - 1] = np.linspace(1, 8, WIDTH)[:, None]
        file["images"], file["labels"], file["depths"] = images, labels, depths
    mapping = np.full(122, 40, dtype=np.uint8)
    mapping[[3 * (k + 1) + 1 for k in range(40)]] = np.arange(1, 41)
    mat(root / "classMapping40.mat", mapClass=mapping[None])
    mat(root / "splits.mat", trainNdxs=np.array(frames[:3])[:, None], testNdxs=np.array(frames[3:])[:, None])
    numbers = {"train": frames[:3], "test": frames[3:]}
    return {
        split: {f"{frame - 1:04}": classes for frame, classes in zip(numbers[split], maps.values())}
        for split, maps in known.items()
    }


def nyuv2_folder(root):
    maps = {f"{number:04}": class_map(range(39), number) for number in range(3, 20, 2)}
    for name, classes in maps.items():
        photograph(root / "train" / "images" / f"{name}.jpg", classes)
        save(root / "train" / "labels" / f"{name}.png", classes)
        save(root / "train" / "depth" / f"{name}.png", np.tile(np.arange(WIDTH, dtype=np.uint8) * 4, (HEIGHT, 1)))
    val = {name: maps[name] for name in ("0003", "0019")}
    return {"train": {name: maps[name] for name in maps if name not in val}, "val": val, "trainval": maps}


def sunrgbd(root):
    import h5py

    known = draw_splits(range(37), train=3, test=2)
    toolbox = root / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    data_folder, order = "/n/fs/sun3d/data/", ["p003", "p000", "p004", "p001", "p002"]
    maps, rows = known["train"] | known["test"], []
    for name in order:
        photograph(root / "SUNRGBD" / "kv1" / name / "image" / f"{name}.jpg", maps[name])
        metres = np.tile(np.arange(WIDTH) * 150, (HEIGHT, 1)).astype(np.uint16)  # 0 to 9.45 m
        save(root / "SUNRGBD" / "kv1" / name / "depth_bfx" / f"{name}_abs.png", metres << 3 | metres >> 13)
        folder = f"{data_folder}SUNRGBD/kv1/{name}"
        rows.append((f"{folder}/image/{name}.jpg", f"{name}.jpg", f"{name}_abs.png"))
    meta = np.array([rows], dtype=object).reshape(-1, 3)
    struct = np.empty(len(rows), dtype=[("rgbpath", object), ("rgbname", object), ("depthname", object)])
    for k, row in enumerate(meta):
        struct[k] = tuple(row)
    mat(toolbox / "Metadata" / "SUNRGBDMeta.mat", SUNRGBDMeta=struct)
    lists = {f"all{split}": [f"{data_folder}/SUNRGBD/kv1/{name}" for name in known[split]] for split in known}
    mat(toolbox / "traintestSUNRGBD" / "allsplit.mat", **{k: np.array(v, dtype=object) for k, v in lists.items()})
    with h5py.File(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", "w") as file:
        cells = file.create_dataset("SUNRGBD2Dseg/seglabel", (len(order), 1), dtype=h5py.ref_dtype)
        for k, name in enumerate(order):
            ids = ids_of(maps[name], {j: j + 1 for j in range(37)} | {255: 0}).astype(np.uint8)
            cells[k, 0] = file.create_dataset(f"#refs#/{k}", data=ids.T).ref
    return {split: {name: maps[name] for name in order if name in known[split]} for split in known}


STANFORD = [
    "beam", "board", "bookcase", "ceiling", "chair", "clutter", "column", "door", "floor", "sofa", "table", "wall",
    "window",
]  # fmt: skip


def stanford2d3d(root):
    """A panorama in each area. The objects of class k have the indices 300 + 2 k and 301 + 2 k in the list of names."""
    names = ["<UNK>_0_<UNK>_0_0"] * 300 + [f"{name}_{i}_office_1_1" for name in STANFORD for i in (1, 2)]
    (root / "assets").mkdir(parents=True)
    (root / "assets" / "semantic_labels.json").write_text(json.dumps(names))
    known = {}
    for number, area in enumerate(("1", "2", "3", "4", "5a", "5b", "6")):
        classes, stem = class_map(range(13), number), f"camera_{area}__office_1_frame_equirectangular_domain"
        folder = root / f"area_{area}" / "pano"
        photograph(folder / "rgb" / f"{stem}_rgb.png", classes)
        ids = ids_of(classes, {k: 300 + 2 * k for k in range(13)})
        ids += (classes < 13) * (np.arange(WIDTH) % 2)
        ids[classes == 255] = np.resize((0x0D0D0D, 0, 7), (classes == 255).sum())
        save(
            folder / "semantic" / f"{stem}_semantic.png",
            np.stack((ids >> 16, ids >> 8 & 255, ids & 255), 2).astype(np.uint8),
        )
        values = np.tile(np.arange(WIDTH, dtype=np.uint16) * 64, (HEIGHT, 1))
        values[:, -1] = 65535
        save(folder / "depth" / f"{stem}_depth.png", values)
        known[area] = (f"{stem}_rgb", classes)
    held = {"": ("3", "4"), "fold1_": ("5a", "5b"), "fold2_": ("2", "4"), "fold3_": ("1", "3", "6")}
    splits = {
        f"{fold}{part}": dict(known[a] for a in known if (a in areas) == (part == "val"))
        for fold, areas in held.items()
        for part in ("train", "val")
    }
    return splits | {"trainval": dict(known.values())}
