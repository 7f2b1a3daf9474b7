"""Forward passes: time, multiplications and memory."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from peers import create
from torch.utils.flop_counter import FlopCounterMode

import gatezoo
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.segmenters.base import BaseSegmenter

from .timing import medians, memory, run_in_fresh_process


def peak_memory(
    name: str, batch: int, size: tuple[int, int], iterations: int | None = None, **model_kwargs: Any
) -> float:
    """Return the MiB that building a network and running it on images of a size adds to a fresh process."""
    (needed,) = run_in_fresh_process("networks", f"run_once({name!r}, {batch}, {size}, {iterations}, **{model_kwargs})")
    return needed


def run_once(name: str, batch: int, size: tuple[int, int], iterations: int | None, **model_kwargs: Any) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which the imports reached
    before = memory("VmRSS")
    model = create(name, **model_kwargs).eval()
    with torch.inference_mode():
        image = torch.randn(batch, 3, *size)
        depth = {"depth": torch.full_like(image[:, 0], 2.0)}
        extra = model.extra_inputs(depth) if isinstance(model, BaseSegmenter) else {}
        model(image, **({} if iterations is None else {"iterations": iterations}), **extra)
    print(memory("VmHWM") - before)


@torch.inference_mode()
def measure(
    name: str, model_kwargs: dict, size: int, batch: int, iterations: int, repeats: int, device: str, memory: bool
) -> dict:
    """Measure one network and return its row of the table."""
    meta = on_meta(name, **model_kwargs)
    recurrent = "iterations" in meta.capabilities
    passes = {"iterations": iterations} if recurrent else {}
    counts = count_gmacs(meta, size, size, **passes)
    row = {
        "model": " ".join([name, *(f"{key}={value}" for key, value in model_kwargs.items())]),
        "size": size,
        "batch": batch,
        "iterations": iterations if recurrent else "",
        "params_m": round(count_parameters(meta) / 1e6, 3),
        "gmac": round(counts, 2),
    }
    model = gatezoo.create_model(name, **model_kwargs).eval().to(device)
    image = torch.randn(batch, 3, size, size, device=device)
    extra = model.extra_inputs({"depth": torch.full_like(image[:, 0], 2.0)})
    calls = [lambda: model(image, **passes, **extra)]
    if recurrent:
        calls.append(lambda: model(image, iterations=1, **extra))
    whole, *once = medians(calls, repeats, device)
    row["ms_per_image"] = round(1000 * whole / batch, 2)
    if memory:
        row["peak_mib"] = round(
            peak_memory(name, batch, (size, size), iterations if recurrent else None, **model_kwargs)
        )
    if recurrent:
        row["time_ratio"] = round(whole / once[0], 3)
        row["gmac_ratio"] = round(counts / count_gmacs(meta, size, size, iterations=1), 3)
    return row


@torch.inference_mode()
def measure_against(names: list[str], size: int, batch: int, repeats: int, device: str, memory: bool) -> list[dict]:
    """Measure networks in turn; ratios are relative to the first."""
    image = torch.randn(batch, 3, size, size, device=device)
    models = [gatezoo.create_model(name).eval().to(device) for name in names]
    times = medians([functools.partial(model, image) for model in models], repeats, device)
    rows = []
    for name, model, seconds in zip(names, models, times):
        with FlopCounterMode(display=False) as counter:
            model(image[:1])
        row = {"model": name, "size": size, "batch": batch, "params_m": round(count_parameters(model) / 1e6, 3)}
        row |= {"gmac": counter.get_total_flops() / 2e9, "ms_per_image": round(1000 * seconds / batch, 2)}
        if memory:
            row["peak_mib"] = round(peak_memory(name, batch, (size, size)))
        rows.append(row)
    for row, seconds in zip(rows, times):
        row["time_ratio"] = round(seconds / times[0], 3)
        row["gmac_ratio"] = round(row["gmac"] / rows[0]["gmac"], 3)
    return [row | {"gmac": round(row["gmac"], 2)} for row in rows]


@torch.inference_mode()
def measure_pooling(name: str, size: int, batch: int, repeats: int, device: str) -> dict:
    """Measure the milliseconds of gated pooling on a random map in which equally many pixels choose each scale.

    Compared with one 3x3 convolution with the multiplications of a hard gate, and one with those of a soft gate (S
    times the output channels).
    """
    model = gatezoo.create_model(name, num_classes=2).eval().to(device)
    branches, side = model.head.pooling.branches, -(-size // model.backbone.output_stride)
    width, scales = branches.convs[0][0].in_channels, len(branches.dilations)
    x = torch.randn(batch, width, side, side, device=device)
    choice = torch.arange(side * side, device=device).reshape(1, side, side).expand(batch, -1, -1) * scales // side**2
    weights = torch.nn.functional.one_hot(choice, scales).permute(0, 3, 1, 2).float()
    kernel = branches.convs[0][0].weight
    many = kernel.repeat(scales, 1, 1, 1)
    calls = [
        lambda: branches(x, weights),
        lambda: branches.forward_hard(x, choice),
        lambda: torch.nn.functional.conv2d(x, many, padding=1),
        lambda: torch.nn.functional.conv2d(x, kernel, padding=1),
    ]
    columns = ("soft_ms", "hard_ms", "conv_of_soft_ms", "conv_of_hard_ms")
    times = medians(calls, repeats, device)
    row = {"model": name, "size": size, "batch": batch, "width": width}
    return row | {key: round(1000 * time, 2) for key, time in zip(columns, times)}
