"""Absolute times of networks on a GPU: precisions, layouts and compilers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import gatezoo
from gatezoo.segmenters.base import BaseSegmenter

from .timing import medians

# One of each family, and the small networks with weights.
NAMES = (
    "fcn_resnet101_8s",
    "dignet_resnet101_8s",
    "rignet_r101_pf",
    "pspnet_r101",
    "gff_pspnet_r101",
    "depthgate_r101",
    "fpn_r101",
    "zigzag_r101",
    "dignet_lite0_8s",
    "gff_pspnet_lite0_nodfp",
    "zigzag_lite0",
)
# Seconds after which nothing more is begun that would end after this time.
BUDGET = 480


def _compile(model: BaseSegmenter) -> BaseSegmenter:
    return gatezoo.optimize(model, "compile")


def _compile_graphs(model: BaseSegmenter) -> BaseSegmenter:
    optimized = gatezoo.optimize(model, "eager")
    optimized.compile(mode="reduce-overhead")  # records the unrolled passes as one CUDA graph
    return optimized


@dataclass(frozen=True)
class Setting:
    """How a network runs.

    Attributes:
        tf32: let float32 convolutions and products round their factors.
        bf16: run under autocast.
        channels_last: layout of weights and image.
        compile: makes a compiled copy of the network.
    """

    tf32: bool = False
    bf16: bool = False
    channels_last: bool = False
    compile: Callable[[BaseSegmenter], BaseSegmenter] | None = None


SETTINGS = {
    "float32": Setting(),
    "TF32": Setting(tf32=True),
    "bf16": Setting(bf16=True),
    "bf16, channels_last": Setting(bf16=True, channels_last=True),
    "bf16, compiled": Setting(bf16=True, channels_last=True, compile=_compile),
    "bf16, CUDA graphs": Setting(bf16=True, channels_last=True, compile=_compile_graphs),
}


def measure_settings(
    names: Sequence[str],
    size: int,
    batch: int,
    repeats: int,
    device: torch.device,
    settings: dict[str, Setting] = SETTINGS,
    budget: float = BUDGET,
) -> Iterator[dict]:
    """Yield a row for each network in each setting, the compiled ones last.

    ``error`` is the mean difference of the logits from those of float32, as a share of their standard deviation. What
    would end after ``budget`` seconds, going by the longest step of the same setting so far, is left out.
    """
    started, expected = time.monotonic(), {}
    for title, setting in settings.items():
        longest = 0.0
        for name in names:
            row: dict = {"model": name, "setting": title, "size": size, "batch": batch}
            began = time.monotonic()
            if setting.compile and began - started + longest > budget:
                yield row | {"ms_per_image": "left out: no time"}
                continue
            try:
                found, logits = _measure(name, setting, size, batch, repeats, device)
            except (RuntimeError, torch.OutOfMemoryError) as error:
                yield row | {"ms_per_image": f"failed: {str(error).splitlines()[0][:80]}"}
                continue
            logits, reference = logits.float().cpu(), expected.setdefault(name, logits.float().cpu())
            error = float((logits - reference).abs().mean() / reference.std())
            longest = max(longest, time.monotonic() - began)
            yield row | found | {"error": f"{error:.1e}"}


def _measure(
    name: str, setting: Setting, size: int, batch: int, repeats: int, device: torch.device
) -> tuple[dict, Tensor]:
    """Return the figures of a network in a setting, and its logits for the same image in every setting."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name).eval().to(device)
    image = torch.randn(batch, 3, size, size).to(device)
    extra = model.extra_inputs({"depth": torch.full_like(image[:, 0], 2.0)})
    if setting.channels_last:
        model, image = (x.to(memory_format=torch.channels_last) for x in (model, image))
    network: nn.Module = setting.compile(model) if setting.compile else model
    on_cuda = device.type == "cuda"

    @torch.inference_mode()
    def call() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=setting.bf16):
            return network(image, **extra)

    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    precision = "tf32" if setting.tf32 else "ieee"
    try:
        torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = precision
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        began = time.monotonic()
        logits = call().clone()  # the memory of a CUDA graph is written again by its next run
        row: dict = {"first_call_s": round(time.monotonic() - began, 1)}
        (seconds,) = medians([call], repeats, str(device))
    finally:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before
    row |= {"ms_per_image": round(1000 * seconds / batch, 2)}
    if on_cuda:
        row["peak_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return row, logits
