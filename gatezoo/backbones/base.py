"""timm networks as backbones: build them by name, dilate them and infer their geometry."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import timm
import torch
from timm.models import FeatureListNet, PretrainedCfg
from torch import Tensor, nn

from ..utils.choices import suggest
from ..utils.text import first_line
from .dilation import dilate, input_strides, is_dilatable
from .free_sizes import free_sizes
from .layer_groups import layer_numbers, undecayed
from .published import fetch_published, overlay
from .shape_probe import BackboneGeometry, probe_geometry

OUTPUT_STRIDES = (32, 16, 8)


class TimmBackbone(nn.Module):
    """A timm feature network, its parameters under timm's own names below ``net``.

    Keys of the state dict are an on-disk format, timm's names included.

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
        plan = _plan(name, output_stride, in_chans, backbone_args or {})
        self._net_kwargs = {**(backbone_args or {}), **plan.kwargs}
        self.net = _build(name, self._net_kwargs, pretrained)
        dilate(self.net, plan.input_strides, output_stride)
        free_sizes(self.net)
        cfg = _pretrained_cfg(name)
        self.mean, self.std = cfg.mean, cfg.std
        self._feature_info: Any = self.net.feature_info
        # Only the maps are permuted: between its own modules timm keeps the order it chose.
        self._nhwc = _is_nhwc(self.net)
        self._geometry = plan.geometry
        self.size_divisor = plan.geometry.size_divisor
        if plan.geometry.inplace_blocks:
            blocks = split_blocks(self.net) or []
            for block in plan.geometry.inplace_blocks:
                _disable_inplace(self.net, blocks[block - 1])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of timm's modules in the backward pass.

        Raises:
            ValueError: a network for which timm does not support it.
        """
        set_grad_checkpointing: Any = getattr(self.net, "set_grad_checkpointing", None)
        try:
            set_grad_checkpointing(enable)
        except (AttributeError, AssertionError, TypeError):
            raise ValueError(
                f"backbone must support recomputing activations; got {self.name!r}, for which timm does not: "
                "leave grad checkpointing off"
            ) from None

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return the function from a parameter's name to its layer, or stage, for timm's ``group_parameters``."""
        number = layer_numbers(self.name, self._net_kwargs, coarse)
        return lambda parameter: number(parameter.removeprefix("net."))

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that timm exempts from weight decay, beside biases and norms."""
        names = (name.removeprefix("net.") for name, _ in self.named_parameters())
        return {f"net.{name}" for name in undecayed(self.name, self._net_kwargs, names)}

    def _to_nchw(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2) if self._nhwc else x
        # An exporter compares the strides of what is not contiguous, and so restricts the sizes of images.
        return x.contiguous() if torch.compiler.is_exporting() else x


@dataclass(frozen=True)
class _Plan:
    """How to build a backbone, found once per process and configuration.

    Attributes:
        kwargs: keywords that timm accepts, beside those of the caller.
        input_strides: of the modules to dilate, if timm does not (:mod:`gatezoo.backbones.dilation`); else empty.
        geometry: of the network that results.
    """

    kwargs: Mapping[str, Any]
    input_strides: Mapping[str, int]
    geometry: BackboneGeometry


@dataclass(frozen=True)
class _Request:
    """Arguments of a plan, compared by the values of ``args`` and by the functions that build the network."""

    name: str
    output_stride: int
    in_chans: int
    args: Mapping[str, Any] = field(compare=False)
    frozen_args: Hashable
    # timm's builder of that name can be replaced by registering the name again.
    builders: tuple[Callable[..., Any], ...]


def _plan(name: str, output_stride: int, in_chans: int, args: Mapping[str, Any]) -> _Plan:
    """Find out how to build a backbone. Errors name what would work.

    Args:
        name: a timm model.
        output_stride: one of ``OUTPUT_STRIDES``.
        in_chans: channels of the image.
        args: further keywords of the timm model.

    Raises:
        ValueError: unknown name, or keywords or an output stride that the network does not take.
    """
    if not timm.is_model(name):
        raise ValueError(f"backbone must be a timm model; got {name!r}{suggest(name, timm.list_models())}")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}; got {output_stride}")
    try:
        frozen = _freeze(args)
    except TypeError:
        return _make_plan(_Request(name, output_stride, in_chans, args, None, ()))
    builders = (_create, timm.models.model_entrypoint(name))
    return _cached_plan(_Request(name, output_stride, in_chans, args, frozen, builders))


@functools.lru_cache(maxsize=256)
def _cached_plan(request: _Request) -> _Plan:
    # Refusals raise, so that they are not cached.
    return _make_plan(request)


def _freeze(value: Any) -> Hashable:
    """Return a hashable stand-in for plain values, types and functions.

    Raises:
        TypeError: anything else, which may change without a change of its hash.
    """
    if isinstance(value, Mapping):
        return dict, frozenset((key, _freeze(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_freeze(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str, type, FunctionType)):
        # With its type: True, 1 and 1.0 are equal.
        return type(value), value
    raise TypeError(f"cannot freeze {type(value).__name__}")


def _make_plan(request: _Request) -> _Plan:
    name, in_chans = request.name, request.in_chans
    kwargs, net, strides = _resolve_args(request)
    side, rows = _pretrained_cfg(name).input_size[-1], 1 if _is_nhwc(net) else 2
    try:
        geometry = probe_geometry(net, split_blocks(net), in_chans, side, rows)
    except ValueError as error:
        raise ValueError(f"backbone {name!r} {error}") from None
    return _Plan(kwargs, strides, geometry)


def _resolve_args(request: _Request) -> tuple[dict[str, Any], nn.Module, dict[str, int]]:
    """Return the keywords to add, the network on the meta device that results, and the strides to dilate."""
    name, in_chans, output_stride = request.name, request.in_chans, request.output_stride
    plain_kwargs: dict[str, Any] = {"in_chans": in_chans}
    kwargs = plain_kwargs if output_stride == 32 else {**plain_kwargs, "output_stride": output_stride}
    # Swin, ViT and the like are built for one size, and accept others on request.
    fixed = _pretrained_cfg(name).fixed_input_size
    for lenient in ({"strict_img_size": False}, {"dynamic_img_size": True}, {}) if fixed else ({},):
        if net := _build_on_meta(name, {**request.args, **kwargs, **lenient}):
            return {**kwargs, **lenient}, net, {}
    plain_args = {**request.args, **plain_kwargs}
    net = _build_on_meta(name, plain_args)
    if not net:
        raise ValueError(f"backbone {name!r} does not take {plain_args}: see timm's documentation of it")
    if is_dilatable(net):
        strides = input_strides(net, torch.empty(1, in_chans, 256, 256, device="meta"))
        dilate(net, strides, output_stride)
        return plain_kwargs, net, strides
    possible = [s for s in OUTPUT_STRIDES if s == 32 or _build_on_meta(name, {**plain_args, "output_stride": s})]
    raise ValueError(f"output_stride of backbone {name!r} must be one of {possible}; got {output_stride}")


def _pretrained_cfg(name: str) -> PretrainedCfg:
    try:
        # A model that a user registered with timm may have none.
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        raise ValueError(f"backbone must have a tag that timm knows; got {name!r}: {error}") from None


def _create(name: str, **kwargs: Any) -> nn.Module:
    return timm.create_model(name, features_only=True, **kwargs)


def _build_on_meta(name: str, args: dict[str, Any]) -> nn.Module | None:
    """Build the network without memory for its weights; None if timm refuses the arguments."""
    try:
        with torch.inference_mode(False):
            try:
                with torch.device("meta"):
                    return _create(name, **args).eval()
            except RuntimeError:  # older versions of timm and torch cannot make every network there
                # A cached plan must not change which random weights come next.
                with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                    return _create(name, **args).eval().to("meta")
    except (TypeError, AssertionError):
        return None


def _build(name: str, args: dict[str, Any], pretrained: bool | str | Path) -> nn.Module:
    if pretrained is False:
        return _create(name, **args)
    if pretrained is True:
        fields = overlay(fetch_published(_pretrained_cfg(name), name))
        try:
            return _create(name, pretrained=True, pretrained_cfg_overlay=fields, **args)
        except (OSError, RuntimeError) as error:  # a few weights are not on the Hub, or do not exist
            raise ValueError(f"timm's weights of {name} cannot be loaded: {first_line(error)}") from error
    path = Path(pretrained)
    if not path.is_file():
        raise ValueError(
            f"pretrained_backbone must be True, False or a file of weights; got {str(path)!r}: there is no file of "
            "that name"
        )
    try:
        net = _create(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **args)
    except RuntimeError as error:
        raise ValueError(f"weights in {str(path)!r} do not fit backbone {name!r}: {error}") from error
    # timm skips what it cannot place in its lighter feature networks, so check that nothing of ours was missing.
    held = {key.replace(".", "_") for key in timm.models.load_state_dict(str(path))}
    missing = [key for key in net.state_dict() if key.replace(".", "_") not in held]
    if missing:
        raise ValueError(f"weights in {str(path)!r} do not fit backbone {name!r}: no tensor for {missing[0]}")
    return net


def _disable_inplace(net: nn.Module, steps: tuple[str, ...]) -> None:
    """Disable in-place operations of a block whose input is used elsewhere."""
    for step in steps:
        for module in net.get_submodule(step).modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]


def _is_nhwc(net: nn.Module) -> bool:
    return str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")


def split_blocks(net: nn.Module) -> list[tuple[str, ...]] | None:
    """Return the names of the modules of each block, in order; None if timm does not run its modules one by one."""
    if isinstance(net, FeatureListNet) and not net.concat:
        steps, ends = list(net.keys()), list(net.return_layers)
    elif stages := getattr(net, "_stage_out_idx", None):  # the MobileNet and EfficientNet feature networks
        stem = [step for step in ("conv_stem", "bn1", "act1") if hasattr(net, step)]
        blocks = [f"blocks.{name}" for name, _ in net.get_submodule("blocks").named_children()]
        ends = [blocks[stage - 1] if stage else stem[-1] for stage in stages]
        steps = stem + blocks
    else:
        return None
    cuts = [0, *(steps.index(end) + 1 for end in ends)]
    cuts[1] += _leading_pool([net.get_submodule(step) for step in steps[cuts[1] : cuts[2]]])
    return [tuple(steps[start:end]) for start, end in itertools.pairwise(cuts)]


def _leading_pool(modules: Sequence[nn.Module]) -> int:
    """Count the modules that pad and pool before the first that has weights; 0 if none pools."""
    count = 0
    for position, module in enumerate(modules, start=1):
        if any(True for _ in module.parameters()):
            break
        if any(isinstance(m, (nn.MaxPool2d, nn.AvgPool2d)) for m in module.modules()):
            count = position
    return count


def adapt_input_conv(in_chans: int, weight: Tensor) -> Tensor:
    """Return weights of a first convolution for another number of channels: summed to one, else repeated and scaled."""
    return timm.models.adapt_input_conv(in_chans, weight)
