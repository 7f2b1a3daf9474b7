"""Networks beside those of other libraries: eager and exported, with what it takes to load and to export them."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import create
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import gatezoo
from gatezoo.exporting.formats import FORMATS
from gatezoo.exporting.report import TOLERANCE
from gatezoo.model_info import count_parameters, on_meta
from gatezoo.utils.modules import copy_for_inference

from .networks import peak_memory
from .timing import medians


def measure_beside(names: Sequence[str], size: tuple[int, int], repeats: int, memory: bool = True) -> list[dict]:
    """Measure networks of ours, and peers as NAME/PEER, all of them in turn, eager and in ONNX Runtime.

    Both take one image of one size, with as many threads as torch has. Networks of segmentation_models_pytorch that
    want sides of multiples of their stride take the next larger ones, as their users pad images.

    Args:
        names: of the networks; times are relative to the first.
        size: height and width of the image.
        repeats: runs after a warm-up, of which the median counts.
        memory: measure the peak memory, too, each in a fresh process.

    Raises:
        ValueError: a network that takes more than an image, or exported numbers that differ from eager ones.
    """
    rows, calls = [], []
    with tempfile.TemporaryDirectory() as folder:
        _export(nn.Conv2d(3, 1, 1).eval(), torch.randn(1, 3, 8, 8), Path(folder))  # the first export also imports
    for name in names:
        row, eager, exported = _prepare(name, size)
        if memory:
            row["peak_mib"] = round(peak_memory(name, 1, (row["height"], row["width"])))
        rows.append(row)
        calls += [eager, exported]
    times = medians(calls, repeats, "cpu")
    for row, eager, exported in zip(rows, times[::2], times[1::2]):
        row |= {"eager_ms": round(1000 * eager, 2), "onnx_ms": round(1000 * exported, 2)}
        row |= {"eager_ratio": round(eager / times[0], 3), "onnx_ratio": round(exported / times[1], 3)}
        row["gmac_ratio"] = round(row["gmac"] / rows[0]["gmac"], 3)
    return rows


@torch.no_grad()
def _prepare(name: str, size: tuple[int, int]) -> tuple[dict[str, Any], Callable[[], object], Callable[[], object]]:
    """Return what is known of a network before it is timed, and the calls of it and of the exported network."""
    own, _, peer = name.partition("/")
    meta = on_meta(own)
    if meta.task != "semantic" or meta.takes_depth:
        raise ValueError(f"networks beside peers must take an image alone; got {own}: choose another")
    torch.manual_seed(0)
    model = create(name).eval()
    height, width = (_padded(side, model) for side in size)
    image = torch.randn(1, 3, height, width)
    with FlopCounterMode(display=False) as counter:
        expected = _logits(model(image)).numpy()
    row: dict[str, Any] = {
        "network": peer or own,
        "backbone": meta.backbone.name,
        "stride": meta.backbone.output_stride,
        "height": height,
        "width": width,
        "iterations": "" if peer else getattr(meta, "iterations", ""),
        "params_m": round(count_parameters(model) / 1e6, 3),
        "gmac": round(counter.get_total_flops() / 2e9, 3),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
        (seconds,) = medians([functools.partial(_load, name, path, meta.num_classes)], 3, "cpu")
        row["load_s"] = round(seconds, 3)
        run, seconds = _export(model, image, Path(folder))
        row["export_s"] = round(seconds, 2)
    difference = float(np.abs(run() - expected).max() / np.abs(expected).max())
    # Written so that NaN is refused, too.
    if not difference <= TOLERANCE["float32"]:
        raise ValueError(f"{name} must have the same numbers in ONNX Runtime; they differ by {difference:.3g}")
    return row, torch.inference_mode()(functools.partial(model, image)), run


def _load(name: str, path: Path, num_classes: int) -> None:
    """Create a network from a file of weights; ours would have as many classes as its published weights, if any."""
    if "/" not in name:
        gatezoo.create_model(name, num_classes=num_classes, checkpoint_path=path)
    else:
        create(name).load_state_dict(load_file(path))


def _export(model: nn.Module, image: Tensor, folder: Path) -> tuple[Callable[[], np.ndarray], float]:
    """Export a network for the size of an image; return the call of ONNX Runtime and the seconds of the export."""
    import onnxruntime

    network, names = copy_for_inference(model), {"input": {"name": "image"}, "output_names": ["logits"]}
    start = time.perf_counter()
    file = FORMATS["onnx"].convert(torch.export.export(network, (image,)), folder, names)
    seconds = time.perf_counter() - start
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pixels = image.numpy()
    return lambda: session.run(None, {"image": pixels})[0], seconds


def _logits(found: Any) -> Tensor:
    """Return the logits: torchvision's networks return a dict."""
    return found["out"] if isinstance(found, dict) else found


def _padded(side: int, model: nn.Module) -> int:
    """Return the shortest side that a network takes and that is not below ``side``."""
    multiple = model.encoder.output_stride if getattr(model, "requires_divisible_input_shape", False) else 1
    return -(-side // multiple) * multiple
