"""Networks as users meet them: image in, logits at the image's own size out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..backbones.base import Pyramid, Stages
from ..gates.base import Feedback
from ..heads.base import GatedHead
from ..layers.conv import resize_to
from ..utils.autograd import longest_path
from .base import Network
from .outputs import Outputs
from .unroll import UNROLLS, Blocks, Pass

MIN_SIZE = 32


class SegmentationModel(Network):
    """What all networks of classes share: a head, checks, sizes.

    Attributes:
        min_size: least height and width of a picture.
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
            ValueError: another rank, number of channels or dtype, or a picture that is too small.
        """

    @abstractmethod
    def outputs(self, image: Tensor) -> Outputs:
        """As ``forward``, with the logits and gates of every pass."""

    def probe(self, image: Tensor, **call: Any) -> Tensor:
        """The logits."""
        return self(image, **self.side_inputs({"depth": image[:, 0]}), **call)

    def gate_modules(self) -> dict[int, nn.Module]:
        """The modules whose outputs are the gates, numbered as in ``outputs(image).gates``; empty if there are none."""
        return {}

    def side_inputs(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the further maps of a batch, by name, those that the network takes at the call, as keywords."""
        return {}

    def completed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of another network to start from, with what can be derived from them for parts that it lacks."""
        return tensors

    def _enter(self, image: Tensor) -> Tensor:
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

    def _leave(self, logits: Tensor, padded: Tensor, image: Tensor) -> Tensor:
        """Coarse logits of the padded batch -> logits at the size of the batch that came in."""
        height, width = image.shape[-2:]
        return resize_to(logits, padded.shape[-2:])[..., :height, :width]


class Segmenter(SegmentationModel):
    """A feed-forward network: ``head(*backbone(image))``, resized to the image.

    Args:
        auxiliary: heads of single maps, by the number of the map among the backbone's, 0 the finest. ``outputs`` runs
            them, ``forward`` never does.
    """

    def __init__(
        self,
        backbone: Pyramid,
        head: nn.Module,
        num_classes: int,
        in_chans: int = 3,
        freeze_bn: bool = False,
        min_size: int = MIN_SIZE,
        auxiliary: Mapping[int, nn.Module] | None = None,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, min_size)
        self.auxiliary = nn.ModuleDict({str(level): extra for level, extra in (auxiliary or {}).items()})

    def forward(self, image: Tensor) -> Tensor:
        padded = self._enter(image)
        return self._leave(self.head(*self.backbone(padded)), padded, image)

    def outputs(self, image: Tensor) -> Outputs:
        padded = self._enter(image)
        maps = self.backbone(padded)
        coarse, gates = self.head.with_gates(*maps) if isinstance(self.head, GatedHead) else (self.head(*maps), {})
        logits = self._leave(coarse, padded, image)
        extra = [self._leave(head(maps[int(level)]), padded, image) for level, head in self.auxiliary.items()]
        return Outputs(logits, iterations=[logits], gates=[gates], auxiliary=extra)

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.head.gate_modules() if isinstance(self.head, GatedHead) else {}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)


class IterativeSegmenter(SegmentationModel):
    """A network that predicts again and again, every time from what it found before, with the same weights.

    Attributes:
        iterations: number of passes in ``forward``; can be set, and given at the call.
        whole_passes: each pass gives a prediction of the whole network, so that one can stop after any of them.
    """

    whole_passes = True
    grad_checkpointing = False

    @property
    def iterations(self) -> int:
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = _check_iterations(value)

    @property
    def idle_parameters(self) -> bool:
        return self.iterations == 1  # what feeds back rests in a single pass

    @abstractmethod
    def iterate(self, image: Tensor, iterations: int | None = None) -> Iterator[Tensor]:
        """Logits (B, K, H, W) of each pass, as soon as it is done. Stop when you like: later passes are not run."""

    def _passes(self, iterations: int | None) -> int:
        return self.iterations if iterations is None else _check_iterations(iterations)

    def _call(self, function: Callable, *arguments: Any) -> Any:
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)


class RecurrentSegmenter(IterativeSegmenter):
    """A network unrolled over iterations, the inputs of its blocks gated by feedback.

    Blocks 1 .. n-1 are the backbone's, block n is the head (f_n, the raw logits). In which order they run says
    :mod:`gatezoo.segmenters.unroll`. One iteration is the plain network. The number of parameters does not depend on their
    number. Batch norm is frozen in training by default (both papers froze it: its statistics would mix those of
    different passes).

    Attributes:
        iterations: their number (T, or ui) in ``forward``; can be set, and given at the call.
        unroll: "parallel" or "sequential".
    """

    def __init__(
        self,
        backbone: Stages,
        head: nn.Module,
        feedback: Feedback,
        num_classes: int,
        in_chans: int = 3,
        iterations: int = 2,
        freeze_bn: bool = True,
        unroll: str = "parallel",
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn)
        self.feedback = feedback
        self.iterations = iterations
        self.unroll = unroll

    @property
    def whole_passes(self) -> bool:
        return self.unroll == "parallel"

    @property
    def frozen(self) -> nn.Module:
        return self  # the passes share the head, too

    def forward(self, image: Tensor, iterations: int | None = None) -> Tensor:
        """Logits (B, K, H, W) of the last of ``iterations`` passes (default: ``self.iterations``)."""
        padded = self._enter(image)
        for maps, _gates in self._unroll(padded, iterations):
            logits = maps[-1]
        return self._leave(logits, padded, image)

    def iterate(self, image: Tensor, iterations: int | None = None) -> Iterator[Tensor]:
        padded = self._enter(image)
        for maps, _ in self._unroll(padded, iterations):
            yield self._leave(maps[-1], padded, image)

    def outputs(self, image: Tensor, iterations: int | None = None) -> Outputs:
        padded = self._enter(image)
        passes = [(self._leave(maps[-1], padded, image), gates) for maps, gates in self._unroll(padded, iterations)]
        logits, gates = map(list, zip(*passes))
        return Outputs(logits[-1], iterations=logits, gates=gates)

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.feedback.gate_modules()

    def effective_depth(self, iterations: int | None = None) -> int:
        """Layers with weights on the longest path from image to logits, gates left out (RIGNet, Sec. 3.3).

        With l_i the layers of block i, sequential: sum l_i + (iterations - 1) * sum of the gated l_i; parallel:
        sum l_i + (iterations - 1) * the largest gated l_i.
        """
        iterations, depths = self._passes(iterations), self._depths()
        gated = [depths[block - 1] for block in self.feedback.blocks]
        return sum(depths) + (iterations - 1) * (sum(gated) if self.unroll == "sequential" else max(gated))

    def _depths(self) -> list[int]:
        """Layers on the longest path through each block."""
        training, depths = self.training, []
        self.eval()
        weight = next(self.parameters())
        x = self._enter(weight.new_zeros(1, self.in_chans, 2 * MIN_SIZE, 2 * MIN_SIZE))
        with torch.enable_grad():
            for block in range(1, len(self.backbone) + 2):
                x = self._block(block, x.detach().requires_grad_())
                depths.append(longest_path(x))
        self.train(training)
        return depths

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As the base class says. Of each pass only the maps between blocks are kept."""
        self.grad_checkpointing = enable

    def _unroll(self, image: Tensor, iterations: int | None) -> Iterator[Pass]:
        """Maps [f_0 .. f_n] and gates {i: gate} of each pass."""
        blocks = Blocks(self._block, len(self.backbone) + 1, self.feedback, self._call)
        return UNROLLS[self.unroll](blocks, image, self._passes(iterations))

    def _block(self, number: int, x: Tensor) -> Tensor:
        return self.head(x) if number > len(self.backbone) else self.backbone.run(number, x)


def _check_iterations(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"iterations must be a whole number of passes, at least 1; got {value!r}")
    return value
