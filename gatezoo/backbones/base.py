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

from .dilation import dilate, input_strides, is_dilatable
from .shape_probe import probe_geometry

OUTPUT_STRIDES = (32, 16, 8)


class _Backbone(nn.Module):
    """A timm feature network, its parameters under timm's own names below ``net``.

    Attributes:
        size_divisor: the image's height and width must be multiples of it (1 for most families).
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
        args, trial, read = _resolve_args(name, output_stride, in_chans, dict(backbone_args or {}))
        self.net = _build(name, args, pretrained)
        dilate(self.net, read, output_stride)
        cfg = timm.get_pretrained_cfg(name)
        self.mean, self.std = cfg.mean, cfg.std
        # Only the maps are turned: between its own modules timm keeps the order it chose.
        self._nhwc = _is_nhwc(self.net)
        try:
            self._trial = probe_geometry(
                trial, _split_blocks(trial), in_chans, cfg.input_size[-1], 1 if self._nhwc else 2
            )
        except ValueError as error:
            raise ValueError(f"backbone {name!r} {error}") from None
        self.size_divisor = self._trial.divisor
        for block in self._trial.overwritten:
            _disable_inplace(self.net, _split_blocks(self.net)[block - 1])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of timm's modules in the backward pass. Raises ValueError where timm cannot."""
        try:
            self.net.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError, TypeError):
            raise ValueError(
                f"recomputing activations must be known to the backbone; timm's {self.name!r} does not know it"
            ) from None

    def _to_nchw(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self._nhwc else x


def _create(name: str, **kwargs) -> nn.Module:
    return timm.create_model(name, features_only=True, **kwargs)


def _build_on_meta(name: str, args: dict[str, Any]) -> nn.Module | None:
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


def _resolve_args(
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
        if trial := _build_on_meta(name, args | lenient):
            return args | lenient, trial, {}
    base = {key: value for key, value in args.items() if key != "output_stride"}
    plain = _build_on_meta(name, base)
    if not plain:
        raise ValueError(f"backbone {name!r} does not take {base}: see timm's documentation of it")
    if is_dilatable(plain):
        read = input_strides(plain, torch.empty(1, in_chans, 256, 256, device="meta"))
        dilate(plain, read, output_stride)
        return base, plain, read
    possible = [s for s in OUTPUT_STRIDES if s == 32 or _build_on_meta(name, {**base, "output_stride": s})]
    raise ValueError(f"output_stride of backbone {name!r} can be {possible}; got {output_stride}")


def _disable_inplace(net: nn.Module, steps: tuple[str, ...]) -> None:
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


def _split_blocks(net: nn.Module) -> list[tuple[str, ...]] | None:
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
