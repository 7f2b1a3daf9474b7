"""Hyperparameters of a training, as data."""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.choices import check_choice, check_fields
from ..utils.keyword_types import check_keyword

_AT_LEAST_ONE = ("steps", "batch_size", "grad_accum_steps", "crop_size", "eval_interval", "log_interval")
# Least and largest value of the other numbers.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("lr", "head_lr_mult", "weight_decay", "power", "warmup", "linear_probe_steps"), (0, math.inf)),
    **dict.fromkeys(("rotate", "color_jitter", "checkpoint_interval", "seed"), (0, math.inf)),
    **dict.fromkeys(("iteration_loss_weight", "aux_loss_weight", "seg_loss_weight"), (0, math.inf)),
    **dict.fromkeys(("depth_loss_weight", "scale_loss_weight"), (0, math.inf)),
    **dict.fromkeys(("hflip", "cat_max_ratio", "momentum", "decay_share", "late_loss_start"), (0, 1)),
}


def _field(default: Any, text: str, *flags: str) -> Any:
    """Make a field with its help text, and its flags on the command line if they are not just its name."""
    return dataclasses.field(default=default, metadata={"help": text, "flags": flags})


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training: stored in every checkpoint, and the options of ``gatezoo train``.

    The fields and their meaning are listed by ``gatezoo train --help``.
    """

    steps: int = _field(1000, "Number of optimizer steps.")
    batch_size: int = _field(8, "Number of crops in a micro-batch, over all processes.", "--batch-size", "-b")
    grad_accum_steps: int = _field(1, "Number of micro-batches in a step.")
    crop_size: int = _field(320, "Side of the square crop, in pixels.", "--crop-size", "--img-size", "--crop")
    crop_schedule: str = _field(
        "",
        "Crop sizes with the share of the steps from which they hold, such as 160@0,256@.5,320@.8, the last of them "
        "--crop-size. Default: --crop-size in all steps.",
    )
    scale_range: tuple[float, float] = _field((0.5, 2.0), "Range of the random scale.", "--scale-range", "--scale")
    rotate: float = _field(0.0, "Largest angle of the random rotation, in degrees.")
    cat_max_ratio: float = _field(1.0, "Largest share of one class in a crop, tried up to ten times; 1: no limit.")
    hflip: float = _field(0.5, "Probability of a horizontal flip.")
    color_jitter: float = _field(0.3, "Strength of the random change of brightness, contrast and saturation.")
    opt: str = _field(
        "momentum", "Name of an optimizer of timm: momentum (plain SGD), sgd (with Nesterov momentum), adamw, ..."
    )
    lr: float = _field(0.01, "Learning rate of the backbone at the first step.")
    head_lr_mult: float = _field(10.0, "Multiplier of the learning rate of new layers (classifier, gates).")
    momentum: float = _field(0.9, "Momentum of the optimizer.")
    weight_decay: float = _field(1e-4, "Weight decay; biases and norms have none.")
    sched: str = _field(
        "poly",
        "Schedule: poly, lr (1 - step / steps)^power; cosine, lr (1 + cos(pi step / steps)) / 2; wsd, constant, then "
        "linear to 0 over the last --decay-share; step, a tenth from each of --decay-steps on.",
    )
    power: float = _field(0.9, "Exponent of the poly schedule.")
    decay_share: float = _field(0.2, "Share of the steps over which the wsd schedule falls.")
    decay_steps: str = _field("", "Steps at which the step schedule falls, separated by commas, such as 60000,80000.")
    warmup: int = _field(
        0, "Number of steps over which the learning rate rises linearly.", "--warmup-steps", "--warmup"
    )
    linear_probe_steps: int = _field(
        0,
        "Number of first steps that train new layers only, at their full learning rate, with the backbone and its "
        "batch norm frozen; warmup and schedule start after them.",
    )
    clip_grad: float = _field(5.0, "Largest norm of the gradient.")
    loss: str = _field("cross_entropy", "Loss: cross_entropy, ohem, focal, dice, lovasz, or several joined by +.")
    late_loss: str = _field("", "Loss, as --loss, that replaces it from --late-loss-start on. Default: none.")
    late_loss_start: float = _field(2 / 3, "Share of the steps after which --late-loss is the loss.")
    iteration_loss_weight: float = _field(
        0.0, "Weight of the loss on each pass before the last one, of unrolled networks."
    )
    aux_loss_weight: float = _field(0.4, "Weight of the loss on auxiliary heads, of networks that have some.")
    seg_loss_weight: float = _field(1.0, "Weight of the loss on the labels, beside those on depth.")
    depth_loss_weight: float = _field(
        0.0, "Weight of the squared error of the log-depth, of networks that predict depth."
    )
    scale_loss_weight: float = _field(
        0.0, "Weight of the cross-entropy of the depth's scale, of networks that predict depth."
    )
    trainable_prefix: str = _field(
        "", "Train only parameters whose names start with this, such as head.pooling.gate. Default: all."
    )
    class_weights: str = _field("sqrt", "Class weights by frequency: none, inverse, sqrt or median.")
    mean: tuple[float, ...] | None = _field(
        None, "Mean of the pixels in [0, 1]. Default: the one that the weights expect."
    )
    std: tuple[float, ...] | None = _field(
        None, "Standard deviation of the pixels in [0, 1]. Default: the one that the weights expect."
    )
    amp_dtype: str = _field(
        "bf16", "Mixed precision: bf16 (none on a CPU without it), fp16 or none.", "--amp-dtype", "--amp"
    )
    sync_bn: bool = _field(False, "Synchronize batch norm over all processes.")
    grad_checkpointing: bool = _field(False, "Recompute activations in the backward pass: less memory, more time.")
    torchcompile: bool = _field(False, "Compile network and loss.")
    ema_decay: float = _field(
        0.0,
        "Decay of an average of the weights, which is evaluated and saved in their place; 0: no average.",
        "--ema-decay",
        "--model-ema-decay",
    )
    eval_interval: int = _field(
        500,
        "Number of steps between evaluations, each of which saves.",
        "--eval-interval",
        "--val-interval",
        "--eval-every",
    )
    checkpoint_interval: int = _field(
        0,
        "Number of steps between saves; 0: save only at evaluations.",
        "--checkpoint-interval",
        "--recovery-interval",
    )
    log_interval: int = _field(50, "Number of steps between lines of the log.")
    seed: int = _field(0, "Seed of weights, order and augmentation.")
    deterministic: bool = _field(False, "Refuse operations whose results vary from run to run.")

    def __post_init__(self) -> None:
        self._check_types()
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name, choices in (("sched", ("poly", "cosine", "wsd", "step")), ("amp_dtype", ("none", "bf16", "fp16"))):
            check_choice(name, getattr(self, name), choices)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (low <= value <= high and value < math.inf):
                limits = f"{low} or more" if high == math.inf else f"in {low} .. {high}"
                raise ValueError(f"{name} must be a finite number, {limits}; got {value}")
        for name in ("clip_grad", "decay_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        low, high = self.scale_range
        if not 0 < low <= high < math.inf:
            raise ValueError(f"scale_range must be two finite numbers above 0, the smaller first; got {low} {high}")
        if not (self.seg_loss_weight or self.depth_loss_weight or self.scale_loss_weight):
            raise ValueError(
                "a training must have a loss; seg_loss_weight, depth_loss_weight and scale_loss_weight are all 0: "
                "raise one of them"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1); got {self.ema_decay}")
        if self.linear_probe_steps >= self.steps:
            raise ValueError(
                f"linear_probe_steps must be less than steps, {self.steps}; got {self.linear_probe_steps}: "
                "pass trainable_prefix='head' to train new layers only"
            )
        if self.linear_probe_steps and self.trainable_prefix.startswith("backbone"):
            raise ValueError(
                f"trainable_prefix must include new layers if linear_probe_steps is set; got {self.trainable_prefix!r}"
            )
        self.crop_sizes()
        milestones = self.milestones()
        if self.sched == "step" and not milestones:
            raise ValueError("decay_steps must be given for sched='step'; got none: pass such as 60000,80000")

    def _check_types(self) -> None:
        """Raise ValueError for a value of another type than its field."""
        kinds = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number"), str: (str, "a text")}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind, what = kinds.get(type(field.default), (object, ""))
            if not isinstance(value, kind):
                raise ValueError(f"{field.name} must be {what}; got {value!r}")
        check_keyword("scale_range", self.scale_range, "tuple[float, float]")
        for name in ("mean", "std"):
            check_keyword(name, getattr(self, name), "tuple[float, ...] | None")
        if self.mean and not 0 <= min(self.mean) <= max(self.mean) <= 1:
            raise ValueError(f"mean must be numbers in 0 .. 1; got {' '.join(map(str, self.mean))}")
        if self.std and min(self.std) <= 0:
            raise ValueError(f"std must be numbers above 0; got {' '.join(map(str, self.std))}")

    def crop_sizes(self) -> list[tuple[int, int]]:
        """Return the crop sizes in order, each with the step from which it holds.

        Raises:
            ValueError: a malformed ``crop_schedule``.
        """
        if not self.crop_schedule:
            return [(0, self.crop_size)]
        try:
            sizes, shares = zip(*(part.split("@") for part in self.crop_schedule.split(",")), strict=True)
            sizes, shares = tuple(map(int, sizes)), (*map(float, shares), 1.0)
            if shares[0] != 0 or min(sizes) < 1 or not all(a < b for a, b in itertools.pairwise(shares)):
                raise ValueError
        except ValueError:
            raise ValueError(
                "crop_schedule must be SIZE@SHARE, ... with shares that rise from 0 to less than 1; "
                f"got {self.crop_schedule!r}: pass such as 160@0,256@.5,320@.8"
            ) from None
        if sizes[-1] != self.crop_size:
            raise ValueError(
                f"crop_size must be the last size of crop_schedule, {sizes[-1]}; got {self.crop_size}: "
                f"pass crop_size={sizes[-1]}"
            )
        return [(round(share * self.steps), size) for share, size in zip(shares, sizes)]

    def milestones(self) -> list[int]:
        """Return ``decay_steps`` as numbers.

        Raises:
            ValueError: malformed, or not in ascending order.
        """
        try:
            steps = [int(step) for step in self.decay_steps.split(",")] if self.decay_steps else []
            if steps != sorted(set(steps)) or min(steps, default=1) < 1:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"decay_steps must be rising numbers of steps, separated by commas; got {self.decay_steps!r}: "
                "pass such as 60000,80000"
            ) from None
        return steps

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain data, such as JSON.

        Raises:
            ValueError: a field that does not exist, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"a recipe must be a dict of its fields; got {values!r}")
        check_fields("a recipe", values, (field.name for field in dataclasses.fields(cls)))
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)
