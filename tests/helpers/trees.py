"""Tiny data sets in the layouts of the real ones, with known class maps.

``DRAWERS[name](root)`` draws the data set that :func:`gatezoo.data.create_dataset` reads by that name, and returns the
class map of every image: {split: {name of the image: uint8 (H, W)}}. The ids in the files are written here a
second time, by hand, so that a wrong table in a reader is found.
"""

import json

import numpy as np

from .depth_trees import nyuv2, nyuv2_folder, stanford2d3d, sunrgbd
from .tree_files import HEIGHT, SIZE, WIDTH, class_map, draw_splits, ids_of, mat, photograph, save, text, with_trainval

# Names of the images without labels, in the order of the list.
TEST = ("t001", "t000")


def camvid(root):
    known = draw_splits(range(11), train=3, val=2, test=2)
    for split, maps in known.items():
        for name, classes in maps.items():
            photograph(root / split / "images" / f"{name}.jpg", classes)
            save(root / split / "labels" / f"{name}.png", classes)
    return with_trainval(known)


def voc12(root):
    """With ``SegmentationClassAug``, which adds p90 and p91 to the training images, and test images without labels."""
    voc = root / "VOCdevkit" / "VOC2012"
    known = draw_splits(range(21), train=3, val=2)
    for split, maps in known.items():
        text(voc / "ImageSets" / "Segmentation" / f"{split}.txt", maps)
    known = with_trainval(known)
    text(voc / "ImageSets" / "Segmentation" / "trainval.txt", known["trainval"])
    text(voc / "ImageSets" / "Segmentation" / "test.txt", TEST)
    for number, name in enumerate(TEST):
        photograph(voc / "JPEGImages" / f"{name}.jpg", class_map(range(21), 80 + number))
    more = {f"p9{k}": class_map(range(21), 90 + k) for k in range(2)}
    known["train_aug"] = known["train"] | more
    for name, classes in (known["trainval"] | more).items():
        photograph(voc / "JPEGImages" / f"{name}.jpg", classes)
        save(voc / "SegmentationClassAug" / f"{name}.png", classes)
        if name not in more:
            save(voc / "SegmentationClass" / f"{name}.png", classes, palette=True)
    return known


def sbd(root):
    """SBD for :func:`voc12`: p001 of VOC's training set, p003 of its validation set, and q1 and q2 outside of it."""
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
    """Ids are in alphabetical order of the 59 classes and three others; LabelMap holds them, and 0."""
    names = sorted([*CONTEXT_CLASSES, "accordion", "air conditioner", "wool"])
    text(root / "labels.txt", [f"{number}: {name}" for number, name in enumerate(names, start=1)])
    table = {k: names.index(name) + 1 for k, name in enumerate(CONTEXT_CLASSES)}
    known = draw_splits(range(59), train=3, val=2)
    voc = root / "VOCdevkit" / "VOC2010"
    for split, maps in known.items():
        text(voc / "ImageSets" / "Main" / f"{split}.txt", maps)
        for name, classes in maps.items():
            photograph(voc / "JPEGImages" / f"{name}.jpg", classes)
            ids = ids_of(classes, table | {255: names.index("wool") + 1})
            ids[:8, :8], classes[:8, :8] = 0, 255
            mat(root / "trainval" / f"{name}.mat", LabelMap=ids.astype(np.uint16))
    return with_trainval(known)


def ade20k(root):
    known = draw_splits(range(150), train=3, val=2)
    for split, maps in known.items():
        folder = {"train": "training", "val": "validation"}[split]
        for name, classes in maps.items():
            photograph(root / "images" / folder / f"{name}.jpg", classes)
            ids = ids_of(classes, {k: k + 1 for k in range(150)} | {255: 0})
            save(root / "annotations" / folder / f"{name}.png", ids.astype(np.uint8))
    for number, name in enumerate(TEST):
        photograph(root / "release_test" / "testing" / f"{name}.jpg", class_map(range(150), 80 + number))
    return with_trainval(known)


# Class -> id of person, fire hydrant, stop sign, toothbrush, banner and wood, with gaps of the ids before and between.
STUFF = {0: 1, 10: 11, 11: 13, 79: 90, 80: 92, 170: 182}


def cocostuff10k(root):
    known = draw_splits(STUFF, train=3, test=2)
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
    """With disparity, cameras and instances: cars (label id 26) are instance 26003, riders (25) a group.

    The labels of test are blank, as in the publishers' archive.
    """
    known = draw_splits(range(19), train=3, val=2, test=2)
    for split, maps in known.items():
        for number, (name, classes) in enumerate(maps.items()):
            city, stem = ("aachen", "bonn")[number % 2], f"{name}_000000_000019"
            photograph(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", classes)
            ids = ids_of(classes, CITY)
            # Ignored ids: unlabeled, static, parking, trailer, and the license plate.
            ids[classes == 255] = np.resize((0, 4, 9, 30, 255), (classes == 255).sum())
            ids *= split != "test"
            save(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids.astype(np.uint8))
            instances = np.where(ids == 26, 26003, ids).astype(np.uint16)
            save(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", instances)
            values = np.tile(np.arange(WIDTH, dtype=np.uint16) * 64, (HEIGHT, 1))
            save(root / "disparity" / split / city / f"{stem}_disparity.png", values)
            camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
            text(root / "camera" / split / city / f"{stem}_camera.json", [json.dumps(camera)])
    for split, maps in known.items():  # in order of the cities
        named = {f"{name}_000000_000019_leftImg8bit": classes for name, classes in maps.items()}
        known[split] = dict(sorted(named.items(), key=lambda item: (list(named).index(item[0]) % 2, item[0])))
    del known["test"]
    return with_trainval(known)


def nuclei(root):
    """Instances 3, 4 and 700 on a background."""
    known = {"train": {}, "val": {}}
    for number in range(4):
        instances = np.zeros(SIZE, dtype=np.uint16)
        instances[4:14, 6:20], instances[20:40, 30:50], instances[40:47, 2 : 10 + number] = 3, 4, 700
        name, split = f"p{number:03}", "val" if number == 3 else "train"
        known[split][name] = (instances > 0).astype(np.uint8)
        photograph(root / split / "images" / f"{name}.jpg", known[split][name])
        save(root / split / "instances" / f"{name}.png", instances)
    return with_trainval(known)


def coco_semantic(root):
    """Categories 3, 7 and 90. Each image has a large 3 with a small 90 in it, and a crowd of 7; one is empty."""
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
