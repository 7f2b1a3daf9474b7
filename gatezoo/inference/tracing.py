"""Trace a network and turn it into ONNX, for files of its own and for runtimes within this process."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..utils.garbage import no_garbage_collection

# Sides of images of a free size. The upper bound is what size expressions are checked for, not a measured limit.
MIN_SIDE, MAX_SIDE = 64, 4096
TRACED_SIZE = (136, 168)


def trace(module: nn.Module, image: Tensor, axis: int, sides: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """Trace a module that takes one image.

    Args:
        module: in evaluation mode; its weights must be its own, since they change their layout.
        image: an example, a batch of one.
        axis: of the image's height; that of its width follows.
        sides: bounds of both, which are then free; None for the size of the example alone.
    """
    shapes = None
    if sides:
        low, high = sides
        height, width = (torch.export.Dim(name, min=low, max=high) for name in ("height", "width"))
        shapes = ({axis: height, axis + 1: width},)
    with torch.inference_mode(False), torch.no_grad(), no_garbage_collection(), _without_changes_in_place(module):
        # In channels_last the strides of a map of one channel, such as a gate, are ambiguous, and tracing would
        # restrict the free sizes to tell them apart.
        module.to(memory_format=torch.contiguous_format)
        return torch.export.export(module, (image,), dynamic_shapes=shapes)


def to_onnx(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]
) -> torch.onnx.ONNXProgram:
    """Convert a traced module to ONNX, with these names of inputs and outputs."""
    from onnxscript import optimizer

    silence = contextlib.redirect_stdout(io.StringIO())
    with torch.inference_mode(False), torch.no_grad(), no_garbage_collection(), silence, _without_advice():
        exported = torch.onnx.export(
            program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False, optimize=False
        )
        assert exported is not None
        # Further rounds find next to nothing, and take as long.
        optimizer.optimize(exported.model, num_iterations=1)
    return exported


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the optimizer from warning of every operation that it leaves as it is."""
    logger = logging.getLogger("onnxscript.optimizer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _without_changes_in_place(module: nn.Module) -> Iterator[None]:
    """Let activations return new maps: what is done in place takes many times as long to make functional for ONNX."""
    changed = [part for part in module.modules() if getattr(part, "inplace", False)]
    for part in changed:
        part.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in changed:
            part.inplace = True  # type: ignore[assignment]
