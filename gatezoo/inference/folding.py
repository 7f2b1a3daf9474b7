"""Prepare a copy of a network for prediction: batch norm and activations made part of the convolutions."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..utils.modules import copy_for_inference
from .fused_conv import FusedConv2d
from .fusing import can_fuse, fuse_activations

S = TypeVar("S", bound=BaseSegmenter)

# Largest change of an output for the random image by folding, as a share of the largest value of that output.
TOLERANCE = 1e-4
# Side of the random image on which a folded network is compared; the networks take images of 32 pixels and more.
_SIDE = 64

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.conv2d)


def prepare_for_inference(model: S, device: str | torch.device | None = None) -> S:
    """Copy a network in evaluation mode, with weights of its own and batch norm folded into the convolutions.

    A batch norm that reads nothing but the results of one convolution, which nothing else reads, becomes part of it::

        gamma (w * x + b - mean) / sqrt(var + eps) + beta = w' * x + b',
        w' = s w,   b' = s (b - mean) + beta,   s = gamma / sqrt(var + eps)         computed in float64

    Which ones these are is recorded while the network runs on a random image, over two passes if it is unrolled. If
    an output for it then changes by more than ``TOLERANCE`` of its largest value, nothing is folded or fused. The two
    networks are equal but for rounding; what that amounts to on another image depends on the weights, as it does for
    any change of the order of operations. What is in a module with hooks of the caller stays as it is, unless that is
    the network itself; hooks are not called here. Names of modules do not change.

    The weights of convolutions are laid out in channels_last, as the images of a :class:`gatezoo.Predictor` are. On
    CPUs convolutions then take in the activations that follow them, see
    :class:`gatezoo.inference.fused_conv.FusedConv2d`; the place of an activation is left to an identity.

    Args:
        model: of any task; it is not changed, and later changes of its weights do not reach the copy.
        device: of the copy; default: where each tensor is.
    """
    network = copy_for_inference(model, device, share=False)
    with torch.inference_mode(False), torch.no_grad():
        inputs = _random_inputs(network)
        flow = _Flow(network)
        with _without_hooks(network):
            try:
                with flow:
                    before = _outputs(network, *inputs)
            except ValueError:  # it does not take the random image
                return network
            for conv, norm in flow.pairs():
                _fold(network, conv, norm)
            if can_fuse(network):
                fuse_activations(network, lambda: _outputs(network, *inputs), flow.hooked)
            after = _outputs(network, *inputs)
        if not _is_close(before, after):
            return copy_for_inference(model, device, share=False)
        for conv in flow.convolutions():
            if isinstance(network.get_submodule(conv), FusedConv2d):
                continue
            weight = network.get_submodule(conv).weight
            assert isinstance(weight, nn.Parameter)
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    # What took the place of norms and activations is new.
    return network.eval()


class _Flow(TorchDispatchMode):
    """Record which operations read the weights and the results of the convolutions of a network that is run.

    Operations, not modules, are recorded: a weight that some code uses without its module is seen, too.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self._convs: dict[int, str] = {}
        self._norms: dict[int, str] = {}
        # The network itself takes images and returns results, which are the same.
        self.hooked = [name for name, module in model.named_modules() if name and has_hooks(module)]
        hooked = tuple(f"{name}." for name in self.hooked)
        for name, module in model.named_modules():
            if f"{name}.".startswith(hooked):
                continue
            if isinstance(module, nn.Conv2d):
                self._convs[id(module.weight)] = name
            elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                self._norms[id(module.running_mean)] = name
        # Results by id; they are kept, so that no other tensor gets the id.
        self._results: dict[int, tuple[str, Tensor]] = {}
        # By convolution, the norms that read its results, and by norm, the convolutions that it reads; None: others.
        self._readers: dict[str, set[str | None]] = {}
        self._sources: dict[str, set[str | None]] = {}
        self._read_otherwise: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        norm = next((self._norms[id(x)] for x in tensors if id(x) in self._norms), None)
        weight = args[1] if function.overloadpacket in _CONVOLUTIONS else None
        for x in tensors:
            if id(x) in self._results:
                self._readers[self._results[id(x)][0]].add(norm)
            if id(x) in self._convs and x is not weight:
                self._read_otherwise.add(self._convs[id(x)])
        if norm is not None:
            source = self._results.get(id(args[0]))
            self._sources.setdefault(norm, set()).add(source[0] if source else None)
        if weight is not None and id(weight) in self._convs:
            conv = self._convs[id(weight)]
            self._results[id(result)] = (conv, result)
            self._readers.setdefault(conv, set())
        return result

    def convolutions(self) -> list[str]:
        """Return the names of the convolutions that ran, and whose weight nothing but convolutions reads."""
        return [conv for conv in self._readers if conv not in self._read_otherwise]

    def pairs(self) -> list[tuple[str, str]]:
        """Return the names of each convolution and batch norm of which neither has anything to do with another."""
        found = []
        for conv in self.convolutions():
            (norm, *others) = self._readers[conv] or {None}
            if norm is not None and not others and self._sources[norm] == {conv}:
                found.append((conv, norm))
        return found


def has_hooks(module: nn.Module) -> bool:
    """Return whether something is to be called before or after a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


@contextlib.contextmanager
def _without_hooks(network: nn.Module) -> Iterator[None]:
    """Take the hooks off all modules of a network within the context."""
    hooked = [(module, vars(module).copy()) for module in network.modules() if has_hooks(module)]
    for module, _ in hooked:
        module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for module, attributes in hooked:
            module._forward_hooks = attributes["_forward_hooks"]
            module._forward_pre_hooks = attributes["_forward_pre_hooks"]


def _fold(network: nn.Module, conv_name: str, norm_name: str) -> None:
    """Fold a batch norm into a convolution; its place takes what it does besides, such as timm's activation."""
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    bias = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias.double()
    weight, dtype = conv.weight, conv.weight.dtype
    weight.data = (weight.double() * scale[:, None, None, None]).to(dtype)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=weight.requires_grad)
    network.set_submodule(norm_name, nn.Sequential(*norm.children()).eval())


def _random_inputs(network: BaseSegmenter) -> tuple[Tensor, Tensor]:
    """Return a normalized image (1, C, H, W) and a depth in metres (1, H, W), the same ones at every call."""
    like = next(network.parameters())
    side = max(_SIDE, network.min_size) if isinstance(network, SemanticSegmenter) else _SIDE
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, network.in_chans, side, side, generator=random)
    return image.to(like), (1 + 9 * torch.rand(1, side, side, generator=random)).to(like.device)


def _outputs(network: BaseSegmenter, image: Tensor, depth: Tensor) -> list[Tensor]:
    """Return all that a network computes for an image, over two passes if it is unrolled."""
    if not isinstance(network, SemanticSegmenter):
        return [network.raw_outputs(image)]
    passes = {"iterations": 2} if "iterations" in network.capabilities else {}
    return list(_tensors(network.outputs(image, **passes, **network.extra_inputs({"depth": depth}))))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested sequences, mappings and objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))


def _is_close(before: list[Tensor], after: list[Tensor]) -> bool:
    """Return whether no output changed by more than ``TOLERANCE`` of its largest value; values must be finite."""
    return all(((x - y).abs().max() <= TOLERANCE * x.abs().max()).item() for x, y in zip(before, after, strict=True))
