"""Export a network into a folder with its metadata, a report and what runs it."""

from __future__ import annotations

import inspect
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ..factory import load_model
from ..inference import onnx_predictor
from ..inference.folding import prepare_for_inference
from ..inference.inputs import trained_image_max
from ..inference.tracing import MAX_SIDE, MIN_SIDE, TRACED_SIZE, trace
from ..layers.normalize import channel_stats
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.choices import check_choice
from ..utils.environment import versions
from ..utils.files import check_new_folder, new_folder, write_json, write_text
from ..utils.modules import copy_for_inference
from ..utils.optional import require_extra
from ..utils.text import shorten
from .calibration import CalibrationImages
from .documents import folder_readme
from .formats import FORMATS
from .instances import LEAST_SIDE, MapsAndProposals, check_instances, export_instances
from .module import OUTPUTS, ExportedNetwork
from .quantization import measure, quantize_onnx
from .report import ExportReport, compare, size_mb, tolerance_of

OTHER_SIZES = ((101, 83), (97, 160), (224, 131))
# Images that a network of a fixed size is checked on.
FIXED_IMAGES = 3


def export(
    model: BaseSegmenter | str | os.PathLike,
    out: str | os.PathLike,
    format: str = "onnx",
    *,
    size: tuple[int, int] | None = None,
    iterations: int | None = None,
    outputs: str = "logits",
    fp16: bool = False,
    preprocessing: bool = False,
    int8: bool = False,
    calibration: Any = None,
) -> ExportReport:
    """Export a network, and compare the exported numbers with those of eager mode.

    The comparison, at the traced size and three others, or on three images of a fixed size, comes before anything is
    put in place: a folder exists whole or not at all. It holds ``model.onnx``, ``model.xml`` with ``model.bin``, or
    ``model.pt2``, ``config.json``, ``report.json``, ``README.md`` and, but for ``model.pt2``, ``predict.py``, which
    needs numpy, Pillow and onnxruntime or openvino alone.

    Of instance segmentation, Mask R-CNN is exported, to ONNX of free size: its maps and proposals, ``model.onnx``, and
    its heads, ``boxes.onnx`` and ``masks.onnx``; ``predict.py`` selects the instances.

    Args:
        model: the network, on the CPU, or a name as :func:`gatezoo.create_model` takes it, with its weights.
        out: folder; new or empty.
        format: "onnx", "openvino", or "torch" for ``torch.export.load``.
        size: height and width of all images; default: free, each side in 64 .. 4096.
        iterations: passes of an unrolled network; default: its own number.
        outputs: "logits" (1, K, H, W), "classes" (1, H, W), or "passes", the logits of each pass.
        fp16: store weights in 16 bits; they are computed with in 32.
        preprocessing: take uint8 images (1, H, W, C) and normalize them in the graph; default: normalized float32
            (1, C, H, W).
        int8: compute convolutions in 8 bits. The numbers are then not those of eager mode: the report says what is
            lost, and the comparison is of the float32 export that is quantized.
        calibration: with ``int8``: a folder of images, or a data set such as :class:`gatezoo.data.FolderDataset`; see
            :mod:`gatezoo.exporting.calibration`.

    Raises:
        ValueError: a network or an option that cannot be exported, a package that is not installed, a folder that is
            not empty, numbers that differ from those of eager mode, or 8 bits that lose too much.
    """
    chosen = FORMATS[check_choice("format", format, FORMATS)]
    check_choice("outputs", outputs, OUTPUTS)
    precision = _precision(format, fp16, int8, calibration)
    require_extra(chosen.extra, f"an export to {format}", *chosen.packages, *["onnxruntime"] * int8)
    out = Path(out)
    check_new_folder(out)
    network = _load(model)
    _check_network(network)
    if isinstance(network, InstanceSegmenter):
        options = {"format": format, "size": size, "iterations": iterations, "outputs": outputs, "fp16": fp16}
        options |= {"preprocessing": preprocessing, "int8": int8}
        defaults = inspect.signature(export).parameters
        check_instances(network, {key: value for key, value in options.items() if value != defaults[key].default})
        return export_instances(
            network, out, _config(network, MapsAndProposals(network), format, None, "float32", LEAST_SIDE)
        )
    assert isinstance(network, SemanticSegmenter)
    _check_passes(network, iterations, outputs)
    low = max(MIN_SIDE, network.min_size)
    _check_size(size, network.min_size)
    module = ExportedNetwork(copy_for_inference(network), outputs, iterations, preprocessing).eval()
    sides = None if size else (low, MAX_SIDE)
    sizes = [size] * FIXED_IMAGES if size else [TRACED_SIZE, *OTHER_SIZES]
    sizes = [(max(height, low), max(width, low)) for height, width in sizes] if sides else sizes
    images = None
    if int8:
        images = CalibrationImages(calibration, network, preprocessing, size, sides or (low, 1 << 14))
    config = _config(network, module, format, size, precision, low)
    with new_folder(out) as folder:
        scratch = folder.parent
        start = time.perf_counter()
        # Folded here, batch norm need be neither traced nor converted, which takes a good part of the time.
        prepared = ExportedNetwork(prepare_for_inference(network), outputs, iterations, preprocessing).eval()
        program = trace(prepared, module.example(*sizes[0]), 1 if preprocessing else 2, sides)
        source = chosen.convert(program, scratch, config)
        file = chosen.write(source, scratch if images else folder, config)
        seconds = round(time.perf_counter() - start, 1)
        run = chosen.load(file)
        comparisons, quantization = compare(module, run, sizes, "float32" if images else precision), None
        if images:
            full_mb = size_mb(file)
            file = chosen.write(quantize_onnx(source, images, scratch / "int8.onnx"), folder, config)
            quantization = measure(run, chosen.load(file), images, network.num_classes, full_mb)
        report = ExportReport(
            out / file.name,
            format,
            precision,
            "classes" if outputs == "classes" else "logits",
            tolerance_of(module, "float32" if images else precision),
            seconds,
            size_mb(file),
            comparisons,
            quantization,
        )
        write_json(folder / "config.json", config)
        write_json(folder / "report.json", report.to_dict())
        write_text(folder / "README.md", folder_readme(config, report))
        if chosen.has_script:
            shutil.copyfile(onnx_predictor.__file__, folder / "predict.py")
    return report


def _precision(format: str, fp16: bool, int8: bool, calibration: Any) -> str:
    """Return the precision of the weights."""
    precision = "int8" if int8 else "float16" if fp16 else "float32"
    if fp16 and int8:
        raise ValueError("weights must be stored in 16 bits or in 8; got fp16 and int8: leave one out")
    if int8 != (calibration is not None):
        got = "int8 alone" if int8 else "calibration alone"
        raise ValueError(f"int8 and calibration must be given together; got {got}: pass both, or neither")
    if precision not in FORMATS[format].precisions:
        option = "int8" if int8 else "fp16"
        raise ValueError(f"{option} is not supported for format={format!r}: leave it out, or choose onnx or openvino")
    return precision


def _load(model: BaseSegmenter | str | os.PathLike) -> BaseSegmenter:
    network: Any = load_model(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else model
    if not isinstance(network, BaseSegmenter):
        raise ValueError(
            f"model must be a network of the zoo or its name; got {shorten(model)}: pass gatezoo.create_model(NAME, "
            "pretrained=True)"
        )
    return network


def _check_network(model: BaseSegmenter) -> None:
    """Refuse networks that have no exported form."""
    if isinstance(model, SemanticSegmenter) and model.takes_depth:
        raise ValueError(
            "an exported network must take an image alone; this one is also given depth: export it with torch.export"
        )
    full = trained_image_max(model)
    if full not in (None, 255):
        raise ValueError(
            f"an exported network must be trained on images in 0 .. 255; got image_max={full:g}: export it with "
            "torch.export"
        )
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise ValueError(f"an exported network must be on the CPU; got {device}: call model.cpu()")


def _check_passes(model: SemanticSegmenter, iterations: int | None, outputs: str) -> None:
    """Refuse passes of networks that have one."""
    for name, given in (("iterations", iterations is not None), ("outputs='passes'", outputs == "passes")):
        if given and "iterations" not in model.capabilities:
            raise ValueError(f"{name} requires a network that is unrolled; got one of a single pass: leave it out")
    if iterations is not None:
        model.resolve_iterations(iterations)  # type: ignore[operator]


def _check_size(size: tuple[int, int] | None, low: int) -> None:
    if size is None:
        return
    sides = tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and low <= side <= 1 << 14 for side in sides):
        raise ValueError(
            f"size must be height and width of at least {low} pixels; got {shorten(size)}: pass size=(480, 640)"
        )


def _config(
    model: BaseSegmenter,
    module: ExportedNetwork | MapsAndProposals,
    format: str,
    size: tuple[int, int] | None,
    precision: str,
    low: int,
) -> dict[str, Any]:
    """Return the metadata of an export: ``config.json``, and the metadata of an ONNX file."""
    cfg, expected = model.pretrained_cfg, model.data_config
    mean, std = channel_stats(expected.mean, expected.std, model.in_chans)
    image = module.normalize is not None
    return {
        "name": cfg.name if cfg else model.architecture or type(model).__name__,
        "format": format,
        "task": model.task,
        "input": {
            "name": "image",
            "dtype": "uint8" if image else "float32",
            "layout": "NHWC" if image else "NCHW",
            "size": list(size) if size else None,
            "sides": [getattr(model, "min_size", low), 1 << 14] if size else [low, MAX_SIDE],
        },
        "in_chans": model.in_chans,
        "outputs": module.outputs,
        "output_names": list(module.output_names),
        "preprocessing": image,
        "precision": precision,
        "class_names": model.class_names,
        "palette": [list(color) for color in model.palette],
        "ignore_index": cfg.ignore_index if cfg else 255,
        "label_format": dict(cfg.label_format) if cfg else {},
        "mean": list(mean),
        "std": list(std),
        "license": cfg.license if cfg else "",
        "data_license": cfg.data_license if cfg else "",
        "versions": versions("gatezoo"),
    }
