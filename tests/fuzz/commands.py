"""Command lines about image, label, depth and annotation files."""

from __future__ import annotations

import os

from fuzz import image_files, label_files
from fuzz.runner import VALID, Case

QUICK = ("-j", 0, "--device", "cpu")
ONE_STEP = ("--steps", 1, "-b", 2, "--crop", 32, "--amp", "none", *QUICK)


def image_case(random, folder, networks):
    """A command with an image that is intact, broken or no image."""
    if random.random() < 0.25:
        name, path, expected = image_files.irregular_file(random, folder)
    else:
        name, suffix, data, expected = random.choice(image_files.CONTENTS)(random)
        path = folder / f"photo.{suffix}"
        path.write_bytes(data)
    out = folder / "out"
    command = random.choice(("predict", "predict", "predict", "batch", "instances", "gates", "compare"))
    images, others = [path], []
    if command == "batch":
        good = folder / "good.png"
        good.write_bytes(image_files.encoded(random))
        images, others = random.sample([good, path], 2), [good]
    arguments = {
        "gates": ["gates", networks["test_dignet"], path, "--out", out / "gates.png"],
        "compare": ["compare", networks["test_fcn"], networks["test_dignet"], path, "--out", out / "compare.png"],
        "instances": ["predict", networks["test_maskrcnn_fpn"], path, "--out", out],
    }.get(command, ["predict", networks["test_fcn"], *images, "--out", out])
    untouched = [*others, *([path] if os.path.isfile(path) and path.parent == folder else [])]
    says = path.name if expected != VALID else ""
    return Case(f"{command}, {name}", [*arguments, "--device", "cpu"], expected, says, untouched)


def label_case(random, folder, networks):
    """A command that reads images and labels, or other files about images."""
    kind = random.choice(("label", "label", "label", "image", "folder", "classes", "depth", "coco", "options"))
    root = folder / "data"
    if kind == "depth":
        return _depth_case(random, folder, networks)
    if kind == "coco":
        name, expected = label_files.coco_folder(random, root)
        arguments = ["eval", networks["test_maskrcnn_fpn"], "--dataset", "coco", "--split", "val2017", "--data", root]
        return Case(name, [*arguments, *QUICK], expected)
    label_files.make_folder(random, root)
    classes, options, says = "ground,disc", [], ""
    if kind == "classes":
        name, expected = label_files.class_list(random, folder / "classes.txt")
        classes = folder / "classes.txt"
    elif kind == "options":
        name, options, expected, says = _label_options(random)
    else:
        spoil = {"label": label_files.spoil_label, "image": label_files.spoil_image, "folder": label_files.spoil_folder}
        name, expected, says = spoil[kind](random, root)
    command = random.choice(("check", "finetune") if kind == "classes" else ("check", "eval", "finetune"))
    network = networks["test_fcn"]
    arguments = {
        "check": ["data", "check", root, "--classes", classes],
        "eval": ["eval", network, "--data", root, *QUICK],
        "finetune": ["finetune", network, "--data", root, "--classes", classes, "--out", folder / "run", *ONE_STEP],
    }[command]
    if command == "finetune":
        arguments += ["--val-fraction", 0.34]
    return Case(f"{command}, {name}", [*arguments, *options], expected, says)


def _label_options(random):
    """(name, options, expected, what the message must say) of options that describe labels of 0, 1 and 255."""
    options, expected, says = random.choice(
        (
            (("--ids", "0=0", "--ids", "1=1", "--ids", "255=255"), "valid", ""),
            (("--ids", "0=0", "--ids", "1=0", "--ids", "255=1"), "valid", ""),
            (("--ids", "0=0", "--ids", "1=2", "--ids", "255=1"), "wrong", "2"),
            (("--ids", "0=0"), "wrong", "1"),
            (("--ids", "0=0", "--ids", "0=1"), "wrong", "0=1"),
            (("--ids", "0"), "wrong", "ID=CLASS"),
            (("--ids", "0=-1"), "wrong", "-1"),
            (("--ids", "=0"), "wrong", "ID=CLASS"),
            (("--ids", f"0={10**30}"), "wrong", ""),
            (("--ids", f"{10**30}=0"), "wrong", ""),
            (("--ids", "-5=0"), "wrong", ""),
            (("--ids", ""), "wrong", "ID=CLASS"),
            (("--ids", "0=0=0"), "wrong", "ID=CLASS"),
            (("--rgb",), "wrong", "rgb"),
            (("--reduce-zero-label",), "either", ""),
            (("--reduce-zero-label", "--ids", "0=0"), "wrong", "reduce_zero_label"),
            (("--label-suffix", "_mask.png"), "wrong", "_mask.png"),
            (("--label-suffix", ""), "wrong", ""),
            (("--label-suffix", "/../x"), "wrong", ""),
            (("--ignore-index", "7"), "wrong", "255"),
            (("--ignore-index", "255"), "valid", ""),
            (("--ignore-index", "-1"), "either", "ignore"),
            (("--ignore-index", "1"), "either", "ignore"),
            (("--ignore-index", str(10**30)), "wrong", "ignore"),
            (("--image-max", "255"), "valid", ""),
            (("--image-max", "10"), "wrong", "image_max"),
            (("--image-max", "nan"), "wrong", "image_max"),
            (("--image-max", "-1"), "wrong", "image_max"),
            (("--image-max", "0"), "wrong", "image_max"),
        )
    )
    return f"options {' '.join(options)}", list(options), expected, says


def _depth_case(random, folder, networks):
    """A network that is gated by a depth map, with an intact or a broken one."""
    name, path, expected = label_files.depth_map(random, folder)
    image = folder / "image.png"
    image.write_bytes(image_files.encoded(random))
    network = networks["test_depthgate_given"]
    arguments = ["predict", network, image, "--out", folder / "out", "--depth-map", path, "--device", "cpu"]
    return Case(name, arguments, expected, "depth", [image])
