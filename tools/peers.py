"""Networks of other libraries, to measure beside ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

import gatezoo
from gatezoo.model_info import on_meta


def peer_networks(name: str) -> dict[str, Callable[[], nn.Module]]:
    """Return functions that create networks with the backbone and stride of one of ours and 21 classes, by name.

    Raises:
        ValueError: a backbone other than ResNet-50 and -101, or a stride other than 8.
    """
    import segmentation_models_pytorch as smp
    from torchvision.models import segmentation

    own = on_meta(name).backbone
    if own.name not in ("resnet50", "resnet101") or own.output_stride != 8:
        raise ValueError(
            f"peers must have resnet50 or resnet101 at stride 8; {name} has {own.name} at {own.output_stride}"
        )

    def smp_pspnet() -> nn.Module:
        model = smp.PSPNet(own.name, encoder_depth=5, encoder_weights=None, upsampling=8, classes=21)
        model.encoder.make_dilated(8)
        return model

    deeplabv3 = getattr(segmentation, f"deeplabv3_{own.name}")
    return {
        "smp_pspnet": smp_pspnet,
        "torchvision_deeplabv3": partial(deeplabv3, weights=None, weights_backbone=None, num_classes=21),
    }


def create(name: str, **model_kwargs: Any) -> nn.Module:
    """Create a network of ours from its keywords, or the peer of NAME/PEER."""
    own, _, peer = name.partition("/")
    return peer_networks(own)[peer]() if peer else gatezoo.create_model(own, **model_kwargs)
