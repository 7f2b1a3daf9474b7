"""``gatezoo list`` and ``gatezoo info``."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="Model, as NAME or NAME.TAG; 'gatezoo list' lists them.")]


def list_(
    filter: Annotated[list[str] | None, typer.Argument(help="Wildcards, such as '*dignet*'.")] = None,
    pretrained: Annotated[bool, typer.Option(help="List only models with weights, one line for each tag.")] = False,
    module: Annotated[str, typer.Option(help="List only models of this file in gatezoo.models.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out models that match this wildcard.")] = None,
    task: Annotated[str, typer.Option(help="List only models of this task: semantic or instance.")] = "",
) -> None:
    """List models."""
    from ..registry import list_models

    for name in list_models(filter or "", module, pretrained, exclude or "", task=task):
        print(name)


def info(name: Name) -> None:
    """Print a model's number of parameters, keywords and weights."""
    from ..model_info import describe

    for key, value in describe(name).items():
        print(f"{key:18} {value}")
