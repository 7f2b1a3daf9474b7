"""What all networks of the zoo are, whatever they find in a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.base import Pyramid, Stages
from ..pretrained import PretrainedCfg


class Network(nn.Module, ABC):
    """A backbone, what reads it, and what is known of the weights.

    Attributes:
        task: "semantic" (a class for every pixel) or "instance" (objects); that of its row in the registry.
        num_classes: K; of an instance network with the background, which is class 0.
        in_chans: channels of the image.
        freeze_bn: keep batch norm's running statistics (and use them) also in training, in all that is ``frozen``.
        architecture, model_args: name of the row and keywords of its builder, if ``create_model`` made the network.
        pretrained_cfg: how the weights were trained and what they expect; None without weights.
        load_report: what loading weights did; None without weights.
        idle_parameters: a training step may leave some parameters without a gradient.
        full_load: keywords of ``probe`` with which it does the most that a picture can ask for.
    """

    task: ClassVar[str]
    full_load: ClassVar[Mapping[str, Any]] = {}
    idle_parameters = False
    architecture: str | None = None
    model_args: dict[str, Any] = {}
    pretrained_cfg: PretrainedCfg | None = None
    load_report = None

    def __init__(self, backbone: Pyramid | Stages, num_classes: int, in_chans: int, freeze_bn: bool):
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.freeze_bn = freeze_bn

    @property
    def statistics(self) -> PretrainedCfg | Pyramid | Stages:
        """Whatever knows the mean and std that the weights expect: the weights' own facts, else the backbone."""
        return self.pretrained_cfg or self.backbone

    @property
    def frozen(self) -> nn.Module:
        """Where ``freeze_bn`` freezes: in the backbone. The norms of a head that is new have nothing to keep yet."""
        return self.backbone

    @abstractmethod
    def probe(self, image: Tensor, **call: Any) -> Tensor:
        """Raw numbers of all output layers for a normalised batch, free of choices that hang on numbers.

        For counting (it runs on the meta device) and for comparing two networks.
        """

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, recompute activations in the backward pass instead of keeping them: less memory, more time.

        Batch norm that is not frozen counts each batch twice in its running statistics then.
        """

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        kept = set(self.frozen.modules()) if self.freeze_bn else set()
        for module in self.modules():
            # A norm whose scale is not trained keeps its statistics too.
            if isinstance(module, _BatchNorm):
                learns = module.weight is None or module.weight.requires_grad
                module.train(mode and learns and module not in kept)
        return self

    def must_be(self, task: str, cure: str) -> None:
        """Raise ValueError if the network is of another task."""
        if self.task != task:
            name = self.architecture or type(self).__name__
            raise ValueError(f"this needs a network of the task {task!r}; {name} is of {self.task!r}: {cure}")
