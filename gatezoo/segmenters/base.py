"""What all networks of the zoo are, whatever they find in a image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.pyramid import Pyramid
from ..backbones.stages import Stages
from ..layers.normalize import Normalize
from ..layers.resize import resize_to
from ..pretrained import PretrainedCfg
from ..utils.palette import voc_palette
from .outputs import SegmenterOutput


class BaseSegmenter(nn.Module, ABC):
    """A backbone, what reads it, and what is known of the weights.

    Attributes:
        task: "semantic" (a class for every pixel) or "instance" (objects); that of its row in the registry.
        num_classes: K; of an instance network with the background, which is class 0.
        in_chans: channels of the image.
        freeze_bn: keep batch norm's running statistics (and use them) also in training, in all that is ``frozen``.
        architecture, model_kwargs: name of the row and keywords of its builder, if ``create_model`` made the network.
        pretrained_cfg: how the weights were trained and what they expect; None without weights.
        load_report: what loading weights did; None without weights.
        find_unused_parameters: a training step may leave some parameters without a gradient.
        max_workload_kwargs: keywords of ``probe`` with which it does the most that a image can ask for.
    """

    task: ClassVar[str]
    max_workload_kwargs: ClassVar[Mapping[str, Any]] = {}
    find_unused_parameters = False
    architecture: str | None = None
    model_kwargs: dict[str, Any] = {}
    pretrained_cfg: PretrainedCfg | None = None
    load_report = None

    def __init__(self, backbone: Pyramid | Stages, num_classes: int, in_chans: int, freeze_bn: bool):
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.freeze_bn = freeze_bn

    @property
    def data_config(self) -> PretrainedCfg | Pyramid | Stages:
        """Whatever knows the mean and std that the weights expect: the weights' own facts, else the backbone."""
        return self.pretrained_cfg or self.backbone

    def make_normalize(self) -> Normalize:
        """Create the module that turns uint8 images into what the weights expect."""
        return Normalize(self.data_config.mean, self.data_config.std, self.in_chans)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes: those of the weights, else their numbers."""
        cfg = self._class_cfg()
        return list(cfg.class_names) if cfg and cfg.class_names else [str(k) for k in range(self.num_classes)]

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """Colors of the classes: those of the weights, else those of PASCAL VOC."""
        cfg = self._class_cfg()
        return [tuple(color) for color in cfg.palette] if cfg and cfg.palette else voc_palette(self.num_classes)

    def _class_cfg(self) -> PretrainedCfg | None:
        """The weights' config, if its classes are those of the network."""
        cfg = self.pretrained_cfg
        return cfg if cfg is not None and cfg.num_classes == self.num_classes else None

    @property
    def frozen_bn_scope(self) -> nn.Module:
        """Where ``freeze_bn`` freezes: in the backbone. The norms of a head that is new have nothing to keep yet."""
        return self.backbone

    @abstractmethod
    def raw_outputs(self, image: Tensor, **call: Any) -> Tensor:
        """Raw numbers of all output layers for a normalised batch, free of choices that hang on numbers.

        For counting (it runs on the meta device) and for comparing two networks.
        """

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, recompute activations in the backward pass instead of keeping them: less memory, more time.

        Batch norm that is not frozen counts each batch twice in its running statistics then.
        """

    def train(self, mode: bool = True) -> BaseSegmenter:
        super().train(mode)
        kept = set(self.frozen_bn_scope.modules()) if self.freeze_bn else set()
        for module in self.modules():
            # A norm whose scale is not trained keeps its statistics too.
            if isinstance(module, _BatchNorm):
                learns = module.weight is None or module.weight.requires_grad
                module.train(mode and learns and module not in kept)
        return self

    def require_task(self, task: str, cure: str) -> None:
        """Raise ValueError if the network is of another task."""
        if self.task != task:
            name = self.architecture or type(self).__name__
            raise ValueError(f"this needs a network of the task {task!r}; {name} is of {self.task!r}: {cure}")


MIN_SIZE = 32


class SemanticSegmenter(BaseSegmenter):
    """What all networks of classes share: a head, checks, sizes.

    Attributes:
        min_size: least height and width of a image.
        takes_depth: it must be given the depth of the images at the call.
        predicts_depth: ``outputs`` have ``log_depth``.
    """

    task = "semantic"
    takes_depth = False
    predicts_depth = False

    def __init__(
        self,
        backbone: Pyramid | Stages,
        head: nn.Module,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        min_size: int = MIN_SIZE,
    ):
        super().__init__(backbone, num_classes, in_chans, freeze_bn)
        self.head = head
        self.min_size = min_size

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, in_chans, H, W), H and W >= 32 -> logits (B, K, H, W).

        Raises:
            ValueError: another rank, number of channels or dtype, or a image that is too small.
        """

    @abstractmethod
    def outputs(self, image: Tensor) -> SegmenterOutput:
        """As ``forward``, with the logits and gates of every pass."""

    def raw_outputs(self, image: Tensor, **call: Any) -> Tensor:
        """The logits."""
        return self(image, **self.extra_inputs({"depth": image[:, 0]}), **call)

    def gate_modules(self) -> dict[int, nn.Module]:
        """The modules whose outputs are the gates, numbered as in ``outputs(image).gates``; empty if there are none."""
        return {}

    def extra_inputs(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the further maps of a batch, by name, those that the network takes at the call, as keywords."""
        return {}

    def init_missing(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of another network to start from, with what can be derived from them for parts that it lacks."""
        return tensors

    def _check_and_pad(self, image: Tensor) -> Tensor:
        """Check the batch; pad it on the right and below to what the backbone can take."""
        if image.ndim != 4 or image.shape[1] != self.in_chans:
            raise ValueError(f"images must be (B, {self.in_chans}, H, W); got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ValueError(
                f"images must be floating point and normalised; got {image.dtype}: gatezoo.predict does it"
            )
        height, width = image.shape[-2:]
        if height < self.min_size or width < self.min_size:
            raise ValueError(
                f"images must be at least {self.min_size} pixels on each side; got {height}x{width}: enlarge them"
            )
        return self._pad(image)

    def _pad(self, image: Tensor, value: float = 0.0) -> Tensor:
        divisor, (height, width) = self.backbone.size_divisor, image.shape[-2:]
        if divisor == 1:
            return image
        return F.pad(image, (0, -width % divisor, 0, -height % divisor), value=value)

    def _resize_to_input(self, logits: Tensor, padded: Tensor, image: Tensor) -> Tensor:
        """Coarse logits of the padded batch -> logits at the size of the batch that came in."""
        height, width = image.shape[-2:]
        return resize_to(logits, padded.shape[-2:])[..., :height, :width]
