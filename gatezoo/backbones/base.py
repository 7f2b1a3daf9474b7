"""timm backbones as a pyramid of maps or as blocks that can be run again. The only file that imports timm."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import FeatureListNet
from torch import Tensor, nn

from .dilation import can_dilate, dilate, strides_read
from .shape_probe import run_trial

OUTPUT_STRIDES = (32, 16, 8)


class _Backbone(nn.Module):
    """A timm feature network, its parameters under timm's own names below ``net``.

    Attributes:
        size_divisor: the picture's height and width must be multiples of it (1 for most families).
        mean, std: of the pixels in [0, 1] that timm's own weights expect.
    """

    def __init__(
        self,
        name: str,
        output_stride: int = 32,
        in_chans: int = 3,
        pretrained: bool | str | Path = False,
        backbone_args: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.name = name
        self.output_stride = output_stride
        args, trial, read = _try(name, output_stride, in_chans, dict(backbone_args or {}))
        self.net = _build(name, args, pretrained)
        dilate(self.net, read, output_stride)
        cfg = timm.get_pretrained_cfg(name)
        self.mean, self.std = cfg.mean, cfg.std
        # Only the maps are turned: between its own modules timm keeps the order it chose.
        self._nhwc = _is_nhwc(self.net)
        try:
            self._trial = run_trial(trial, _split(trial), in_chans, cfg.input_size[-1], 1 if self._nhwc else 2)
        except ValueError as error:
            raise ValueError(f"backbone {name!r} {error}") from None
        self.size_divisor = self._trial.divisor
        for block in self._trial.overwritten:
            _work_beside(self.net, _split(self.net)[block - 1])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of timm's modules in the backward pass. Raises ValueError where timm cannot."""
        try:
            self.net.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError, TypeError):
            raise ValueError(
                f"recomputing activations must be known to the backbone; timm's {self.name!r} does not know it"
            ) from None

    def _turn(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self._nhwc else x


class Pyramid(_Backbone):
    """Maps of chosen strides: image (B, in_chans, H, W) -> [(B, channels[l], ~H / strides[l], ~W / strides[l])].

    Args:
        name: a timm model.
        strides: strides wanted, finest first; by default the deepest map alone. Where several stages share a stride
            (dilated networks), the deepest of them speaks for it; a stride wanted n times means the n deepest.
        output_stride: 32, or 16 or 8 to dilate the last stages, where timm can or the network is plain convolutions.
        in_chans: channels of the image.
        pretrained: True for timm's published weights (network), or the path of a local file of them.
        backbone_args: further keywords of the timm model.

    Raises:
        ValueError: unknown name, or a stride or output stride that the network does not have.
    """

    def __init__(self, name: str, strides: Sequence[int] | None = None, **kwargs):
        super().__init__(name, **kwargs)
        info = self.net.feature_info
        channels, reductions = info.channels(), [min(s, self.output_stride) for s in info.reduction()]
        self._levels = choose_levels(strides, reductions, f"{name!r} at output_stride={self.output_stride}")
        self.strides = [reductions[level] for level in self._levels]
        self.channels = [channels[level] for level in self._levels]

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.net(image)
        return [self._turn(maps[level]) for level in self._levels]


class Stages(_Backbone):
    """The network as blocks f_1 .. f_{n-1}, each of which can be run alone on any input of its width.

    ``run(i, x)`` is block i: (B, channels[i-1], h, w) -> (B, channels[i], h', w'), with channels[0] = in_chans.
    f_1 is the stem with its max-pool, as in the DIGNet authors' code; timm ends its first stage before the pool.
    Blocks run in order equal the timm network exactly. Arguments and errors as in :class:`Pyramid`.
    """

    def __init__(self, name: str, in_chans: int = 3, **kwargs):
        super().__init__(name, in_chans=in_chans, **kwargs)
        # Names, not modules: a module that is replaced later (SyncBN, a folded BN) is found in its new form.
        steps = _split(self.net)
        if steps is None or len(self._trial.strides) != len(steps):
            raise ValueError(
                f"blocks of an unrolled network must run one after the other; backbone {name!r} is no such chain "
                f"(timm wraps it as {type(self.net).__name__}): choose a ResNet, MobileNet, ConvNeXt, Swin or the like"
            )
        self._steps = steps
        self.channels = [in_chans, *self.net.feature_info.channels()]
        self.strides = [1, *self._trial.strides]

    def __len__(self) -> int:
        return len(self._steps)

    def run(self, block: int, x: Tensor) -> Tensor:
        """Block number ``block`` (from 1) on x."""
        if self._nhwc and block > 1:
            x = x.permute(0, 2, 3, 1)
        for step in self._steps[block - 1]:
            x = self.net.get_submodule(step)(x)
        return self._turn(x)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image -> [f_1, ..., f_{n-1}]."""
        maps = [image]
        for block in range(1, len(self) + 1):
            maps.append(self.run(block, maps[-1]))
        return maps[1:]


def choose_levels(wanted: Sequence[int] | None, reductions: Sequence[int], whose: str) -> list[int]:
    """Numbers of the levels that have the strides wanted, as :class:`Pyramid` says; ``reductions`` are all strides."""
    if wanted is None:
        return [len(reductions) - 1]
    having = {stride: [n for n, given in enumerate(reductions) if given == stride] for stride in wanted}
    if any(len(levels) < list(wanted).count(stride) for stride, levels in having.items()):
        raise ValueError(f"strides of backbone {whose} are {list(reductions)}; got {', '.join(map(str, wanted))}")
    taken = {stride: levels[-list(wanted).count(stride) :] for stride, levels in having.items()}
    return [taken[stride].pop(0) for stride in wanted]


def _create(name: str, **kwargs) -> nn.Module:
    return timm.create_model(name, features_only=True, **kwargs)


def _on_meta(name: str, args: dict[str, Any]) -> nn.Module | None:
    """The network without its numbers, on which trials cost nothing; None if timm refuses the arguments."""
    try:
        with torch.inference_mode(False):
            try:
                with torch.device("meta"):
                    return _create(name, **args).eval()
            except RuntimeError:  # older versions of timm and torch cannot make every network there
                with torch.device("cpu"):
                    return _create(name, **args).eval().to("meta")
    except (TypeError, AssertionError):
        return None


def _try(
    name: str, output_stride: int, in_chans: int, args: dict[str, Any]
) -> tuple[dict[str, Any], nn.Module, dict[str, int]]:
    """The keywords that timm accepts, the network they make on the meta device, and the strides to dilate if timm does
    not (:mod:`gatezoo.backbones.dilation`). Errors name what would work."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ValueError(f"backbone must be a timm model; got {name!r}.{hint}")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}; got {output_stride}")
    args["in_chans"] = in_chans
    if output_stride != 32:
        args["output_stride"] = output_stride
    # Swin, ViT and their kin are built for one size, and take others when asked not to insist.
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    for lenient in ({"strict_img_size": False}, {"dynamic_img_size": True}, {}) if fixed else ({},):
        if trial := _on_meta(name, args | lenient):
            return args | lenient, trial, {}
    base = {key: value for key, value in args.items() if key != "output_stride"}
    plain = _on_meta(name, base)
    if not plain:
        raise ValueError(f"backbone {name!r} does not take {base}: see timm's documentation of it")
    if can_dilate(plain):
        read = strides_read(plain, torch.empty(1, in_chans, 256, 256, device="meta"))
        dilate(plain, read, output_stride)
        return base, plain, read
    possible = [s for s in OUTPUT_STRIDES if s == 32 or _on_meta(name, {**base, "output_stride": s})]
    raise ValueError(f"output_stride of backbone {name!r} can be {possible}; got {output_stride}")


def _work_beside(net: nn.Module, steps: tuple[str, ...]) -> None:
    """Keep a block from changing the map it reads: others read that map too."""
    for step in steps:
        for module in net.get_submodule(step).modules():
            if getattr(module, "inplace", False):
                module.inplace = False


def _is_nhwc(net: nn.Module) -> bool:
    return str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")


def _build(name: str, args: dict[str, Any], pretrained: bool | str | Path) -> nn.Module:
    if isinstance(pretrained, bool):
        return _create(name, pretrained=pretrained, **args)
    path = Path(pretrained)
    if not path.is_file():
        raise ValueError(
            f"pretrained_backbone must be True, False or a file of weights; there is no file {str(path)!r}"
        )
    try:
        net = _create(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **args)
    except RuntimeError as error:
        raise ValueError(f"weights in {str(path)!r} do not fit backbone {name!r}: {error}") from error
    # timm skips what it cannot place in its lighter feature networks, so look whether all of ours was there.
    held = {key.replace(".", "_") for key in timm.models.load_state_dict(str(path))}
    absent = [key for key in net.state_dict() if key.replace(".", "_") not in held]
    if absent:
        raise ValueError(f"weights in {str(path)!r} do not fit backbone {name!r}: no tensor for {absent[0]}")
    return net


def _split(net: nn.Module) -> list[tuple[str, ...]] | None:
    """Names of the modules of each block, in order; None where timm does not run its modules one after the other."""
    if isinstance(net, FeatureListNet) and not net.concat:
        steps, ends = list(net.keys()), list(net.return_layers)
    elif hasattr(net, "_stage_out_idx"):  # the MobileNet and EfficientNet feature networks
        stem = [step for step in ("conv_stem", "bn1", "act1") if hasattr(net, step)]
        blocks = [f"blocks.{i}" for i in range(len(net.blocks))]
        ends = [blocks[stage - 1] if stage else stem[-1] for stage in net._stage_out_idx]
        steps = stem + blocks
    else:
        return None
    cuts = [0, *(steps.index(end) + 1 for end in ends)]
    cuts[1] += _leading_pool([net.get_submodule(step) for step in steps[cuts[1] : cuts[2]]])
    return [tuple(steps[start:end]) for start, end in itertools.pairwise(cuts)]


def _leading_pool(modules: Sequence[nn.Module]) -> int:
    """How many of the modules pad and pool before the first that has weights; 0 if none pools."""
    count = 0
    for position, module in enumerate(modules, start=1):
        if any(True for _ in module.parameters()):
            break
        if any(isinstance(m, (nn.MaxPool2d, nn.AvgPool2d)) for m in module.modules()):
            count = position
    return count


def adapt_input_conv(in_chans: int, weight: Tensor) -> Tensor:
    """Weights of a first convolution for another number of channels: summed to one, else repeated and scaled."""
    return timm.models.adapt_input_conv(in_chans, weight)
