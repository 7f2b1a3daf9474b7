"""Tiny data sets drawn in the layouts of the real ones, with known answers.

``DRAWERS[name](root)`` draws the data set that :func:`gatezoo.data.create_dataset` reads by that name, and returns the
class map of every image: {split: {name of the image: uint8 (H, W)}}. The ids in the files are written here a
second time, by hand, so that a wrong table in a reader shows.
"""

import json

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
SIZE = (HEIGHT, WIDTH)


def class_map(classes, seed, ignored=True):
    """Blocks of 8 x 8 pixels of these classes, some of them ignored (255)."""
    random = np.random.default_rng(seed)
    choice = [*classes, 255] if ignored else list(classes)
    blocks = random.choice(choice, (HEIGHT // 8, WIDTH // 8))
    return np.kron(blocks, np.ones((8, 8), dtype=np.uint8)).astype(np.uint8)


def save(path, values, palette=False):
    """An array as a image file; uint16 as 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(path)


def photograph(path, classes):
    """A image in which classes can be told apart."""
    shade = (classes.astype(int) * 37 % 251)[..., None] + np.arange(3) * 20
    save(path, (shade % 256).astype(np.uint8))


def ids_of(classes, table):
    """Class map -> ids of the data set, by the table class -> id."""
    lookup = np.zeros(256, dtype=np.int32)
    for k, number in table.items():
        lookup[k] = number
    return lookup[classes]


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def mat(path, **variables):
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def _splits(classes, ignored=True, **sizes):
    number, known = 0, {}
    for split, size in sizes.items():
        known[split] = {}
        for _ in range(size):
            known[split][f"p{number:03}"] = class_map(classes, number, ignored)
            number += 1
    return known


def camvid(root):
    known = _splits(range(11), train=3, val=2)
    for split, maps in known.items():
        for name, classes in maps.items():
            photograph(root / split / "images" / f"{name}.jpg", classes)
            save(root / split / "labels" / f"{name}.png", classes)
    return known


def voc12(root):
    """Also ``SegmentationClassAug``, where p90 and p91 come on top of the training images."""
    voc = root / "VOCdevkit" / "VOC2012"
    known = _splits(range(21), train=3, val=2)
    for split, maps in known.items():
        text(voc / "ImageSets" / "Segmentation" / f"{split}.txt", maps)
    known["trainval"] = known["train"] | known["val"]
    text(voc / "ImageSets" / "Segmentation" / "trainval.txt", known["trainval"])
    more = {f"p9{k}": class_map(range(21), 90 + k) for k in range(2)}
    known["train_aug"] = known["train"] | more
    for name, classes in (known["trainval"] | more).items():
        photograph(voc / "JPEGImages" / f"{name}.jpg", classes)
        save(voc / "SegmentationClassAug" / f"{name}.png", classes)
        if name not in more:
            save(voc / "SegmentationClass" / f"{name}.png", classes, palette=True)
    return known


def sbd(root):
    """SBD beside :func:`voc12`: q1 and q2 of its own, p001 of VOC's training set and p003 of its validation set."""
    maps = {name: class_map(range(21), seed, ignored=False) for seed, name in enumerate(("p001", "p003", "q1", "q2"))}
    text(root / "train.txt", ("p001", "p003", "q1"))
    text(root / "val.txt", ("q2",))
    for name, classes in maps.items():
        photograph(root / "img" / f"{name}.jpg", classes)
        mat(root / "cls" / f"{name}.mat", GTcls={"Segmentation": classes, "CategoriesPresent": np.unique(classes)})
    return maps


CONTEXT_CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor", "bag", "bed", "bench", "book",
    "building", "cabinet", "ceiling", "cloth", "computer", "cup", "door", "fence", "floor", "flower", "food",
    "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform", "sign", "plate", "road",
    "rock", "shelves", "sidewalk", "sky", "snow", "bedclothes", "track", "tree", "truck", "wall", "water", "window",
    "wood",
]  # fmt: skip


def pascal_context(root):
    """The labels' ids are those of the alphabet among the 59 classes and three others; LabelMap holds those, and 0."""
    names = sorted([*CONTEXT_CLASSES, "accordion", "air conditioner", "wool"])
    text(root / "labels.txt", [f"{number}: {name}" for number, name in enumerate(names, start=1)])
    table = {k: names.index(name) + 1 for k, name in enumerate(CONTEXT_CLASSES)}
    known = _splits(range(59), train=3, val=2)
    voc = root / "VOCdevkit" / "VOC2010"
    for split, maps in known.items():
        text(voc / "ImageSets" / "Main" / f"{split}.txt", maps)
        for name, classes in maps.items():
            photograph(voc / "JPEGImages" / f"{name}.jpg", classes)
            ids = ids_of(classes, table | {255: names.index("wool") + 1})
            ids[:8, :8], classes[:8, :8] = 0, 255
            mat(root / "trainval" / f"{name}.mat", LabelMap=ids.astype(np.uint16))
    return known


def ade20k(root):
    known = _splits(range(150), train=3, val=2)
    for split, maps in known.items():
        folder = {"train": "training", "val": "validation"}[split]
        for name, classes in maps.items():
            photograph(root / "images" / folder / f"{name}.jpg", classes)
            ids = ids_of(classes, {k: k + 1 for k in range(150)} | {255: 0})
            save(root / "annotations" / folder / f"{name}.png", ids.astype(np.uint8))
    return known


# Of the 171 classes: person, fire hydrant, stop sign, toothbrush, banner, wood; the ids leave gaps before and between.
STUFF = {0: 1, 10: 11, 11: 13, 79: 90, 80: 92, 170: 182}


def cocostuff10k(root):
    known = _splits(STUFF, train=3, test=2)
    for split, maps in known.items():
        text(root / "imageLists" / f"{split}.txt", maps)
        for name, classes in maps.items():
            photograph(root / "images" / f"{name}.jpg", classes)
            ids = ids_of(classes, STUFF | {255: 0})
            mat(root / "annotations" / f"{name}.mat", S=ids.astype(np.uint8 if split == "train" else float))
    return known


# Train id -> label id.
CITY = dict(enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)))


def cityscapes(root):
    """With disparity, cameras and instances: cars (label id 26) are object 26003, riders (25) a group."""
    known = _splits(range(19), train=3, val=2)
    for split, maps in known.items():
        for number, (name, classes) in enumerate(maps.items()):
            city, stem = ("aachen", "bonn")[number % 2], f"{name}_000000_000019"
            photograph(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", classes)
            ids = ids_of(classes, CITY)
            # What is ignored has many ids: unlabelled, static, parking, trailer, and the licence plate.
            ids[classes == 255] = np.resize((0, 4, 9, 30, 255), (classes == 255).sum())
            save(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids.astype(np.uint8))
            objects = np.where(ids == 26, 26003, ids).astype(np.uint16)
            save(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", objects)
            values = np.tile(np.arange(WIDTH, dtype=np.uint16) * 64, (HEIGHT, 1))
            save(root / "disparity" / split / city / f"{stem}_disparity.png", values)
            camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
            text(root / "camera" / split / city / f"{stem}_camera.json", [json.dumps(camera)])
    for split, maps in known.items():  # read city by city
        named = {f"{name}_000000_000019_leftImg8bit": classes for name, classes in maps.items()}
        known[split] = dict(sorted(named.items(), key=lambda item: (list(named).index(item[0]) % 2, item[0])))
    return known


def nyuv2(root):
    """Six frames of the publishers' file; id 3 (k + 1) + 2 stands for class k."""
    import h5py

    known = _splits(range(40), train=3, test=2)
    root.mkdir(parents=True, exist_ok=True)
    frames = [2, 4, 5, 1, 6]  # counted from 1, as MATLAB does; the third is nobody's
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

    known = _splits(range(37), train=3, test=2)
    toolbox = root / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    there, order = "/n/fs/sun3d/data/", ["p003", "p000", "p004", "p001", "p002"]
    maps, rows = known["train"] | known["test"], []
    for name in order:
        photograph(root / "SUNRGBD" / "kv1" / name / "image" / f"{name}.jpg", maps[name])
        metres = np.tile(np.arange(WIDTH) * 150, (HEIGHT, 1)).astype(np.uint16)  # 0 to 9.45 m
        save(root / "SUNRGBD" / "kv1" / name / "depth_bfx" / f"{name}_abs.png", metres << 3 | metres >> 13)
        folder = f"{there}SUNRGBD/kv1/{name}"
        rows.append((f"{folder}/image/{name}.jpg", f"{name}.jpg", f"{name}_abs.png"))
    meta = np.array([rows], dtype=object).reshape(-1, 3)
    struct = np.empty(len(rows), dtype=[("rgbpath", object), ("rgbname", object), ("depthname", object)])
    for k, row in enumerate(meta):
        struct[k] = tuple(row)
    mat(toolbox / "Metadata" / "SUNRGBDMeta.mat", SUNRGBDMeta=struct)
    lists = {f"all{split}": [f"{there}/SUNRGBD/kv1/{name}" for name in known[split]] for split in known}
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
    """A panorama in each area. The objects of class k are numbers 300 + 2 k and 301 + 2 k of the list."""
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
    return {
        f"{fold}{part}": dict(known[a] for a in known if (a in areas) == (part == "val"))
        for fold, areas in held.items()
        for part in ("train", "val")
    }


def nuclei(root):
    """Objects 3, 4 and 700 on the ground."""
    known = {"train": {}, "val": {}}
    for number in range(4):
        objects = np.zeros(SIZE, dtype=np.uint16)
        objects[4:14, 6:20], objects[20:40, 30:50], objects[40:47, 2 : 10 + number] = 3, 4, 700
        name, split = f"p{number:03}", "val" if number == 3 else "train"
        known[split][name] = (objects > 0).astype(np.uint8)
        photograph(root / split / "images" / f"{name}.jpg", known[split][name])
        save(root / split / "instances" / f"{name}.png", objects)
    return known


def coco_semantic(root):
    """Categories 3, 7 and 90. In each image a large 3 with a small 90 in it, and a crowd of 7; one is empty."""
    from pycocotools import mask as drawing

    categories = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 7, "name": "train"}]
    known = {}
    for split, count in (("train2017", 3), ("val2017", 2)):
        images, annotations, known[split] = [], [], {}
        for number in range(count):
            name, shift = f"{number + 100:012}", 2 * number
            classes = np.zeros(SIZE, dtype=np.uint8)
            images.append({"id": number + 100, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH})
            if number < 2:
                classes[8:28, 10 + shift : 40 + shift] = 1
                classes[12:20, 20:30] = 3
                classes[40:46, 4:60] = 2
                crowd = drawing.encode(np.asfortranarray((classes == 2).astype(np.uint8)))
                annotations += [
                    _rectangle(12, 20, 20, 30, 90, number + 100, len(annotations)),
                    _rectangle(8, 28, 10 + shift, 40 + shift, 3, number + 100, len(annotations) + 1),
                    {
                        **_rectangle(40, 46, 4, 60, 7, number + 100, len(annotations) + 2),
                        "iscrowd": 1,
                        "segmentation": {"size": list(SIZE), "counts": crowd["counts"].decode()},
                    },
                ]
            photograph(root / split / f"{name}.jpg", classes)
            known[split][name] = classes
        content = {"images": images[::-1], "annotations": annotations, "categories": categories}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return known


def _rectangle(top, bottom, left, right, category, image, number):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
    }


DRAWERS = {
    "ade20k": ade20k,
    "camvid": camvid,
    "cityscapes": cityscapes,
    "coco": coco_semantic,
    "coco_semantic": coco_semantic,
    "cocostuff10k": cocostuff10k,
    "nuclei": nuclei,
    "nuclei_instances": nuclei,
    "nyuv2": nyuv2,
    "nyuv2_folder": nyuv2_folder,
    "pascal_context": pascal_context,
    "stanford2d3d": stanford2d3d,
    "sunrgbd": sunrgbd,
    "voc12": voc12,
}
