"""Networks as users meet them: image in, logits at the image's own size out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..heads.base import GatedHead
from .base import MIN_SIZE, SemanticSegmenter
from .outputs import SegmenterOutput


class Segmenter(SemanticSegmenter):
    """A feed-forward network: ``head(*backbone(image))``, resized to the image.

    Args:
        auxiliary: heads of single maps, by the number of the map among the backbone's, 0 the finest. ``outputs`` runs
            them, ``forward`` never does.
    """

    def __init__(
        self,
        backbone: Pyramid,
        head: nn.Module,
        num_classes: int,
        in_chans: int = 3,
        freeze_bn: bool = False,
        min_size: int = MIN_SIZE,
        auxiliary: Mapping[int, nn.Module] | None = None,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, min_size)
        self.auxiliary = nn.ModuleDict({str(level): extra for level, extra in (auxiliary or {}).items()})

    def forward(self, image: Tensor) -> Tensor:
        padded = self._check_and_pad(image)
        return self._resize_to_input(self.head(*self.backbone(padded)), padded, image)

    def outputs(self, image: Tensor) -> SegmenterOutput:
        padded = self._check_and_pad(image)
        maps = self.backbone(padded)
        coarse, gates = self.head.with_gates(*maps) if isinstance(self.head, GatedHead) else (self.head(*maps), {})
        logits = self._resize_to_input(coarse, padded, image)
        extra = [self._resize_to_input(head(maps[int(level)]), padded, image) for level, head in self.auxiliary.items()]
        return SegmenterOutput(logits, iterations=[logits], gates=[gates], auxiliary=extra)

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.head.gate_modules() if isinstance(self.head, GatedHead) else {}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)
