"""The command that shows gates: ``gatezoo gates``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Device, Iterations, NameOrFile


def gates(
    name: NameOrFile,
    image: Annotated[Path, typer.Argument(help="A image.")],
    out: Annotated[Path, typer.Option(help="File of the figure, such as gates.png; its folder is made if need be.")],
    ablate: Annotated[str | None, typer.Option(help="Close a gate, such as G2, and mark what that changes.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Index PNG of the image: mark what breaks and what mends instead.")
    ] = None,
    iterations: Iterations = None,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
):
    """Draw the gates of a network on a image: image, classes, each gate, and what becomes of it without one."""
    from ..data.files.labels import index_png
    from ..factory import load_model
    from ..inference.gate_maps import compute_gate_maps
    from ..utils.files import atomic_write, ensure_dir
    from ..visualization.gates import gates_figure, prediction_changes

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"the figure must be a .png or .jpg; got {out}")
    if labels and not ablate:
        raise ValueError("labels tell what a closed gate breaks and mends: add --ablate G1, say")
    truth = index_png(labels) if labels else None
    model = load_model(name, checkpoint)
    ignored = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
    maps = compute_gate_maps(model, image, ablate, iterations, device)
    changes = prediction_changes(maps.classes, maps.closed_classes, truth, ignored) if maps.closed else {}
    figure = gates_figure(maps.image, maps.classes, maps.gates, model.class_names, model.palette, maps.closed, changes)
    ensure_dir(out.parent)
    atomic_write(out, figure.save)
    for gate, values in maps.gates.items():
        print(f"{gate}: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}")
    for effect, mask in changes.items():
        print(f"{maps.closed} = 0: {effect} {mask.mean():.2%} of the pixels")
    print(out)
