"""Weights that an experiment starts from."""

from __future__ import annotations

from ..registry import get_model_spec
from .experiments import INITIAL_WEIGHTS, Experiment


def check_initial_weights(
    experiment: Experiment, pretrained: bool, pretrained_backbone: str | None, has_checkpoint: bool
) -> None:
    """Check that a training gets the weights that its experiment starts from.

    Args:
        experiment: that is trained.
        pretrained: whether it starts from the model's published weights.
        pretrained_backbone: "timm", or a file of weights of the backbone.
        has_checkpoint: whether it starts from the tensors of a checkpoint.

    Raises:
        ValueError: it does not; the message says where the weights come from.
    """
    kind, name = experiment.initial_weights, experiment.name
    given = [
        option
        for option, value in (
            ("--pretrained", pretrained),
            ("--pretrained-backbone", pretrained_backbone),
            ("--initial-checkpoint", has_checkpoint),
        )
        if value
    ]
    got = " and ".join(given) or "none"
    if kind == "random" and given:
        raise ValueError(f"initial weights of {name} must be random ones; got {got}: leave it out")
    if kind == "imagenet" and not pretrained_backbone:
        backbone = get_model_spec(experiment.model).merge(experiment.model_kwargs).get("backbone")
        source = f"timm, which downloads timm's of {backbone}, or a file of them"
        if backbone == "wider_resnet38":  # not one of timm's
            source = f"FILE with weights of {backbone}, of which none are published"
        raise ValueError(
            f"initial weights of {name} must be those of its backbone on ImageNet; got {got}: "
            f"pass --pretrained-backbone {source}"
        )
    if kind == "coco" and not (has_checkpoint or pretrained):
        raise ValueError(
            f"initial weights of {name} must be those of a training on COCO's classes; got {got}: train "
            f"{experiment.model} on --dataset coco_semantic and pass its last.safetensors as --initial-checkpoint"
        )
    if kind and kind not in INITIAL_WEIGHTS and not has_checkpoint:
        raise ValueError(
            f"initial weights of {name} must be the last ones of {kind}, of the same seed; got {got}: "
            f"train --recipe {kind} first and pass its last.safetensors as --initial-checkpoint"
        )
