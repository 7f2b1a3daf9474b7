"""Methods that users of timm, torchvision and huggingface_hub expect of every network."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torch import Tensor, nn

from ..backbones.layer_groups import layers_of
from ..backbones.pyramid import Pyramid
from ..backbones.stages import Stages
from ..backbones.wide_resnet import WiderResNet38
from ..pretrained import PretrainedCfg

if TYPE_CHECKING:
    from .base import BaseSegmenter

Backbone = Pyramid | Stages | WiderResNet38
M = TypeVar("M", bound="CommonMethods")

# What remains true of weights whose classifier is replaced.
_KEPT_FIELDS = ("architecture", "mean", "std", "in_chans", "interpolation", "license", "image_max", "format_version")


class CommonMethods(nn.Module, ABC):
    """The part of a network that other libraries have under the same names.

    This file alone imports from packages that build on the networks, and only when a method is called: the methods do
    nothing but call the functions of the package, which are the same for all networks.
    """

    backbone: Backbone
    num_classes: int
    model_kwargs: dict[str, Any]
    pretrained_cfg: PretrainedCfg | None

    @property
    def default_cfg(self) -> PretrainedCfg | None:
        """The config of the weights, ``pretrained_cfg``, under timm's other name for it."""
        return self.pretrained_cfg

    def save_pretrained(
        self, folder: str | os.PathLike, class_names: Sequence[str] | None = None, license: str | None = None
    ) -> Path:
        """Save the network as a folder; see :func:`gatezoo.save_pretrained`."""
        from ..publishing.model_folder import save_pretrained

        return save_pretrained(cast("BaseSegmenter", self), folder, class_names, license)

    def push_to_hub(
        self, repo: str, license: str | None = None, private: bool = False, message: str = "A network of gatezoo"
    ) -> str:
        """Upload the network to the Hugging Face Hub; see :func:`gatezoo.push_to_hub`."""
        from ..publishing.publish import push_to_hub

        return push_to_hub(cast("BaseSegmenter", self), repo, license, private, message)

    @classmethod
    def from_pretrained(cls: type[M], source: str | os.PathLike, **model_kwargs: Any) -> M:
        """Create the network of a folder or repository, with its weights; see :func:`gatezoo.from_pretrained`.

        Raises:
            ValueError: also a source whose network is not of this class.
        """
        from ..factory import from_pretrained

        model = from_pretrained(source, **model_kwargs)
        if not isinstance(model, cls):
            kind = type(model).__name__
            raise ValueError(
                f"the network of {cls.__name__}.from_pretrained must be a {cls.__name__}; got {os.fspath(source)}, a "
                f"{kind}: use {kind}.from_pretrained or gatezoo.from_pretrained"
            )
        return model

    @abstractmethod
    def get_classifier(self) -> nn.Module:
        """Return the layer that computes the logits; an ``nn.ModuleList`` if the network has several.

        Auxiliary heads, which ``forward`` does not run, are left out.
        """

    def reset_classifier(self, num_classes: int) -> None:
        """Replace all layers whose shape depends on the number of classes by new ones, in place.

        These are the classifier, those of auxiliary heads, and the gates that read predictions; the same are new in
        ``create_model(NAME, pretrained=True, num_classes=...)``. Every other tensor stays the same object, frozen or
        not. Class names, colors, scores and what else the config says of the former classes are dropped.

        Args:
            num_classes: K; for instance segmentation with the background.

        Raises:
            ValueError: a number out of range, or a network that ``create_model`` did not make.
        """
        from ..factory import rebuild

        new = rebuild(cast("BaseSegmenter", self), num_classes)
        # With as many classes as before, another number shows which layers depend on it.
        other = new if num_classes != self.num_classes else rebuild(cast("BaseSegmenter", self), num_classes + 1)
        for name in _differing_modules(self, other):
            _replace_module(self, name, new.get_submodule(name))
        self.num_classes, self.model_kwargs = new.num_classes, new.model_kwargs
        if cfg := self.pretrained_cfg:
            kept = {field: getattr(cfg, field) for field in _KEPT_FIELDS}
            self.pretrained_cfg = PretrainedCfg(
                tag="local", num_classes=num_classes, base_model=cfg.describe_as_base(), **kept
            )

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """Return the function from a parameter's name to its layer, for timm's ``group_parameters``.

        ``timm.optim.param_groups_layer_decay`` and ``create_optimizer_v2`` call it. Layers are those of the backbone,
        from the stem on; all others, the gates included, are the last.

        Args:
            coarse: count the stages of the backbone instead of its blocks.

        Raises:
            ValueError: a backbone whose layers timm does not list.
        """
        layers = {f"backbone.{name}": float(layer) for name, layer in layers_of(self.backbone, coarse).items()}
        last = 1 + max(layers.values())
        return lambda name: layers.get(name, last)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay, as timm lists them for the backbone.

        Biases and norms, which timm's optimizers recognize by their shape, are left out.
        """
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    @abstractmethod
    def forward_features(self, image: Any) -> list[Tensor]:
        """Compute the maps of the backbone (B, C_l, h_l, w_l), ungated, finest first; arguments as of ``forward``."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, recompute activations in the backward pass instead of keeping them: less memory, more time.

        Batch norm that is not frozen then counts each batch twice in its running statistics.

        Raises:
            ValueError: a backbone that does not support it.
        """
        self.backbone.set_grad_checkpointing(enable)


def classifier_of(head: nn.Module) -> nn.Module:
    """Return the layer of a head that computes the logits, or the head itself if it has no other layers."""
    module = getattr(head, "classify", head)
    return module[-1] if isinstance(module, nn.Sequential) else module


def _differing_modules(model: nn.Module, other: nn.Module) -> list[str]:
    """Return the names of the modules of ``model`` with a tensor of its own that has another shape in ``other``."""
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    names = [name for name, tensor in model.state_dict().items() if shapes.get(name, tensor.shape) != tensor.shape]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def _replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put a module into the place of another, on its device, with its type and mode."""
    parent, _, last = name.rpartition(".")
    old = model.get_submodule(name)
    tensor = next(old.parameters())
    new.to(tensor.device, tensor.dtype).train(old.training)
    model.get_submodule(parent).add_module(last, new)
