"""The module that is traced: a network with its preprocessing and its outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..segmenters.base import SemanticSegmenter

OUTPUTS = ("logits", "classes", "passes")


class ExportedNetwork(nn.Module):
    """A semantic segmentation network as it is exported: one image in, one or several maps out.

    Args:
        model: the network, in evaluation mode.
        outputs: "logits" (1, K, H, W); "classes" (1, H, W) of uint8, of int32 for more than 256 classes; or "passes",
            the logits of each pass.
        iterations: number of passes of an unrolled network; None for its own.
        preprocessing: take uint8 images (1, H, W, C) and normalize them; else normalized float32 (1, C, H, W).
    """

    def __init__(self, model: SemanticSegmenter, outputs: str, iterations: int | None, preprocessing: bool):
        super().__init__()
        self.model, self.outputs = model, outputs
        self.normalize = model.make_normalize() if preprocessing else None
        self.kwargs: dict[str, Any] = {} if iterations is None else {"iterations": iterations}

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.normalize is not None:
            image = self.normalize(image.permute(0, 3, 1, 2).float())
        if self.outputs == "passes":
            return tuple(one.logits for one in self.model.iterate_outputs(image, details=False, **self.kwargs))
        logits = self.model(image, **self.kwargs)
        if self.outputs == "logits":
            return logits
        return logits.argmax(1).to(torch.uint8 if self.model.num_classes <= 256 else torch.int32)

    def example(self, height: int, width: int, seed: int = 0) -> Tensor:
        """Return a random image that the module takes."""
        generator = torch.Generator().manual_seed(seed)
        channels = self.model.in_chans
        if self.normalize is None:
            return torch.randn(1, channels, height, width, generator=generator)
        return torch.randint(256, (1, height, width, channels), dtype=torch.uint8, generator=generator)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        if self.outputs != "passes":
            return [self.outputs]
        passes = self.kwargs.get("iterations", getattr(self.model, "iterations", 1))
        return [f"logits_{number}" for number in range(1, passes + 1)]
