"""Choose the best evaluation of a training, and end the training when none gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.names import metric_info
from ..recipes.recipe import Recipe
from ..utils.choices import check_choice


def flat_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores by name, those of nested results, such as depth, among them unless the name is taken."""
    nested = {name: value for part in scores.values() if isinstance(part, Mapping) for name, value in part.items()}
    return {**nested, **{name: value for name, value in scores.items() if not isinstance(value, Mapping)}}


class Selection:
    """Choice of the best of a training's evaluations, by one score; what is known depends on the evaluations alone.

    Args:
        recipe: with ``best_metric`` and ``patience``.
        shown: scores that the log shows; the first is the default.
        possible: all scores that an evaluation has.

    Attributes:
        metric: the score, by its name in the evaluations.
        shown: scores that the log shows, with ``metric`` among them.

    Raises:
        ValueError: ``best_metric`` is none of the possible scores.
    """

    def __init__(self, recipe: Recipe, shown: Sequence[str], possible: Sequence[str]):
        names = ["loss" if name == "val_loss" else name for name in possible]
        check_choice("best_metric", recipe.best_metric or names[0], names)
        self.metric = {"": shown[0], "loss": "val_loss"}.get(recipe.best_metric, recipe.best_metric)
        self.shown = tuple(dict.fromkeys((*shown, self.metric)))
        self.patience = recipe.patience

    @property
    def by_rank(self) -> tuple[str, ...]:
        """Scores that the log shows, the one that selects first."""
        return tuple(dict.fromkeys((self.metric, *self.shown)))

    def describe(self, scores: Mapping[str, Any]) -> str:
        """Return title and value of the score, such as "val mIoU 0.6301"."""
        title, value = metric_info(self.metric).title, flat_scores(scores)[self.metric]
        return f"{title if self.metric == 'val_loss' else 'val ' + title} {math.nan if value is None else value:.4f}"

    def is_best(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether no evaluation is better than the last one."""
        ranks = self._ranks(history)
        return bool(ranks) and ranks[-1] == max(ranks)

    def is_over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the last ``patience`` evaluations were no better than the best one before them."""
        ranks = self._ranks(history)
        return bool(self.patience and ranks) and len(ranks) - 1 - ranks.index(max(ranks)) >= self.patience

    def _ranks(self, history: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return a number of each evaluation that rises with its quality; a score that is missing is the worst."""
        values = [flat_scores(row).get(self.metric) for row in history]
        sign = -1 if metric_info(self.metric).lower_is_better else 1
        return [-math.inf if value is None or math.isnan(value) else sign * value for value in values]
