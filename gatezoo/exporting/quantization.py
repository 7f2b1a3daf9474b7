"""Static quantization of an exported network to 8 bits, and what it loses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.prediction import PassMaps
from .calibration import CalibrationImages
from .report import Quantization, Run

# Least share of the pixels of held-out images that must keep their class. Networks that learned from data keep far
# more; fewer mean that something went wrong.
MIN_AGREEMENT = 0.8
# Convolutions, and what they are fused with. All else keeps 32 bits: gates, normalizations and resizes take little
# time, and their small numbers lose most.
_OPERATIONS = ["Conv", "Add", "Clip", "Relu"]
# The first convolutions keep 32 bits, too: those of MobileNets, up to the first projection, lose more than all others.
FIRST_CONVOLUTIONS = 3


def quantize_onnx(source: Path, images: CalibrationImages, target: Path) -> Path:
    """Write an ONNX file with 8-bit weights and activations, which are quantized as the images say.

    Weights are quantized per output channel, x = s q, to 7 bits: processors without VNNI add pairs of products of 8
    bits in 16, which would overflow. Activations are x = s (q - z) with q in 0 .. 255, and cover the range that they
    have on the images (Jacob et al., 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference"). The first convolutions and the last, which give the logits, keep 32 bits.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Reader(quantization.CalibrationDataReader):
        def __init__(self, name: str):
            self._name, self._images = name, iter(images.read(images.calibration))

        def get_next(self) -> dict[str, np.ndarray] | None:
            item = next(self._images, None)
            return None if item is None else {self._name: item[0].numpy()}

    prepared = target.with_suffix(".prepared.onnx")
    shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    first = [node.name for node in graph.node if node.op_type == "Conv"][:FIRST_CONVOLUTIONS]
    quantization.quantize_static(
        prepared,
        target,
        Reader(graph.input[0].name),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=_OPERATIONS,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=[*first, *_last_convolutions(graph)],
    )
    return target


def _last_convolutions(graph: Any) -> list[str]:
    """Return the names of the convolutions from which a path without another one leads to an output."""
    producers = {name: node for node in graph.node for name in node.output}
    waiting, seen, found = [output.name for output in graph.output], set(), []
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            waiting += node.input
    return found


def measure(full: Run, small: Run, images: CalibrationImages, num_classes: int, full_mb: float) -> Quantization:
    """Run a float32 export and its int8 export on the images that are held out.

    Raises:
        ValueError: fewer pixels than ``MIN_AGREEMENT`` that keep their class; labels of which none counts.
    """
    # Of the train extra, which unlabeled images do without.
    if images.labeled:
        from ..metrics import SegmentationMetric

        scores = [SegmentationMetric().start(num_classes, images.ignore_index) for _ in range(2)]
    times: list[tuple[float, float]] = []
    equal = pixels = 0
    for image, labels in images.read(images.held_out):
        both, taken = zip(*(_timed(run, image) for run in (full, small)))
        times.append(taken)
        equal += int((both[0] == both[1]).sum())
        pixels += both[0].numel()
        if labels is not None:
            for score, classes in zip(scores, both):
                score.update(PassMaps(classes), {"mask": labels})
    if images.labeled and not scores[0].confusion_matrix().any():
        raise ValueError(
            f"labels of calibration images must hold a pixel that counts; all are {images.ignore_index} (ignored)"
        )
    agreement = equal / pixels
    if not agreement >= MIN_AGREEMENT:
        raise ValueError(
            f"an 8-bit export must keep the class of {MIN_AGREEMENT:.0%} of the pixels of held-out images; it keeps "
            f"{agreement:.1%}: calibrate on images like those that it is for, or export fp16"
        )
    full_miou, small_miou = (score.compute()["miou"] for score in scores) if images.labeled else (None, None)
    full_ms, small_ms = (round(float(ms), 2) for ms in np.median(times, axis=0))
    return Quantization(
        len(images.calibration),
        len(images.held_out),
        agreement,
        full_miou,
        small_miou,
        None if full_miou is None or small_miou is None else full_miou - small_miou,
        full_ms,
        small_ms,
        full_mb,
    )


def _timed(run: Run, image: Tensor) -> tuple[Tensor, float]:
    """Return the classes (H, W), and the time in milliseconds."""
    start = time.perf_counter()
    found = run(image)[-1]
    taken = 1000 * (time.perf_counter() - start)
    return torch.from_numpy(found[0].argmax(0) if found.dtype.kind == "f" else found[0]), taken
