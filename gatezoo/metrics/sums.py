"""Sums that are shared by several processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric


class SumStates(Metric):
    """Float64 vectors by name, summed over images and, by torchmetrics' own synchronization, over processes.

    Args:
        lengths: of each vector.
        device: of the sums. A group of processes over NCCL can only share tensors that are on a GPU.
    """

    full_state_update = False

    def __init__(self, lengths: Mapping[str, int], device: str | torch.device = "cpu"):
        super().__init__()
        self.names = tuple(lengths)
        for name, length in lengths.items():
            self.add_state(name, torch.zeros(length, dtype=torch.float64), dist_reduce_fx="sum")
        self.to("cpu" if torch.device(device).type == "mps" else device)  # mps has no float64

    def update(self, terms: Mapping[str, Tensor]) -> None:
        """Add a vector, or a scalar, to each sum."""
        for name in self.names:
            total = getattr(self, name)
            setattr(self, name, total + terms[name].to(total))

    def compute(self) -> dict[str, Tensor]:
        """Return the sums by name, on the CPU."""
        return {name: getattr(self, name).cpu() for name in self.names}
