"""The training's loss on the images that are evaluated, from the logits of that evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..losses import CrossEntropy, SumOfLosses
from ..metrics import Metric
from ..metrics.sums import SumStates


class ValidationLoss(Metric):
    """The loss of the labels on the logits of whole images, at their own sizes: "val_loss".

    Cross-entropy and focal loss are divided by the (weighted) number of labeled pixels of the whole data set; other
    losses are averaged over the images that have labels. Auxiliary heads, earlier passes and depth do not count.

    Args:
        loss: of logits (1, K, H, W) and labels (1, H, W).
    """

    outputs = ("logits",)

    def __init__(self, loss: nn.Module):
        self.terms: list[Any] = list(loss.terms) if isinstance(loss, SumOfLosses) else [loss]

    def reset(self, device: str | torch.device) -> None:
        self._sums = SumStates({"total": len(self.terms), "count": len(self.terms)}, device)

    @torch.no_grad()
    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add an image."""
        logits, labels = maps.logits[None].float(), sample["mask"][None].long()
        labeled = (labels != self.ignore_index).any().to(logits)
        parts = [
            # These divide by a sum over all processes, which an evaluation must not wait for.
            term.sums(logits, labels) if isinstance(term, CrossEntropy) else (term(logits, labels) * labeled, labeled)
            for term in self.terms
        ]
        totals, counts = zip(*parts, strict=True)
        self._sums.update({"total": torch.stack(totals), "count": torch.stack(counts)})

    def compute(self) -> dict[str, float]:
        """Return the loss over all images of all processes."""
        sums: dict[str, Tensor] = self._sums.compute()
        return {"val_loss": (sums["total"] / sums["count"]).sum().item()}
