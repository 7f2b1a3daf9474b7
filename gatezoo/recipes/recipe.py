"""How a network is trained, as data."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.choices import check_choice


def _field(default: Any, about: str, *flags: str) -> Any:
    """A field with its line of help, and its spellings on the command line where they are not its own name."""
    return dataclasses.field(default=default, metadata={"help": about, "flags": flags})


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: saved with every checkpoint, and the options of ``gatezoo train``.

    ``Recipe.help()`` tells the fields, their defaults and meaning.
    """

    steps: int = _field(1000, "Steps of the optimizer.")
    batch_size: int = _field(8, "Crops a micro-batch, over all processes together.", "--batch-size", "-b")
    grad_accum_steps: int = _field(1, "Micro-batches a step.")
    crop_size: int = _field(320, "Side of a crop in pixels.", "--img-size", "--crop")
    scale_range: tuple[float, float] = _field((0.5, 2.0), "Range of the random scale.")
    rotate: float = _field(0.0, "Largest rotation in degrees, either way.")
    cat_max_ratio: float = _field(1.0, "Largest share of one class in a crop, tried for ten times; 1: any.")
    hflip: float = _field(0.5, "Probability of a flip from left to right.")
    color_jitter: float = _field(0.3, "Strength of the jitter of brightness, contrast and saturation.")
    opt: str = _field("momentum", "An optimizer of timm's: momentum (plain SGD), sgd (with Nesterov's), adamw, ...")
    lr: float = _field(0.01, "Rate of the backbone at the first step.")
    head_lr_mult: float = _field(10.0, "How much faster what is new (classifier, gates) learns.")
    momentum: float = _field(0.9, "Momentum of the optimizer.")
    weight_decay: float = _field(1e-4, "Weight decay; none for biases and norms.")
    sched: str = _field("poly", "poly, lr (1 - step / steps)^power, or cosine, lr (1 + cos(pi step / steps)) / 2.")
    power: float = _field(0.9, "Exponent of the poly schedule.")
    warmup: int = _field(0, "Steps of linear rise of the rate.", "--warmup-steps", "--warmup")
    clip_grad: float = _field(5.0, "Largest norm of the gradient.")
    loss: str = _field("cross_entropy", "cross_entropy, ohem, focal, dice, lovasz, or some joined by +.")
    iteration_loss_weight: float = _field(
        0.0, "Weight of the loss on each pass before the last of an unrolled network."
    )
    aux_loss_weight: float = _field(0.4, "Weight of the loss on auxiliary heads, of networks that have some.")
    seg_loss_weight: float = _field(1.0, "Weight of the loss on the labels, beside those of depth.")
    depth_loss_weight: float = _field(
        0.0, "Weight of the squared error of the log-depth, of networks that predict depth."
    )
    scale_loss_weight: float = _field(0.0, "Weight of the cross-entropy of the depth's scale, of the same networks.")
    trainable_prefix: str = _field("", "Train only parameters whose names begin so: 'head.pooling.gate'; default: all.")
    class_weights: str = _field("sqrt", "none, inverse, sqrt or median of the class frequencies.")
    mean: tuple[float, ...] | None = _field(None, "Of the pixels in [0, 1]; default: what the weights expect.")
    std: tuple[float, ...] | None = _field(None, "As --mean.")
    amp_dtype: str = _field("bf16", "bf16 (where the CPU cannot: none), fp16 or none.", "--amp-dtype", "--amp")
    sync_bn: bool = _field(False, "Batch norm over all processes.")
    grad_checkpointing: bool = _field(False, "Recompute activations in the backward pass: less memory, more time.")
    torchcompile: bool = _field(False, "Compile network and loss.")
    ema_decay: float = _field(
        0.0, "Keep an average of the weights, evaluated and saved in their place; 0: none.", "--model-ema-decay"
    )
    eval_interval: int = _field(
        500, "Steps between evaluations, each of which saves.", "--val-interval", "--eval-every"
    )
    checkpoint_interval: int = _field(0, "Steps between saves; 0: at evaluations alone.")
    log_interval: int = _field(50, "Steps between lines of the log.")
    seed: int = _field(0, "Of weights, order and augmentation.")
    deterministic: bool = _field(False, "Refuse operations whose results vary from run to run.")

    @classmethod
    def help(cls) -> str:
        """A line for each field."""
        return "\n".join(f"{f.name} = {f.default!r}: {f.metadata['help']}" for f in dataclasses.fields(cls))

    def __post_init__(self):
        for name in ("steps", "batch_size", "grad_accum_steps", "crop_size", "eval_interval", "log_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name, known in (("sched", ("poly", "cosine")), ("amp_dtype", ("none", "bf16", "fp16"))):
            check_choice(name, getattr(self, name), known)
        for name in (
            "seg_loss_weight",
            "depth_loss_weight",
            "scale_loss_weight",
            "iteration_loss_weight",
            "aux_loss_weight",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a weight, 0 or more; got {getattr(self, name)}")
        if not (self.seg_loss_weight or self.depth_loss or self.scale_loss):
            raise ValueError("a training must have a loss; seg_loss_weight, depth_loss and scale_loss are all 0")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1); got {self.ema_decay}")

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Recipe:
        """A recipe from plain data. Raises ValueError for a field that does not exist."""
        fields = [field.name for field in dataclasses.fields(cls)]
        for key in told:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ValueError(f"a recipe's fields are {', '.join(fields)}; got {key!r}.{hint}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in told.items()})
