"""Base classes of all networks: what they have in common for every task, and for semantic segmentation."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.normalize import Normalize
from ..layers.resize import resize_to
from ..pretrained import PretrainedCfg
from ..utils.images import MIN_SIZE
from ..utils.palette import voc_palette
from .methods import Backbone, CommonMethods, classifier_of
from .outputs import PassOutput, SegmenterOutput


class BaseSegmenter(CommonMethods):
    """A backbone, the modules that read its maps, and the config of the weights.

    Keys of the state dict are an on-disk format: renaming an attribute that holds parameters or buffers breaks every
    published checkpoint, unless :mod:`gatezoo.weights.conversions` translates the old name.

    Attributes:
        task: "semantic" (a class for every pixel) or "instance"; that of the model's spec in the registry.
        num_classes: K; of an instance segmentation network with the background, which is class 0.
        in_chans: channels of the image.
        freeze_bn: keep batch norm's running statistics (and use them) in training, too, within ``frozen_bn_scope``.
        architecture, model_kwargs: name of the model and keywords of its builder, if ``create_model`` made the network.
        pretrained_cfg: how the weights were trained and what they expect; None without weights.
        load_report: what loading weights changed; None without weights.
        prepared: it only predicts, see :func:`gatezoo.optimize`.
        max_workload_kwargs: keywords of ``raw_outputs`` with which it does the most work that an image can require.
    """

    task: ClassVar[str]
    max_workload_kwargs: Mapping[str, Any] = {}
    architecture: str | None = None
    model_kwargs: dict[str, Any] = {}
    pretrained_cfg: PretrainedCfg | None = None
    load_report: Any = None
    prepared = False

    def __init__(self, backbone: Backbone, num_classes: int, in_chans: int, freeze_bn: bool):
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.freeze_bn = freeze_bn

    @property
    def capabilities(self) -> frozenset[str]:
        """What the network can do beyond its task, of the following.

        * "iterations": it takes ``iterations`` at the call and has ``iterate``.
        * "anytime": each iteration gives a complete prediction, so that one can stop after any of them.
        * "depth": it predicts depth, ``outputs`` have ``log_depth``.
        * "gates": it has modules whose outputs are gates, ``gate_modules()``.
        """
        return frozenset({"gates"} if self.gate_modules() else ())

    @property
    def find_unused_parameters(self) -> bool:
        """Whether a training step may leave some parameters without a gradient."""
        return False

    @property
    def data_config(self) -> PretrainedCfg | Backbone:
        """The config with the mean and std that the weights expect: the weights' own, else the backbone's."""
        return self.pretrained_cfg or self.backbone

    def make_normalize(self) -> Normalize:
        """Create the module that turns uint8 images into the normalized input of the network."""
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
        if cfg is None or not cfg.palette:
            return voc_palette(self.num_classes)
        return [(red, green, blue) for red, green, blue in cfg.palette]

    def _class_cfg(self) -> PretrainedCfg | None:
        """Return the weights' config if its classes are those of the network."""
        cfg = self.pretrained_cfg
        return cfg if cfg is not None and cfg.num_classes == self.num_classes else None

    @property
    def frozen_bn_scope(self) -> nn.Module:
        """The module in which ``freeze_bn`` freezes: the backbone. Norms of a new head have nothing to keep yet."""
        return self.backbone

    @abstractmethod
    def raw_outputs(self, image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the raw numbers of all output layers for a normalized batch, independent of decisions on values.

        For counting (it runs on the meta device) and for comparing two networks. Further arguments are a subclass's.
        """

    def gate_modules(self) -> dict[int, nn.Module]:
        """Return the modules whose outputs are the gates, numbered as in ``outputs(image).gates``; {} without gates."""
        return {}

    def init_missing(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return another network's tensors to start from, with those added that can be derived for missing parts."""
        return state_dict

    def train(self, mode: bool = True) -> BaseSegmenter:
        """Set training or evaluation mode, leaving frozen batch norm in evaluation mode."""
        super().train(mode)
        kept = set(self.frozen_bn_scope.modules()) if self.freeze_bn else set()
        for module in self.modules():
            # A norm whose scale is not trained keeps its statistics too.
            if isinstance(module, _BatchNorm):
                learns = module.weight is None or module.weight.requires_grad
                module.train(mode and learns and module not in kept)
        return self

    def require_task(self, task: str, hint: str) -> None:
        """Raise ValueError if the network is of another task.

        Args:
            task: the task that is needed.
            hint: what to do instead, the end of the message.
        """
        if self.task != task:
            name = self.architecture or type(self).__name__
            raise ValueError(f"task must be {task!r}; got {name} of task {self.task!r}: {hint}")


class SemanticSegmenter(BaseSegmenter):
    """A semantic segmentation network: a backbone and a head that are run in one or more passes.

    A subclass yields the passes, coarse, in :meth:`run_passes`. This class checks and pads the images, resizes the
    results and collects them.

    Attributes:
        min_size: least height and width of an image.
        takes_depth: it must be given the depth of the images at the call.
        predicts_depth: ``outputs`` have ``log_depth``.
    """

    task = "semantic"
    takes_depth = False
    predicts_depth = False

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        min_size: int = MIN_SIZE,
    ):
        super().__init__(backbone, num_classes, in_chans, freeze_bn)
        self.head = head
        self.min_size = min_size

    @property
    def capabilities(self) -> frozenset[str]:
        depth = {"depth"} if self.predicts_depth else set()
        return super().capabilities | depth

    def get_classifier(self) -> nn.Module:
        return classifier_of(self.head)

    def forward_features(self, image: Tensor) -> list[Tensor]:
        return self.backbone(self._check_and_pad(image))

    @abstractmethod
    def run_passes(self, padded: Tensor, details: bool) -> Iterator[PassOutput]:
        """Yield the output of each pass, at the resolution of its maps. A pass runs when it is requested.

        Args:
            padded: batch (B, in_chans, H', W') of a size that the backbone takes.
            details: also compute what ``outputs`` has beyond the logits.
        """

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits (B, K, H, W) of the last pass.

        Args:
            image: normalized images (B, in_chans, H, W), H and W >= ``min_size``.

        Raises:
            ValueError: another rank, number of channels or dtype, or an image that is too small.
        """
        return self._last_logits(image)

    def outputs(self, image: Tensor) -> SegmenterOutput:
        """Compute the logits, gates and further predictions of every pass. Arguments as of ``forward``."""
        return self._collect_outputs(image)

    def raw_outputs(self, image: Tensor, **call: Any) -> Tensor:
        """Return the logits."""
        return self(image, **self.extra_inputs({"depth": image[:, 0]}), **call)

    def extra_inputs(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select from the further maps of a batch, by name, the keywords that the network takes at the call."""
        return {}

    def iterate_outputs(self, image: Tensor, details: bool = True, **inputs: Any) -> Iterator[PassOutput]:
        """Yield the output of each pass, resized to the images, as soon as it is done.

        Args:
            image: as of ``forward``.
            details: also compute what ``outputs`` has beyond the logits.
            inputs: further arguments of the network's ``forward``.
        """
        padded = self._check_and_pad(image)
        for output in self.run_passes(padded, details, **self._check_inputs(inputs, image)):
            resized: dict[str, Any] = {"logits": self._resize_to_input(output.logits, padded, image)}
            resized["auxiliary"] = [self._resize_to_input(logits, padded, image) for logits in output.auxiliary]
            if output.log_depth is not None:
                resized["log_depth"] = self._resize_to_input(output.log_depth, padded, image)[:, 0]
            yield dataclasses.replace(output, **resized)

    # ``forward`` and ``outputs`` call these; where a network takes further inputs, their signatures name them.

    def _last_logits(self, image: Tensor, **inputs: Any) -> Tensor:
        """Run all passes, and resize the logits of the last."""
        padded = self._check_and_pad(image)
        for output in self.run_passes(padded, details=False, **self._check_inputs(inputs, image)):
            logits = output.logits
        return self._resize_to_input(logits, padded, image)

    def _iterate_logits(self, image: Tensor, **inputs: Any) -> Iterator[Tensor]:
        """Yield the resized logits of each pass as soon as it is done."""
        for output in self.iterate_outputs(image, details=False, **inputs):
            yield output.logits

    def _collect_outputs(self, image: Tensor, **inputs: Any) -> SegmenterOutput:
        """Run all passes, and resize and collect everything that they predict."""
        return SegmenterOutput.collect(list(self.iterate_outputs(image, **inputs)))

    def _check_inputs(self, inputs: dict[str, Any], image: Tensor) -> dict[str, Any]:
        """Check the further inputs of a call, and pad those that are maps."""
        return inputs

    def _check_and_pad(self, image: Tensor) -> Tensor:
        """Check the batch; pad it on the right and below to a size that the backbone takes."""
        if image.ndim != 4 or image.shape[1] != self.in_chans:
            raise ValueError(f"images must be (B, {self.in_chans}, H, W); got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ValueError(
                f"images must be floating point and normalized; got {image.dtype}: "
                "use gatezoo.predict, or normalize them"
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

    def _resize_to_input(self, coarse: Tensor, padded: Tensor, image: Tensor) -> Tensor:
        """Resize a coarse map of the padded batch, and cut it to the size of the images."""
        height, width = image.shape[-2:]
        return resize_to(coarse, padded.shape[-2:])[..., :height, :width]
