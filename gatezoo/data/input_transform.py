"""Pipelines that turn an image into the input of a network, as torchvision's weights have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torchvision.transforms import v2

from ..layers.normalize import Normalize
from ..utils.image_tensors import to_image_tensor

if TYPE_CHECKING:
    from ..pretrained import PretrainedCfg


class ToImageTensor(nn.Module):
    """An image of any kind as a tensor (C, H, W), values in 0 .. 255, uint8 or float32.

    Args:
        in_chans: C.
        image_max: value of full brightness; default: 255 of uint8, 65535 of uint16, 1 of floating point.
    """

    def __init__(self, in_chans: int, image_max: float | None):
        super().__init__()
        self.in_chans, self.image_max = in_chans, image_max

    def forward(self, image: Any) -> Tensor:
        return to_image_tensor(image, self.in_chans, self.image_max)

    def extra_repr(self) -> str:
        return f"in_chans={self.in_chans}, image_max={self.image_max}"


class ToUnitRange(nn.Module):
    """Values in 0 .. 255 as float32 in 0 .. 1, for networks that normalize images themselves."""

    def forward(self, image: Tensor) -> Tensor:
        return image / 255


class NormalizeAnywhere(Normalize):
    """The normalization of :class:`Normalize`, on the device of each image."""

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale.to(image.device) + self.shift.to(image.device)


def make_input_transform(cfg: PretrainedCfg, task: str) -> v2.Compose:
    """Create the pipeline from one image to the input of a network, float32 (C, H, W), at the image's own size.

    Args:
        cfg: config of the network's weights.
        task: of the network; those of "instance" normalize images themselves.
    """
    scale = ToUnitRange() if task == "instance" else NormalizeAnywhere(cfg.mean, cfg.std, cfg.in_chans)
    return v2.Compose([ToImageTensor(cfg.in_chans, cfg.image_max), scale])
