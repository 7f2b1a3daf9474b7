"""Weights that were read, on their way into a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..pretrained import PretrainedCfg
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from .conversions import convert_state_dict, version_hint
from .loading import load_tensors


@dataclass(frozen=True)
class LoadedWeights:
    """Weights that were read, with what they tell about their network.

    Attributes:
        state_dict: the tensors.
        cfg: their config; None if the file has none.
        saved: the keywords in the header of a checkpoint, which are not trusted.
    """

    state_dict: dict[str, Tensor]
    cfg: PretrainedCfg | None
    saved: Mapping[str, Any] = field(default_factory=dict)

    def kwargs(self) -> dict[str, Any]:
        """Return the keywords that the weights are for."""
        sizes = {"num_classes": self.cfg.num_classes, "in_chans": self.cfg.in_chans} if self.cfg else {}
        return {**sizes, **self.saved}

    def count_values(self) -> int:
        """Return the number of values in all tensors: no network that they fit has more parameters."""
        return sum(tensor.numel() for tensor in self.state_dict.values())

    def is_resized(self, model_kwargs: Mapping[str, Any]) -> bool:
        """Return whether the network has another classifier or another first convolution than the weights."""
        wanted = model_kwargs.get("num_classes"), model_kwargs.get("in_chans")
        return self.cfg is not None and wanted != (self.cfg.num_classes, self.cfg.in_chans)

    def load_into(self, model: BaseSegmenter, family: str) -> BaseSegmenter:
        """Convert tensors of an older version and load them; an error names the version of timm that made them."""
        cfg, state_dict = self.cfg, self.state_dict
        if cfg:
            state_dict = convert_state_dict(state_dict, family, cfg.format_version)
        model.pretrained_cfg = cfg
        try:
            model.load_report = load_tensors(model, state_dict, self.is_resized(model.model_kwargs))
        except ValueError as error:
            raise ValueError(f"{error}{version_hint(cfg.versions if cfg else {}, versions())}") from None
        return model
