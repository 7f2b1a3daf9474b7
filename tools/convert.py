"""Convert weights of torchvision's segmentation networks to checkpoints of the matching models.

    python tools/convert.py fcn_resnet50 fcn_resnet50_coco.pth out.safetensors --classes classes.txt
    gatezoo predict out.safetensors image.jpg --out out

The header of the file names the model, so that ``predict``, ``eval`` and ``publish`` read it as a checkpoint of
``gatezoo train``. The auxiliary classifiers of FCN and of MobileNetV3's DeepLabV3 have no counterpart and are dropped,
which is printed.
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
from gatezoo.utils.files import write_bytes
from gatezoo.weights.checkpoint_files import read_checkpoint
from gatezoo.weights.header import make_metadata
from gatezoo.weights.loading import load_tensors

# Statistics of ImageNet, which all of torchvision's weights expect.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fcn_key(key: str) -> str | None:
    """Return the name here of a tensor of torchvision's FCN; None for one that is dropped.

    The classifier is a convolution, batch norm, ReLU, dropout and a 1x1 convolution, numbered 0 to 4.
    """
    return _rename(key, ("backbone.", "backbone.net."), *_classifier("classifier.", "head."))


def deeplabv3_key(key: str) -> str | None:
    """Return the name here of a tensor of torchvision's DeepLabV3.

    The classifier is atrous pooling, a convolution, batch norm, ReLU and a 1x1 convolution, numbered 0 to 4.
    """
    return _rename(
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
    """Return the name here of a tensor of torchvision's DeepLabV3 on MobileNetV3; None for one that is dropped.

    timm numbers the blocks by stages and names their layers. The auxiliary classifier reads a finer map than the one
    here and is dropped.
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
    """Return the name here of a tensor of torchvision's Mask R-CNN, of a present state dict or of a published file."""
    key = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
    key = re.sub(r"rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
    key = re.sub(r"mask_fcn([1-4])\.", lambda found: f"{int(found[1]) - 1}.0.", key)
    prefixes = ("backbone.body.", "backbone.net."), ("backbone.fpn.", "neck.net.")
    return _rename(key, *prefixes, ("rpn.", "rpn."), ("roi_heads.", "roi_heads."))


def _classifier(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [(f"{theirs}{number}.", f"{ours}{place}.") for number, place in (("0", "0.0"), ("1", "0.1"), ("4", "2"))]


def _rename(key: str, *prefixes: tuple[str, str]) -> str | None:
    return next((ours + key.removeprefix(theirs) for theirs, ours in prefixes if key.startswith(theirs)), None)


@dataclass(frozen=True)
class Conversion:
    """Conversion of one network of torchvision.

    Attributes:
        architecture: name of the model here.
        rename: from the name of a tensor in torchvision to the name here; None if it is dropped.
        class_tensor: name here of the tensor whose length is the number of classes.
        their_class_tensor: its name in torchvision.
        model_kwargs: keywords with which the model computes the same.
    """

    architecture: str
    rename: Callable[[str], str | None]
    class_tensor: str
    their_class_tensor: str
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
    "maskrcnn_resnet50_fpn_v2": Conversion("maskrcnn_fpn_v2_r50", maskrcnn_key, MASK_FCN, MASK_FCN),
}
# Networks for which no model here computes the same, and why. Weights have learned where their regions are read: half a
# pixel of the finest map is two of the image.
NOT_CONVERTIBLE = {
    "lraspp_mobilenet_v3_large": "it is not in the zoo",
    "mask_rcnn_r50_fpn_dconv_c3-c5": "MMDetection reads regions half a pixel aside and does not round anchors",
    "fcis_coco": "its ResNet strides in the 1x1 convolutions, and it rounds the bins of regions",
}


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    Attributes:
        architecture: name of the model.
        model_kwargs: further keywords of its builder.
        tensors: its state dict.
        num_classes: number of classes.
        dropped: names of torchvision's tensors that have no counterpart.
    """

    architecture: str
    model_kwargs: dict[str, Any]
    tensors: dict[str, Tensor]
    num_classes: int
    dropped: list[str]


def convert(name: str, tensors: Mapping[str, Tensor]) -> Converted:
    """Convert a state dict of torchvision's network.

    Args:
        name: of the network in torchvision.
        tensors: its state dict.

    Raises:
        ValueError: a network without a matching model, or other tensors than those of the network.
    """
    supported = f"choose one of {', '.join(CONVERSIONS)}"
    if name in NOT_CONVERTIBLE:
        missing = f"{name} has none yet ({NOT_CONVERTIBLE[name]})"
        raise ValueError(f"a conversion must have a model that computes the same; {missing}: {supported}")
    if name not in CONVERSIONS:
        raise ValueError(f"the network must be one of torchvision's that can be converted; got {name!r}: {supported}")
    conversion = CONVERSIONS[name]
    renamed = {key: conversion.rename(key) for key in tensors}
    dropped = [key for key, new_key in renamed.items() if new_key is None]
    if unexpected := [key for key in dropped if not key.startswith("aux_classifier.")]:
        raise ValueError(f"the tensors must be those of torchvision's {name}; got {unexpected[0]!r}")
    converted = {new_key: tensors[key] for key, new_key in renamed.items() if new_key is not None}
    if conversion.class_tensor not in converted:
        raise ValueError(
            f"the tensors must be those of torchvision's {name}; there is no {conversion.their_class_tensor}"
        )
    num_classes = len(converted[conversion.class_tensor])
    # The auxiliary head is optional in both.
    spec = get_model_spec(conversion.architecture)
    without_auxiliary = "auxiliary" in spec.parameter_names() and not any(
        key.startswith("auxiliary.") for key in converted
    )
    model_kwargs = conversion.model_kwargs | ({"auxiliary": False} if without_auxiliary else {})
    model = gatezoo.model_entrypoint(conversion.architecture)(num_classes=num_classes, **model_kwargs)
    # Frozen batch norms of torchvision have no counters.
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    converted = counters | converted
    # Loading them checks that none is missing and that all shapes fit.
    load_tensors(model, converted)
    return Converted(conversion.architecture, model_kwargs, converted, num_classes, dropped)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"network of torchvision: {', '.join(CONVERSIONS)}")
    parser.add_argument("source", type=Path, help=".pth or .safetensors with its state dict")
    parser.add_argument("out", type=Path, help=".safetensors to write")
    parser.add_argument("--classes", help="'sky,road', or a file: NAME or NAME R G B a line")
    args = parser.parse_args()
    try:
        converted = convert(args.name, read_checkpoint(args.source)[0])
        facts = {
            "architecture": converted.architecture,
            "num_classes": converted.num_classes,
            "mean": MEAN,
            "std": STD,
            "model_kwargs": converted.model_kwargs,
        }
        if args.classes:
            names, colors = class_names(args.classes)
            if len(names) != converted.num_classes:
                raise ValueError(f"--classes must name all {converted.num_classes} classes; got {len(names)} names")
            facts |= {"class_names": names} | ({"palette": colors} if colors else {})
        tensors = {key: value.contiguous() for key, value in converted.tensors.items()}
        write_bytes(args.out, save(tensors, {"gatezoo": json.dumps(make_metadata(facts))}))
    except ValueError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    summary = f"{converted.architecture}, {converted.num_classes} classes, {len(converted.tensors)} tensors"
    print(f"{args.out}: {summary}; dropped: {len(converted.dropped)} of aux_classifier")
    return 0


if __name__ == "__main__":
    sys.exit(main())
