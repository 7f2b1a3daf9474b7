"""Take over weights of torchvision's segmentation networks: a state dict of theirs -> a file for the matching row.

    python tools/convert.py fcn_resnet50 fcn_resnet50_coco.pth out.safetensors --classes classes.txt
    gatezoo predict out.safetensors picture.jpg --out out

The file's header names the row, so that ``predict``, ``eval`` and ``publish`` read it as a training's. torchvision's
auxiliary classifiers have no place in a row and are left out, which is said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

import gatezoo
from gatezoo.checkpoints import load_tensors
from gatezoo.conversions import FORMAT_VERSION
from gatezoo.data.classes import read_classes
from gatezoo.files import write_whole
from gatezoo.model_folder import versions
from gatezoo.tensor_files import read_checkpoint

# Of ImageNet, as all of torchvision's weights expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fcn_key(key: str) -> str | None:
    """Our name of a tensor of torchvision's FCN; None for one that is left out.

    Its classifier is a convolution, batch norm, ReLU, dropout and a 1x1 convolution, numbered 0 to 4.
    """
    part, _, rest = key.partition(".")
    if part == "backbone":
        return f"backbone.net.{rest}"
    number, _, name = rest.partition(".")
    places = {"0": "head.0.0", "1": "head.0.1", "4": "head.2"}
    return f"{places[number]}.{name}" if part == "classifier" and number in places else None


# Name in torchvision -> our row, and how its tensors are called here.
CONVERSIONS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "fcn_resnet50": ("fcn_resnet50_8s", fcn_key),
    "fcn_resnet101": ("fcn_resnet101_8s", fcn_key),
}
# What has no row that computes the same, and so nowhere to go.
WITHOUT_ROW = (
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
)


def convert(name: str, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor], list[str]]:
    """The row, its tensors, and the names of those that were left out.

    Raises:
        ValueError: a network without a matching row, or tensors that are not all of its.
    """
    if name in WITHOUT_ROW:
        raise ValueError(f"a conversion needs a row that computes the same; {name} has none yet: {_possible()}")
    if name not in CONVERSIONS:
        raise ValueError(f"the network must be one of torchvision's that can be converted; got {name!r}: {_possible()}")
    row, rename = CONVERSIONS[name]
    places = {key: rename(key) for key in tensors}
    if odd := [key for key, place in places.items() if place is None and not key.startswith("aux_classifier.")]:
        raise ValueError(f"the tensors must be those of torchvision's {name}; got {odd[0]!r}")
    converted = {place: tensors[key] for key, place in places.items() if place is not None}
    if "head.2.bias" not in converted:
        raise ValueError(f"the tensors must be those of torchvision's {name}; there is no classifier.4.bias")
    # Placing them in the row shows that none is missing and all fit.
    load_tensors(gatezoo.model_entrypoint(row)(num_classes=len(converted["head.2.bias"])), converted)
    return row, converted, [key for key, place in places.items() if place is None]


def _possible() -> str:
    return f"{', '.join(CONVERSIONS)} can be"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"network of torchvision: {', '.join(CONVERSIONS)}")
    parser.add_argument("source", type=Path, help=".pth or .safetensors with its state dict")
    parser.add_argument("out", type=Path, help=".safetensors to write")
    parser.add_argument("--classes", help="'sky,road', or a file: NAME or NAME R G B a line")
    args = parser.parse_args()
    try:
        row, tensors, left_out = convert(args.name, read_checkpoint(args.source)[0])
        count = len(tensors["head.2.bias"])
        facts = {"model": row, "num_classes": count, "in_chans": 3, "mean": MEAN, "std": STD}
        facts |= {"format_version": FORMAT_VERSION, "versions": versions()}
        if args.classes:
            listed = "," in args.classes
            names, colours = (args.classes.split(","), None) if listed else read_classes(args.classes)
            if len(names) != count:
                raise ValueError(f"--classes must name all {count} classes of the weights")
            facts |= {"class_names": names} | ({"palette": colours} if colours else {})
        held = {key: value.contiguous() for key, value in tensors.items()}
        blob = save(held, {"gatezoo": json.dumps(facts)})
        write_whole(args.out, lambda path: path.write_bytes(blob))
    except ValueError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {row}, {count} classes, {len(tensors)} tensors; left out: {len(left_out)} of aux_classifier")
    return 0


if __name__ == "__main__":
    sys.exit(main())
