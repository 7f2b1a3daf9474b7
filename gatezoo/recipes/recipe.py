"""Hyperparameters of a training, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.choices import check_choice, check_fields

_AT_LEAST_ONE = ("steps", "batch_size", "grad_accum_steps", "crop_size", "eval_interval", "log_interval")
_LOSS_WEIGHTS = (
    "seg_loss_weight",
    "depth_loss_weight",
    "scale_loss_weight",
    "iteration_loss_weight",
    "aux_loss_weight",
)


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
        "poly", "Schedule: poly, lr (1 - step / steps)^power, or cosine, lr (1 + cos(pi step / steps)) / 2."
    )
    power: float = _field(0.9, "Exponent of the poly schedule.")
    warmup: int = _field(
        0, "Number of steps over which the learning rate rises linearly.", "--warmup-steps", "--warmup"
    )
    clip_grad: float = _field(5.0, "Largest norm of the gradient.")
    loss: str = _field("cross_entropy", "Loss: cross_entropy, ohem, focal, dice, lovasz, or several joined by +.")
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
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name, choices in (("sched", ("poly", "cosine")), ("amp_dtype", ("none", "bf16", "fp16"))):
            check_choice(name, getattr(self, name), choices)
        for name in _LOSS_WEIGHTS:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number, 0 or more; got {getattr(self, name)}")
        if not (self.seg_loss_weight or self.depth_loss_weight or self.scale_loss_weight):
            raise ValueError(
                "a training must have a loss; seg_loss_weight, depth_loss_weight and scale_loss_weight are all 0: "
                "raise one of them"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1); got {self.ema_decay}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain data, such as JSON.

        Raises:
            ValueError: a field that does not exist, or a value out of range.
        """
        check_fields("a recipe", values, (field.name for field in dataclasses.fields(cls)))
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)
