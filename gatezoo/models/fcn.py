"""Fully convolutional baselines: FCN at output strides 32 and 8, and DeepLabV2.

Every paper of the zoo starts from them. FCN (Long et al., 2015) reads the last map of the backbone; at stride 32 one
1x1 convolution classifies it, at stride 8 (dilated backbone) a 3x3 convolution comes before. DeepLabV2 (Chen et al.,
2017) sums four dilated 3x3 classifiers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


# The models on MobileNetV2 pad as the ImageNet weights they were trained from do; EfficientNet-Lite does so by itself.
MOBILENETV2: dict[str, Any] = dict(backbone="mobilenetv2_100", backbone_args={"pad_type": "same"})
LITE0: dict[str, Any] = dict(backbone="tf_efficientnet_lite0")


# A head of 512 channels would be too large for EfficientNet-Lite0.
LITE0_8S: dict[str, Any] = dict(**LITE0, output_stride=8, head="fcn", head_width=128)


def fcn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    head: str = "linear",
    head_width: int | None = None,
) -> Segmenter:
    """Build a classifier on the last map of a backbone.

    Args:
        backbone: a timm model.
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        head: "linear", "fcn" or "aspp".
        head_width: channels of the 3x3 convolution of "fcn"; by default 512.
    """
    from ..heads import make_head
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid()
    classifier = make_head(head, pyramid.channels[-1], num_classes, head_width)
    return Segmenter(pyramid, classifier, num_classes, backbone.in_chans, freeze_bn)


register_models(
    fcn,
    {
        "fcn_resnet50_32s": dict(backbone="resnet50"),
        "fcn_resnet50_8s": dict(backbone="resnet50", output_stride=8, head="fcn"),
        "fcn_resnet101_32s": dict(backbone="resnet101"),
        "fcn_resnet101_8s": dict(backbone="resnet101", output_stride=8, head="fcn"),
        "fcn_mobilenetv2_32s": dict(**MOBILENETV2),
        "fcn_mobilenetv2_8s": dict(**MOBILENETV2, output_stride=8, head="fcn"),
        "fcn_lite0_32s": dict(**LITE0),
        "fcn_lite0_8s": LITE0_8S,
        "test_fcn": dict(backbone="test_resnet"),
    },
    family="fcn",
    paper="FCN: fully convolutional networks for semantic segmentation (Long et al., 2015)",
)
register_models(
    fcn,
    {"deeplabv2_resnet101": dict(backbone="resnet101", output_stride=8, head="aspp")},
    family="fcn",
    paper="DeepLabV2: atrous spatial pyramid pooling (Chen et al., 2017)",
)
