"""Export an instance segmentation network: graphs of what has weights, and a script that selects between them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign

from ..heads.mask_rcnn import MAP_NAMES, MaskRoIHeads
from ..inference import onnx_instances, onnx_predictor
from ..inference.instance import InstancePredictor
from ..inference.tracing import MAX_SIDE, TRACED_SIZE, to_onnx, trace
from ..segmenters.instance import InstanceSegmenter
from ..utils.files import new_folder, write_json, write_text
from ..utils.modules import copy_for_inference
from .documents import instances_readme
from .report import TOLERANCE, Comparison, ExportReport, difference, measure_run

# Least side of a resized image: the coarsest map, of stride 64, then has more than a pixel.
LEAST_SIDE = 65
# Sizes of images, before they are resized.
IMAGE_SIZES = ((136, 168), (101, 83), (97, 160), (224, 131))
# Boxes at which the heads are compared.
_REGIONS = 8


class MapsAndProposals(nn.Module):
    """Normalized, resized image (1, C, h, w) -> the four maps of the heads, objectness (A, 1) and offsets (A, 4)."""

    normalize = None
    outputs = "instances"
    output_names: tuple[str, ...] = (*(f"map_{name}" for name in MAP_NAMES[:4]), "objectness", "offsets")

    def __init__(self, model: InstanceSegmenter):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        divisor, (height, width) = self.model.resize.size_divisible, image.shape[-2:]
        padded = nn.functional.pad(image, (0, -width % divisor, 0, -height % divisor))
        for_rpn, for_heads = self.model.maps(padded)
        return (*for_heads[:4], *concat_box_prediction_layers(*self.model.rpn.head(for_rpn)))


class BoxHead(nn.Module):
    """A map (1, C, h, w) and boxes (n, 4) in its pixels -> logits (n, K) and offsets (n, 4 K)."""

    output_names: tuple[str, ...] = ("logits", "offsets")

    def __init__(self, heads: MaskRoIHeads):
        super().__init__()
        self.heads = heads

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.heads.probe([features], boxes, 1)[:2])


class MaskHead(BoxHead):
    """A map (1, C, h, w) and boxes (n, 4) in its pixels -> probabilities of the masks (n, K, 28, 28)."""

    output_names = ("masks",)

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        return (self.heads.probe([features], boxes, boxes.shape[0])[2].sigmoid(),)


def check_instances(model: InstanceSegmenter, options: Mapping[str, Any]) -> None:
    """Refuse networks and options that have no exported form.

    Args:
        model: the network.
        options: those that semantic segmentation alone has, by name, with values that are not the default.

    Raises:
        ValueError: see above.
    """
    for name, value in options.items():
        raise ValueError(f"{name} is not supported for instance segmentation; got {value!r}: leave it out")
    if not isinstance(model.roi_heads, MaskRoIHeads):
        raise ValueError(
            "an exported instance segmentation network must be a Mask R-CNN; got FCIS, and ONNX has no pooling of "
            "position-sensitive scores: export a maskrcnn or zigzag_maskrcnn network"
        )
    if not isinstance(model.roi_heads.box_roi_pool, MultiScaleRoIAlign):
        raise ValueError(
            "an exported instance segmentation network must read regions by RoIAlign; got deformable pooling, which "
            "ONNX does not have: export a maskrcnn or zigzag_maskrcnn network"
        )


def export_instances(model: InstanceSegmenter, out: Path, config: dict[str, Any]) -> ExportReport:
    """Export a network that :func:`check_instances` accepts; ``config`` is its metadata.

    The graphs are compared with eager mode before anything is put in place: all of their outputs, on images of four
    sizes. Times are those of whole predictions.
    """
    network = copy_for_inference(model, share=False)
    heads = network.roi_heads
    assert isinstance(heads, MaskRoIHeads)
    parts: dict[str, MapsAndProposals | BoxHead] = {
        "model.onnx": MapsAndProposals(network).eval(),
        "boxes.onnx": BoxHead(heads).eval(),
        "masks.onnx": MaskHead(heads).eval(),
    }
    config = {**config, "detection": _detection(network)}
    with new_folder(out) as folder:
        start = time.perf_counter()
        image = torch.randn(1, network.in_chans, *TRACED_SIZE, generator=torch.Generator().manual_seed(0))
        program = trace(parts["model.onnx"], image, 2, (LEAST_SIDE, MAX_SIDE))
        exported = to_onnx(program, ["image"], parts["model.onnx"].output_names)
        exported.model.metadata_props.update({key: json.dumps(value) for key, value in config.items()})
        exported.save(folder / "model.onnx", external_data=False)
        features = parts["model.onnx"](image)[0].detach()
        for name in ("boxes.onnx", "masks.onnx"):
            program = _trace_head(parts[name], features)
            exported = to_onnx(program, ["map", "boxes"], parts[name].output_names)
            exported.save(folder / name, external_data=False)
        seconds = round(time.perf_counter() - start, 1)
        shutil.copyfile(onnx_instances.__file__, folder / "predict.py")
        shutil.copyfile(onnx_predictor.__file__, folder / "onnx_predictor.py")
        comparisons = _compare(network, parts, folder)
        size = sum((folder / name).stat().st_size for name in parts)
        report = ExportReport(
            out / "model.onnx",
            "onnx",
            config["precision"],
            "logits",
            TOLERANCE["float32"],
            seconds,
            round(size / 1e6, 2),
            comparisons,
        )
        write_json(folder / "config.json", config)
        write_json(folder / "report.json", report.to_dict())
        write_text(folder / "README.md", instances_readme(config, report))
    return report


def _trace_head(head: nn.Module, features: Tensor) -> torch.export.ExportedProgram:
    """Trace a head for maps of any size and two boxes or more."""
    height, width = (torch.export.Dim(name, min=2, max=MAX_SIDE) for name in ("height", "width"))
    count = torch.export.Dim("count", min=2)
    shapes = ({2: height, 3: width}, {0: count})
    with torch.inference_mode(False), torch.no_grad():
        return torch.export.export(head, (features, _regions(features)), dynamic_shapes=shapes)


def _regions(features: Tensor) -> Tensor:
    """Return ever smaller boxes in a map (1, C, h, w), in its pixels."""
    height, width = features.shape[2:]
    shares = torch.arange(1, _REGIONS + 1)[:, None] / _REGIONS
    return torch.tensor([width, height] * 2) * shares * torch.tensor([0.3, 0.2, 1.0, 0.9])


def _detection(network: InstanceSegmenter) -> dict[str, Any]:
    """Return what selects the proposals and instances, for ``config.json``."""
    rpn, heads, resize = network.rpn, network.roi_heads, network.resize
    assert isinstance(heads, MaskRoIHeads)
    return {
        "resize": [resize.min_size[-1], resize.max_size],
        "size_divisor": resize.size_divisible,
        "anchors": [cells.tolist() for cells in rpn.anchor_generator.cell_anchors],
        "proposals_before_nms": rpn._pre_nms_top_n["testing"],
        "proposals": rpn._post_nms_top_n["testing"],
        "proposals_nms": rpn.nms_thresh,
        "box_weights": list(heads.box_coder.weights),
        "nms": heads.nms_thresh,
        "max_detections": network.max_detections,
    }


def _compare(network: InstanceSegmenter, parts: Mapping[str, nn.Module], folder: Path) -> list[Comparison]:
    """Compare all outputs of the graphs, and measure whole predictions, on random images.

    Raises:
        ValueError: outputs that differ by more than the tolerance.
    """
    exported = onnx_instances.OnnxInstancePredictor(folder / "model.onnx")
    eager = InstancePredictor(network)
    comparisons, limit = [], TOLERANCE["float32"]
    for seed, size in enumerate(IMAGE_SIZES):
        shape = (*size, network.in_chans)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        greatest = max(map(difference, *_outputs(parts, folder, torch.from_numpy(exported.to_input(pixels)))))
        # Written so that NaN is refused, too.
        if not greatest <= limit:
            raise ValueError(
                f"an exported network must give the numbers of eager mode to {limit:g}; at {size[0]} x {size[1]} they "
                f"differ by {greatest:.3g}: nothing was written; please report it"
            )
        _, eager_ms, eager_mb = measure_run(eager.predict, pixels)
        _, exported_ms, exported_mb = measure_run(exported.predict, pixels)
        comparisons.append(Comparison(size, float(greatest), eager_ms, exported_ms, eager_mb, exported_mb))
    return comparisons


def _outputs(
    parts: Mapping[str, nn.Module], folder: Path, image: Tensor
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Return all outputs of the graphs, and those of eager mode."""
    import onnxruntime

    found, expected, inputs = [], [], [image]
    for name, module in parts.items():
        session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        found += session.run(None, {key: value.numpy() for key, value in zip(names, inputs)})
        with torch.inference_mode():
            outputs = module(*inputs)
        expected += [one.numpy() for one in outputs]
        if len(inputs) == 1:
            inputs = [outputs[0], _regions(outputs[0])]
    return found, expected
