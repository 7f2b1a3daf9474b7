"""Take over weights of torchvision's segmentation networks: a state dict of theirs -> a file for the matching row.

    python tools/convert.py fcn_resnet50 fcn_resnet50_coco.pth out.safetensors --classes classes.txt
    gatezoo predict out.safetensors image.jpg --out out

The file's header names the row, so that ``predict``, ``eval`` and ``publish`` read it as a training's. The auxiliary
classifiers of FCN and of MobileNetV3's DeepLabV3 have no place in their rows and are left out, which is said.
"""

from __future__ import annotations

import argparse
import bisect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

import gatezoo
from gatezoo.data.classes import class_names
from gatezoo.registry import get_model_spec
from gatezoo.utils.environment import versions
from gatezoo.utils.files import atomic_write
from gatezoo.weights.checkpoint_files import read_checkpoint
from gatezoo.weights.conversions import FORMAT_VERSION
from gatezoo.weights.loading import load_tensors

# Of ImageNet, as all of torchvision's weights expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fcn_key(key: str) -> str | None:
    """Our name of a tensor of torchvision's FCN; None for one that is left out.

    Its classifier is a convolution, batch norm, ReLU, dropout and a 1x1 convolution, numbered 0 to 4.
    """
    return _placed(key, ("backbone.", "backbone.net."), *_classifier("classifier.", "head."))


def deeplabv3_key(key: str) -> str | None:
    """Of torchvision's DeepLabV3: atrous pooling, a convolution, batch norm, ReLU and a 1x1 convolution, 0 to 4."""
    return _placed(
        key,
        ("backbone.", "backbone.net."),
        ("classifier.0.convs.4.1.", "head.context.whole.0."),
        ("classifier.0.convs.4.2.", "head.context.whole.1."),
        ("classifier.0.convs.", "head.context.branches."),
        ("classifier.0.project.", "head.context.merge."),
        ("classifier.1.", "head.refine.0."),
        ("classifier.2.", "head.refine.1."),
        ("classifier.4.", "head.classify.1."),
        *_classifier("aux_classifier.", "auxiliary.0."),
    )


def deeplabv3_mobilenetv3_key(key: str) -> str | None:
    """Of torchvision's DeepLabV3 on MobileNetV3, whose blocks timm numbers by stages and whose layers it names.

    The auxiliary classifier reads a finer map than ours and is left out.
    """
    if key.startswith("classifier."):
        return deeplabv3_key(key)
    found = re.fullmatch(r"backbone\.(\d+)\.(?:block\.(\d)\.)?(\w+)\.(\w+)", key)
    if not found:
        return None
    block, layer, part, rest = int(found[1]), found[2], found[3], found[4]
    # The first block of each of timm's stages, and the convolution that ends the last.
    starts = (1, 2, 4, 7, 11, 13, 16)
    stage = bisect.bisect(starts, block) - 1
    place = f"backbone.net.blocks.{stage}.{block - starts[stage]}." if block else "backbone.net."
    if layer is None:
        names = {0: ("conv_stem", "bn1"), 16: ("conv", "bn1")}.get(block)
    elif part in ("fc1", "fc2"):
        return f"{place}se.conv_{'reduce' if part == 'fc1' else 'expand'}.{rest}"
    elif block == 1:
        names = (("conv_dw", "bn1"), ("conv_pw", "bn2"))[int(layer)]
    else:
        names = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))[min(int(layer), 2)]
    return f"{place}{names[int(part)]}.{rest}" if names else None


def maskrcnn_key(key: str) -> str | None:
    """Of torchvision's Mask R-CNN, also as its published files name some convolutions."""
    key = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
    key = re.sub(r"rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
    key = re.sub(r"mask_fcn([1-4])\.", lambda found: f"{int(found[1]) - 1}.0.", key)
    prefixes = ("backbone.body.", "backbone.net."), ("backbone.fpn.", "neck.net.")
    return _placed(key, *prefixes, ("rpn.", "rpn."), ("roi_heads.", "roi_heads."))


def _classifier(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [(f"{theirs}{number}.", f"{ours}{place}.") for number, place in (("0", "0.0"), ("1", "0.1"), ("4", "2"))]


def _placed(key: str, *prefixes: tuple[str, str]) -> str | None:
    return next((ours + key.removeprefix(theirs) for theirs, ours in prefixes if key.startswith(theirs)), None)


@dataclass(frozen=True)
class Conversion:
    """Our row, how its tensors are called here, and the one whose length is the number of classes (with theirs).

    ``keywords`` make the row compute what theirs does.
    """

    row: str
    rename: Callable[[str], str | None]
    counted: str
    theirs: str
    model_kwargs: dict[str, Any] = field(default_factory=dict)


FCN = fcn_key, "head.2.bias", "classifier.4.bias"
DEEPLABV3 = deeplabv3_key, "head.classify.1.bias", "classifier.4.bias"
MOBILENETV3 = deeplabv3_mobilenetv3_key, *DEEPLABV3[1:]
MASK_FCN = "roi_heads.mask_predictor.mask_fcn_logits.bias"
CONVERSIONS: dict[str, Conversion] = {
    "fcn_resnet50": Conversion("fcn_resnet50_8s", *FCN),
    "fcn_resnet101": Conversion("fcn_resnet101_8s", *FCN),
    "deeplabv3_resnet50": Conversion("deeplabv3_resnet50", *DEEPLABV3),
    "deeplabv3_resnet101": Conversion("deeplabv3_resnet101", *DEEPLABV3),
    "deeplabv3_mobilenet_v3_large": Conversion(
        "deeplabv3_mobilenetv3_large",
        *MOBILENETV3,
        {"dilate_stage_entries": True, "backbone_args": {"bn_eps": 0.001}},
    ),
    "maskrcnn_resnet50_fpn": Conversion("maskrcnn_fpn_r50", maskrcnn_key, MASK_FCN, MASK_FCN),
}
# What has no row that computes the same, and so nowhere to go.
WITHOUT_ROW = ("lraspp_mobilenet_v3_large", "maskrcnn_resnet50_fpn_v2")


@dataclass(frozen=True)
class Converted:
    """A row, further keywords of its builder, its tensors, their classes, and what of theirs was left out."""

    row: str
    model_kwargs: dict[str, Any]
    tensors: dict[str, Tensor]
    num_classes: int
    left_out: list[str]


def convert(name: str, tensors: Mapping[str, Tensor]) -> Converted:
    """A state dict of torchvision's network as tensors of a row.

    Raises:
        ValueError: a network without a matching row, or tensors that are not all of its.
    """
    if name in WITHOUT_ROW:
        raise ValueError(f"a conversion needs a row that computes the same; {name} has none yet: {_possible()}")
    if name not in CONVERSIONS:
        raise ValueError(f"the network must be one of torchvision's that can be converted; got {name!r}: {_possible()}")
    how = CONVERSIONS[name]
    places = {key: how.rename(key) for key in tensors}
    if odd := [key for key, place in places.items() if place is None and not key.startswith("aux_classifier.")]:
        raise ValueError(f"the tensors must be those of torchvision's {name}; got {odd[0]!r}")
    converted = {place: tensors[key] for key, place in places.items() if place is not None}
    if how.counted not in converted:
        raise ValueError(f"the tensors must be those of torchvision's {name}; there is no {how.theirs}")
    count = len(converted[how.counted])
    # Their auxiliary head is an option, as ours is.
    bare = "auxiliary" in get_model_spec(how.row).parameter_names() and not any(
        key.startswith("auxiliary.") for key in converted
    )
    model_kwargs = how.model_kwargs | ({"auxiliary": False} if bare else {})
    model = gatezoo.model_entrypoint(how.row)(num_classes=count, **model_kwargs)
    # Norms that torchvision froze count no batches.
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    converted = counters | converted
    # Placing them in the row shows that none is missing and all fit.
    load_tensors(model, converted)
    return Converted(how.row, model_kwargs, converted, count, [key for key, place in places.items() if place is None])


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
        done = convert(args.name, read_checkpoint(args.source)[0])
        facts = {"model": done.row, "num_classes": done.num_classes, "in_chans": 3, "mean": MEAN, "std": STD}
        facts |= {"model_kwargs": done.model_kwargs, "format_version": FORMAT_VERSION, "versions": versions()}
        if args.classes:
            names, colours = class_names(args.classes)
            if len(names) != done.num_classes:
                raise ValueError(f"--classes must name all {done.num_classes} classes of the weights")
            facts |= {"class_names": names} | ({"palette": colours} if colours else {})
        held = {key: value.contiguous() for key, value in done.tensors.items()}
        blob = save(held, {"gatezoo": json.dumps(facts)})
        atomic_write(args.out, lambda path: path.write_bytes(blob))
    except ValueError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    told = f"{done.row}, {done.num_classes} classes, {len(done.tensors)} tensors"
    print(f"{args.out}: {told}; left out: {len(done.left_out)} of aux_classifier")
    return 0


if __name__ == "__main__":
    sys.exit(main())
