"""Freeze parts of a network for a whole training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.layer_groups import layers_of
from ..segmenters.base import BaseSegmenter

# Numbers of the backbone's layers, counted by stages.
_STAGES = {"stem": 0, "stage1": 1}
_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def freeze_layers(model: BaseSegmenter, names: Sequence[str]) -> None:
    """Freeze parts of a network: their parameters no longer require gradients, and their norms keep their statistics.

    Args:
        model: the network.
        names: "norm_statistics" of the batch norms of the backbone, or of a whole recurrent network; "norm_affine",
            the scales and shifts of the same norms, and their statistics with them; "stem", the layers before the
            backbone's first stage; "stage1", that stage.

    Raises:
        ValueError: a stem or a stage of a backbone whose layers timm does not list.
    """
    if "norm_statistics" in names:
        model.freeze_bn = True
    if "norm_affine" in names:
        for module in model.frozen_bn_scope.modules():
            if isinstance(module, _NORMS):
                module.requires_grad_(False)
    frozen = {number for name, number in _STAGES.items() if name in names}
    if not frozen:
        return
    try:
        layers = layers_of(model.backbone, coarse=True)
    except ValueError:
        raise ValueError(
            f"frozen_layers must not name stem or stage1 of a backbone whose layers timm does not list; got "
            f"{', '.join(names)}: leave them out"
        ) from None
    for name, parameter in model.backbone.named_parameters():
        if layers[name] in frozen:
            parameter.requires_grad_(False)
