"""``gatezoo list`` and ``gatezoo info``."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="A model, NAME or NAME.TAG; 'gatezoo list' shows them.")]


def list_(
    filter: Annotated[list[str] | None, typer.Argument(help="Wildcards, such as '*dignet*'.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Only models with weights, one line a tag.")] = False,
    module: Annotated[str, typer.Option(help="Only models of this file in gatezoo.models.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Wildcards of what to leave out.")] = None,
    task: Annotated[str, typer.Option(help="Only networks of classes ('semantic') or of objects ('instance').")] = "",
):
    """List models."""
    from ..registry import list_models

    for name in list_models(filter or "", module, pretrained, exclude or "", task=task):
        print(name)


def info(name: Name):
    """What is known of a model: parameters, keywords, weights."""
    from ..model_info import describe

    for key, value in describe(name).items():
        print(f"{key:18} {value}")
