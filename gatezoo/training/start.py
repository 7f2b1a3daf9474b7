"""Check a checkpoint that a training starts from."""

from __future__ import annotations

import os

from ..recipes.experiments import Experiment
from ..weights.checkpoint_files import checkpoint_metadata


def check_start(path: str | os.PathLike, start: Experiment, seed: int) -> None:
    """Check that a checkpoint has the last weights of an experiment, of a seed.

    Args:
        path: the checkpoint.
        start: the experiment.
        seed: of the training that starts from it.

    Raises:
        ValueError: another network, a training that is not at its end, or another seed.
    """
    metadata = checkpoint_metadata(path)
    recipe = metadata.get("recipe") or {}
    facts = {"model": (start.model, metadata.get("architecture")), "seed": (seed, recipe.get("seed"))}
    facts["step"] = (recipe.get("steps"), metadata.get("step"))
    for name, (wanted, got) in facts.items():
        if wanted != got:
            raise ValueError(
                f"the initial checkpoint must be the last one of {start.name}, its {name} {wanted}; got {got}: "
                f"pass last.safetensors of its training with --seed {seed}"
            )
