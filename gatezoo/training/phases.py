"""What changes in the course of a training, by the number of the step: frozen backbone, crop size."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from ..data.create import AnyDataset
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from .tasks import TrainingTask


class LinearProbe:
    """Freezing of the backbone and its batch norm in the first steps, so that only new layers are trained.

    New layers that start at random would spoil the backbone's features before they can use them (Kumar et al., 2022).

    Args:
        model: the network, after its trained parameters were chosen.
        steps: number of these steps.
    """

    def __init__(self, model: BaseSegmenter, steps: int):
        self.model, self.steps, self.frozen = model, steps, False
        self.parameters = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]

    def begin_step(self, step: int) -> None:
        """Freeze or release the backbone, if that changes with this step."""
        if self.frozen == (step < self.steps):
            return
        self.frozen = not self.frozen
        for parameter in self.parameters:
            parameter.requires_grad_(not self.frozen)
        self.model.train()  # a norm whose scale is not trained keeps its statistics


def augmented_copies(
    data: AnyDataset, task: TrainingTask, recipe: Recipe, mean: Sequence[float]
) -> list[tuple[int, AnyDataset]]:
    """Return copies of a data set with the recipe's random transform, one for each crop size, with its first step."""
    copies = []
    for first, size in recipe.crop_sizes():
        part = copy.copy(data)
        part.transform = task.train_transform(data, recipe, mean, size)
        copies.append((first, part))
    return copies
