"""Fully convolutional baselines: FCN at output strides 32 and 8, and DeepLabV2.

Every paper of the zoo starts from them. FCN (Long et al., 2015) reads the last map of the backbone; at stride 32 one
1x1 convolution classifies it, at stride 8 (dilated backbone) a 3x3 convolution comes before. DeepLabV2 (Chen et al.,
2017) sums four dilated 3x3 classifiers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


# The rows on MobileNetV2 pad as the ImageNet weights they were trained from do.
MOBILENETV2 = dict(backbone="mobilenetv2_100", backbone_args={"pad_type": "same"})


def fcn(
    backbone: str,
    output_stride: int = 32,
    head: str = "linear",
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = False,
) -> Segmenter:
    """A classifier on the last map of a backbone.

    Args:
        backbone: a timm model.
        output_stride: 32, 16 or 8.
        head: "linear", "fcn" or "aspp".
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..backbones.pyramid import Pyramid
    from ..heads import make_head
    from ..segmenters.segmenter import Segmenter

    pyramid = Pyramid(
        backbone,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    classifier = make_head(head, pyramid.channels[-1], num_classes)
    return Segmenter(pyramid, classifier, num_classes, in_chans, freeze_bn)


register_models(
    fcn,
    {
        "fcn_resnet50_32s": dict(backbone="resnet50"),
        "fcn_resnet50_8s": dict(backbone="resnet50", output_stride=8, head="fcn"),
        "fcn_resnet101_32s": dict(backbone="resnet101"),
        "fcn_resnet101_8s": dict(backbone="resnet101", output_stride=8, head="fcn"),
        "fcn_mobilenetv2_32s": dict(**MOBILENETV2),
        "fcn_mobilenetv2_8s": dict(**MOBILENETV2, output_stride=8, head="fcn"),
        "deeplabv2_resnet101": dict(backbone="resnet101", output_stride=8, head="aspp"),
        "test_fcn": dict(backbone="test_resnet"),
    },
)
