"""Networks of other libraries, to measure beside ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
from torch import nn

import gatezoo
from gatezoo.model_info import on_meta


def peer_networks(name: str) -> dict[str, Callable[[], nn.Module]]:
    """Return functions that create networks with the backbone and stride of one of ours and 21 classes, by name.

    These are, as far as the libraries have the backbone, FCN and DeepLabV3 of torchvision at stride 8, PSPNet and
    DeepLabV3+ of segmentation_models_pytorch at strides 8 and 16, and its FPN and U-Net at stride 32.

    Raises:
        ValueError: a backbone or a stride that no peer has.
    """
    import segmentation_models_pytorch as smp
    from torchvision.models import segmentation

    backbone = on_meta(name).backbone
    own, stride = backbone.name, backbone.output_stride
    if not timm.is_model(own) or stride not in (8, 16, 32):
        raise ValueError(f"peers must have a backbone of timm at stride 8, 16 or 32; {name} has {own} at {stride}")
    # The library's own encoder where it has one, else timm's.
    encoder = own if own in smp.encoders.get_encoder_names() else f"tu-{own}"
    common = dict(encoder_name=encoder, encoder_weights=None, classes=21)
    if stride == 32:
        return {"smp_fpn": partial(smp.FPN, **common), "smp_unet": partial(smp.Unet, **common)}
    pspnet = partial(smp.PSPNet, **common, encoder_depth=5, output_stride=stride, upsampling=stride)
    deeplab = partial(smp.DeepLabV3Plus, **common, encoder_output_stride=stride)
    peers = {"smp_pspnet": pspnet, "smp_deeplabv3plus": deeplab}
    if stride == 8 and own in ("resnet50", "resnet101"):
        for family in ("fcn", "deeplabv3"):
            build = getattr(segmentation, f"{family}_{own}")
            peers[f"torchvision_{family}"] = partial(build, weights=None, weights_backbone=None, num_classes=21)
    return peers


def create(name: str, **model_kwargs: Any) -> nn.Module:
    """Create a network of ours from its keywords, or the peer of NAME/PEER."""
    own, _, peer = name.partition("/")
    return peer_networks(own)[peer]() if peer else gatezoo.create_model(own, **model_kwargs)
