"""Fuse the activations of a network into the convolutions before them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..backbones.free_sizes import SamePaddedConv2d
from .fused_conv import POST_OPERATIONS, FusedConv2d


def can_fuse(network: nn.Module) -> bool:
    """Return whether :class:`FusedConv2d` is quicker than torch's convolution: in float32, on CPUs of x86."""
    if not torch.backends.mkldnn.is_available() or "AVX" not in torch.backends.cpu.get_cpu_capability():
        return False
    return all(x.device.type == "cpu" and x.dtype == torch.float32 for x in network.parameters())


def fuse_activations(network: nn.Module, run: Callable[[], object], kept: Collection[str]) -> None:
    """Make a :class:`FusedConv2d` of each convolution of a network, in place.

    An activation goes into a convolution if it reads nothing but the results of this one, which nothing else reads.
    Which ones these are is recorded while the network runs.

    Args:
        network: without hooks.
        run: call of the network.
        kept: names of modules that stay as they are, with all that is in them.
    """
    flow = _Flow(network, tuple(f"{name}." for name in kept))
    handles = list(flow.watch())
    try:
        with flow:
            run()
    finally:
        for handle in handles:
            handle.remove()
    followers = flow.pairs()
    for name in flow.convolutions:
        conv, follower = network.get_submodule(name), followers.get(name)
        assert isinstance(conv, nn.Conv2d)
        FusedConv2d.take_over(
            conv, network.get_submodule(follower) if follower else None, isinstance(conv, SamePaddedConv2d)
        )
        if follower:
            network.set_submodule(follower, nn.Identity())


def _is_convolution(module: nn.Module) -> bool:
    own = isinstance(module, nn.Conv2d) and type(module).forward in (nn.Conv2d.forward, SamePaddedConv2d.forward)
    return own and module.padding_mode == "zeros" and not isinstance(module.padding, str)


class _Flow(TorchDispatchMode):
    """Record which activations read the results of which convolutions.

    Attributes:
        convolutions: names of those that ran as modules.
    """

    def __init__(self, network: nn.Module, kept: tuple[str, ...]):
        super().__init__()
        modules = {name: module for name, module in network.named_modules() if not f"{name}.".startswith(kept)}
        self._convs = {name: module for name, module in modules.items() if _is_convolution(module)}
        self._activations = {name: module for name, module in modules.items() if type(module) in POST_OPERATIONS}
        self.convolutions: list[str] = []
        # Name of the activation that runs.
        self._running: str | None = None
        # Results by id; they are kept, so that no other tensor gets the id.
        self._results: dict[int, str] = {}
        self._tensors: list[Tensor] = []
        # By convolution, the activations that read its results, and by activation, what it reads; None: others.
        self._readers: dict[str, set[str | None]] = {}
        self._sources: dict[str, set[str | None]] = {}

    def watch(self) -> Iterator[Any]:
        """Yield handles of the hooks by which modules say when they run."""
        for name, module in self._convs.items():
            yield module.register_forward_hook(lambda module, inputs, result, name=name: self._convolved(name, result))
        for name, module in self._activations.items():
            if type(module) is not nn.Identity:
                yield module.register_forward_pre_hook(lambda module, inputs, name=name: self._run(name))
                yield module.register_forward_hook(lambda module, inputs, result: self._run(None))

    def _run(self, name: str | None) -> None:
        self._running = name

    def _convolved(self, name: str, result: Tensor) -> None:
        if name not in self._readers:
            self.convolutions.append(name)
            self._readers[name] = set()
        self._results[id(result)] = name
        self._tensors.append(result)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, Tensor):
                conv = self._results.get(id(x))
                if conv:
                    self._readers[conv].add(self._running)
                if self._running:
                    self._sources.setdefault(self._running, set()).add(conv)
        # What has been activated in place is no longer the result of the convolution.
        self._results.pop(id(result), None)
        return result

    def pairs(self) -> dict[str, str]:
        """Return the names of the activations to fuse by those of their convolutions."""
        found = {}
        for conv, readers in self._readers.items():
            (reader, *others) = readers or {None}
            if reader is not None and not others and self._sources[reader] == {conv}:
                found[conv] = reader
        return found
