"""The command that shows gates: ``gatezoo gates``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Device, Iterations, NameOrFile


def gates(
    name: NameOrFile,
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    out: Annotated[Path, typer.Option(help="File of the figure, such as gates.png; its folder is made if need be.")],
    ablate: Annotated[str | None, typer.Option(help="Close a gate, such as G2, and mark what that changes.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Index PNG of the picture: mark what breaks and what mends instead.")
    ] = None,
    iterations: Iterations = None,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
):
    """Draw the gates of a network on a picture: picture, classes, each gate, and what becomes of it without one."""
    from ..data.files.labels import index_png
    from ..factory import open_model
    from ..inference.gate_maps import gate_maps
    from ..utils.files import make_folder, write_whole
    from ..visualization.gates import effects, gates_figure

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"the figure must be a .png or .jpg; got {out}")
    if labels and not ablate:
        raise ValueError("labels tell what a closed gate breaks and mends: add --ablate G1, say")
    truth = index_png(labels) if labels else None
    model = open_model(name, checkpoint)
    ignored = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
    maps = gate_maps(model, picture, ablate, iterations, device)
    changes = effects(maps.classes, maps.closed_classes, truth, ignored) if maps.closed else {}
    figure = gates_figure(
        maps.picture, maps.classes, maps.gates, model.class_names, model.palette, maps.closed, changes
    )
    make_folder(out.parent)
    write_whole(out, figure.save)
    for gate, values in maps.gates.items():
        print(f"{gate}: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}")
    for effect, mask in changes.items():
        print(f"{maps.closed} = 0: {effect} {mask.mean():.2%} of the pixels")
    print(out)
