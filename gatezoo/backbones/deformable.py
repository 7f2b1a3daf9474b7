"""Deform convolutions of a backbone (Dai et al., "Deformable convolutional networks", ICCV 2017, Sec. 2.1 and 4)."""

from __future__ import annotations

from collections.abc import Iterator

from timm.layers import Conv2dSame
from torch import nn

from ..layers.deformable_conv import DeformableConv2d
from ..utils.choices import check_choice
from .free_sizes import SamePaddedConv2d
from .pyramid import Pyramid
from .wide_resnet import WiderResNet38

# Offset groups, and which blocks of the modules that make the maps of these strides are deformed: the last, or all.
# In ResNets strides 8, 16, 32 are res3, res4, res5.
PLACEMENTS: dict[str, tuple[int, dict[int, str]]] = {
    "pyramid": (4, {8: "last", 16: "last", 32: "all"}),
    "res5": (4, {32: "all"}),
    "c3-c5": (1, {8: "all", 16: "all", 32: "all"}),
}


def make_deformable(pyramid: Pyramid | WiderResNet38, deform: str) -> None:
    """Replace 3x3 convolutions of a backbone by deformable ones with the same weights, in place.

    Offsets begin as zero: the maps stay as they are until it is trained. Weights in files of the plain backbone fit,
    but for the offsets (:class:`gatezoo.layers.deformable_conv.DeformableConv2d`).

    Args:
        pyramid: any timm network whose modules run one by one; its weights are already loaded.
        deform: "pyramid", the last block of strides 8 and 16 that has a 3x3 convolution, and every block of stride 32,
            with 4 groups of offsets: the networks with pyramids of Dai et al.'s code; "res5", every block of stride 32,
            4 groups: the paper; "c3-c5", every block of the three strides, 1 group: Detectron2 and MMDetection.

    Raises:
        ValueError: another ``deform``, no 3x3 convolution there, or channels that are no multiple of the groups.
    """
    check_choice("deform", deform, PLACEMENTS)
    offset_groups, blocks = PLACEMENTS[deform]
    steps = pyramid.modules_by_stride() if isinstance(pyramid, Pyramid) else {}
    names = [name for stride, which in blocks.items() for name in _choose(pyramid, steps.get(stride, ()), which)]
    if not names:
        raise ValueError(
            f"backbone must have plain 3x3 convolutions in the blocks of deform={deform!r}; got {pyramid.name!r}: "
            "choose a ResNet, say"
        )
    for name in names:
        conv = pyramid.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        if conv.in_channels % offset_groups:
            raise ValueError(
                f"channels of {name.removeprefix('net.')} in backbone {pyramid.name!r} must be a multiple of "
                f"{offset_groups}, the groups of deform={deform!r}; got {conv.in_channels}: "
                'pass deform="c3-c5", which has one group'
            )
        pyramid.set_submodule(name, _deform(conv, offset_groups))


def _choose(pyramid: nn.Module, steps: tuple[str, ...], which: str) -> list[str]:
    """Return the names of the convolutions to deform among those of these modules."""
    blocks = [block for step in steps for block in _blocks(step, pyramid.get_submodule(step))]
    convolutions = [
        [f"{name}.{part}".rstrip(".") for part, module in block.named_modules() if _is_deformable(module)]
        for name, block in blocks
    ]
    found = [names for names in convolutions if names]
    return [name for names in (found[-1:] if which == "last" else found) for name in names]


def _blocks(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a stage, those of sequences in their place; a layer without children is one block."""
    children = list(module.named_children())
    if not children:
        yield name, module
    for child, inner in children:
        whole = f"{name}.{child}"
        yield from _blocks(whole, inner) if isinstance(inner, nn.Sequential) else [(whole, inner)]


def _is_deformable(module: nn.Module) -> bool:
    # Subclasses change their weights, or the map, in ways of their own.
    return (
        type(module) in (nn.Conv2d, Conv2dSame, SamePaddedConv2d)
        and module.kernel_size == (3, 3)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _deform(conv: nn.Conv2d, offset_groups: int) -> DeformableConv2d:
    deformable = DeformableConv2d(
        conv.in_channels,
        conv.out_channels,
        (3, 3),
        conv.stride,
        "same" if isinstance(conv, Conv2dSame) else conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
        offset_groups,
    ).to(conv.weight)
    deformable.weight, deformable.bias = conv.weight, conv.bias
    return deformable.train(conv.training)
