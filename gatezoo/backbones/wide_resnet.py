"""WiderResNet-38, which timm does not have (Wu, Shen and van den Hengel, "Wider or Deeper", 2016; model A).

Pre-activated residual units. From the paper's table, with the stride at which each group works:

    group  units  convolutions of a unit           stride   dropout
    B1     -      3x3 64                           1
    B2     3      3x3 128, 3x3 128                 2, max-pool before
    B3     3      3x3 256, 3x3 256                 4, max-pool before
    B4     6      3x3 512, 3x3 512                 8
    B5     3      3x3 512, 3x3 1024                16
    B6     1      1x1 512, 3x3 1024, 1x1 2048      32       .3
    B7     1      1x1 1024, 3x3 2048, 1x1 4096     32       .5

Where a group strides and dilates is that of ``wider_resnet38_a2`` (Rota Bulo, Porzi and
Kontschieder, "In-place activated BatchNorm", CVPR 2018), which GFF's authors use: the first convolution of a group's
first unit strides, of three the 1x1; a dilated group has one dilation in all of its units, the first included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .base import OUTPUT_STRIDES
from .pyramid import choose_levels

# (units, channels of a unit's convolutions, stride at which the group works, dropout before its last convolution)
GROUPS = (
    (3, (128, 128), 2, 0.0),
    (3, (256, 256), 4, 0.0),
    (6, (512, 512), 8, 0.0),
    (3, (512, 1024), 16, 0.0),
    (1, (512, 1024, 2048), 32, 0.3),
    (1, (1024, 2048, 4096), 32, 0.5),
)
# Layers of a unit of wider_resnet38_a2 and their names here. Every third convolution follows norm, ReLU and dropout.
PUBLISHED_LAYERS = {
    "bn1": "enter.0",
    "convs.conv1": "convolve.0",
    "convs.bn2": "convolve.1",
    "convs.conv2": "convolve.3",
    "convs.bn3": "convolve.4",
    "convs.conv3": "convolve.7",
    "proj_conv": "shortcut",
}


class Unit(nn.Module):
    """Residual unit, shortcut + convolutions: (B, C, h, w) -> (B, widths[-1], h / stride, w / stride).

    Each convolution follows norm and ReLU. The shortcut is x, or a 1x1 convolution of relu(norm(x)) where width or size
    changes. Two convolutions are both 3x3; of three the middle one is 3x3, the others are 1x1. The first one strides.

    Args:
        in_channels: C.
        widths: channels of the convolutions.
        stride: of the unit.
        dilation: of the 3x3 convolutions.
        dropout: rate before the last convolution.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], stride: int = 1, dilation: int = 1, dropout: float = 0.0
    ):
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        steps: list[nn.Module] = []
        source = in_channels
        for place, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            if place:
                steps += [nn.BatchNorm2d(source), nn.ReLU(inplace=True)]
            if dropout and place == len(widths) - 1:
                steps.append(nn.Dropout(dropout))
            spread = dilation if kernel == 3 else 1
            padding = spread * (kernel // 2)
            steps.append(nn.Conv2d(source, width, kernel, 1 if place else stride, padding, spread, bias=False))
            source = width
        self.enter = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True))
        self.convolve = nn.Sequential(*steps)
        self.shortcut = None
        if stride > 1 or in_channels != widths[-1]:
            self.shortcut = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return self.convolve(entered) + (x if self.shortcut is None else self.shortcut(entered))


def rename_published(key: str) -> str | None:
    """Return the name here of a tensor of ``wider_resnet38_a2``; other names as they are, None for the classifier's.

    Theirs are ``mod1.conv1`` (the stem), ``mod2.block1.convs.conv1`` (first unit of B2) and so on; a norm is a layer of
    its own, ``bn1``, or the first of norm and ReLU, ``bn1.0``. All may follow ``module.``.
    """
    key = re.sub(r"(bn\w+)\.0\.", r"\1.", key.removeprefix("module."))
    if key.startswith("classifier."):
        return None
    found = re.fullmatch(r"mod([2-7])\.block(\d)\.(bn1|proj_conv|convs\.(?:conv[123]|bn[23]))\.(\w+)", key)
    if not found:
        return key.replace("mod1.conv1.", "stem.").replace("bn_out.", "leave.0.")
    group, unit = int(found[1]) - 2, int(found[2]) - 1
    # The first two groups begin with their pooling.
    unit += group < 2
    return f"groups.{group}.{unit}.{PUBLISHED_LAYERS[found[3]]}.{found[4]}"


class WiderResNet38(nn.Module):
    """WiderResNet-38 as a pyramid, with the arguments, attributes and errors of :class:`gatezoo.backbones.Pyramid`.

    Maps are the sums that leave B1 .. B5 and relu(norm(B7)): strides 1, 2, 4, 8, 16, 32, channels 64, 128, 256, 512,
    1024, 4096. Beyond ``output_stride`` groups are dilated: at 8, B5 by 2, B6 and B7 by 4. There are no weights to
    download: ``pretrained`` is False or a safetensors file, with the names of the state dict here or those of
    ``wider_resnet38_a2`` (:func:`rename_published`). Keys of the state dict are an on-disk format.

    DeepLabV3+ and GFF as their authors have them on this backbone read the sum that leaves B7, without norm and ReLU.
    """

    size_divisor = 1
    # Of ImageNet, as timm has them.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(
        self,
        name: str = "wider_resnet38",
        strides: Sequence[int] | None = None,
        output_stride: int = 32,
        in_chans: int = 3,
        pretrained: bool | str | Path = False,
        backbone_args: dict[str, Any] | None = None,
    ):
        super().__init__()
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}; got {output_stride}")
        if backbone_args:
            raise ValueError(
                f"backbone {name!r} takes no further keywords; got {', '.join(backbone_args)}: leave backbone_args out"
            )
        self.name, self.output_stride, self.grad_checkpointing = name, output_stride, False
        self.stem = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
        self.groups = nn.ModuleList()
        channels, before = 64, 1
        for units, widths, works, dropout in GROUPS:
            stride = min(works, output_stride) // min(before, output_stride)
            dilation = max(1, works // output_stride)
            pools = works <= 4
            group: list[nn.Module] = [nn.MaxPool2d(3, 2, 1)] if pools else []
            for unit in range(units):
                first = unit == 0 and not pools
                group.append(Unit(channels, widths, stride if first else 1, dilation, dropout))
                channels = widths[-1]
            self.groups.append(nn.Sequential(*group))
            before = works
        self.leave = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        reductions = [1, *(min(works, output_stride) for _, _, works, _ in GROUPS[:4]), min(32, output_stride)]
        self._levels = choose_levels(strides, reductions, f"{name!r} at output_stride={output_stride}")
        map_channels = [64, *(widths[-1] for _, widths, _, _ in GROUPS[:4]), channels]
        self.strides = [reductions[level] for level in self._levels]
        self.channels = [map_channels[level] for level in self._levels]
        self._load(pretrained)

    def _load(self, pretrained: bool | str | Path) -> None:
        if pretrained is False:
            return
        if pretrained is True:
            raise ValueError(f"backbone {self.name!r} has no published weights: pass a safetensors file of them")
        try:
            tensors = load_file(pretrained)
            renamed = {rename_published(key): value for key, value in tensors.items()}
            self.load_state_dict({key: value for key, value in renamed.items() if key})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ValueError(f"weights in {str(pretrained)!r} do not fit backbone {self.name!r}: {error}") from error

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, recompute the activations of each group in the backward pass."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of the layers' names, for timm's ``group_parameters``: the stem, then each unit or group."""
        units = r"^groups\.(\d+)" if coarse else r"^groups\.(\d+)\.(\d+)"
        return {"stem": r"^stem", "units": [(units, None), (r"^leave", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay, beside biases and norms: there are none."""
        return set()

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        recompute = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        for group in self.groups:
            maps.append(checkpoint(group, maps[-1], use_reentrant=False) if recompute else group(maps[-1]))
        maps = [*maps[:5], self.leave(maps[-1])]
        return [maps[level] for level in self._levels]
