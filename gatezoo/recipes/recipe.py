"""Hyperparameters of a training, as data."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..utils.choices import check_fields
from .checks import check_recipe


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
    short_side: int = _field(
        0,
        "Train an instance segmentation network on whole images, resized as in evaluation until the shorter side has "
        "this many pixels, its min_size; --crop-size and --scale-range are then not used. 0: crops.",
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
    layer_decay: float = _field(
        1.0, "Factor by which the learning rate falls from each layer of the backbone to the one before; 1: none."
    )
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
    init: str = _field(
        "",
        "linear-probe: begin as --linear-probe-steps does, by default for a tenth of the steps. Default: train all "
        "layers from the first step on.",
    )
    freeze_backbone: bool = _field(False, "Train new layers only: the backbone keeps its weights and statistics.")
    frozen_layers: tuple[str, ...] = _field(
        (),
        "Part that is frozen in all steps, may be repeated: norm_statistics or norm_affine of the backbone's norms (of "
        "all of a recurrent network), the backbone's stem, or its stage1. Default: none.",
    )
    clip_grad: float = _field(5.0, "Largest norm of the gradient; 0: no limit.")
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
    keep_every: int = _field(1, "Train on every n-th image alone, as if fewer had labels; 1: all.")
    repeat_thresh: float = _field(
        0.0,
        "Repeat images of rare classes, sqrt(this / share of the images that hold the class) times on average where "
        "that is above 1; 0: all images equally often.",
    )
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
    best_metric: str = _field(
        "",
        "Score that chooses the best checkpoint: miou, rmse, mask_ap50, ..., or loss, that on the validation set. "
        "Default: the first of the task, mIoU or mask AP.",
    )
    patience: int = _field(0, "Number of evaluations without a better score after which training ends; 0: no limit.")
    checkpoint_interval: int = _field(
        0,
        "Number of steps between saves; 0: save only at evaluations.",
        "--checkpoint-interval",
        "--recovery-interval",
    )
    log_interval: int = _field(50, "Number of steps between rows of summary.csv and of the tracker.")
    seed: int = _field(0, "Seed of weights, order and augmentation.")
    deterministic: bool = _field(False, "Refuse operations whose results vary from run to run.")

    def __post_init__(self) -> None:
        check_recipe(self)

    @property
    def probe_steps(self) -> int:
        """Number of first steps that train new layers only."""
        if self.linear_probe_steps or not self.init:
            return self.linear_probe_steps
        return max(1, self.steps // 10)

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
