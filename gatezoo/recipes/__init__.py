"""Training recipes, and the experiments of the papers' tables (one ``*.yaml`` for each table)."""

from .experiments import Experiment, Stage, experiments, find_experiment
from .recipe import Recipe

__all__ = [
    "Experiment",
    "Recipe",
    "Stage",
    "experiments",
    "find_experiment",
]
