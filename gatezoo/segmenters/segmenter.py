"""Feed-forward semantic segmentation network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..backbones.wide_resnet import WiderResNet38
from ..heads.base import GatedHead
from ..utils.images import MIN_SIZE
from .base import SemanticSegmenter
from .outputs import PassOutput


class Segmenter(SemanticSegmenter):
    """A feed-forward network: ``head(*backbone(image))``, resized to the image.

    Args:
        backbone: of the maps that the head reads.
        head: maps -> coarse logits (B, K, h, w).
        num_classes: K.
        in_chans: channels of the image.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        min_size: least height and width of an image.
        auxiliary: heads of single maps, by the number of the map among the backbone's, 0 the finest. ``outputs`` runs
            them, ``forward`` never does.
    """

    def __init__(
        self,
        backbone: Pyramid | WiderResNet38,
        head: nn.Module,
        num_classes: int,
        in_chans: int = 3,
        freeze_bn: bool = False,
        min_size: int = MIN_SIZE,
        auxiliary: Mapping[int, nn.Module] | None = None,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, min_size)
        self.auxiliary = nn.ModuleDict({str(level): extra for level, extra in (auxiliary or {}).items()})

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.head.gate_modules() if isinstance(self.head, GatedHead) else {}

    def run_passes(self, padded: Tensor, details: bool) -> Iterator[PassOutput]:
        maps = self.backbone(padded)
        if not details:
            yield PassOutput(self.head(*maps))
            return
        logits, gates = self.head.with_gates(*maps) if isinstance(self.head, GatedHead) else (self.head(*maps), {})
        auxiliary = [head(maps[int(level)]) for level, head in self.auxiliary.items()]
        yield PassOutput(logits, gates, auxiliary)
