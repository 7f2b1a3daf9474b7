"""``gatezoo gates``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Device, Iterations, NameOrFile


def gates(
    name: NameOrFile,
    image: Annotated[Path, typer.Argument(help="Image file.")],
    out: Annotated[
        Path,
        typer.Option("--out", "--output", help="File to write, such as gates.png; its folder is created if missing."),
    ],
    ablate: Annotated[
        str | None, typer.Option(help="Close this gate, such as G2, and mark the pixels that change.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Index PNG of the image: mark which pixels get worse and which better instead.")
    ] = None,
    iterations: Iterations = None,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
) -> None:
    """Draw an image, its predicted classes and each gate, and the effect of closing one of the gates."""
    from ..data.files.labels import index_png
    from ..factory import load_model
    from ..inference.gate_maps import compute_gate_maps
    from ..segmenters.base import SemanticSegmenter
    from ..utils.files import atomic_write, ensure_dir
    from ..visualization.gates import gates_figure, prediction_changes

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"the figure must be a .png or .jpg; got {out}")
    if labels and not ablate:
        raise ValueError("--labels shows how a closed gate changes the errors; no gate is closed: pass --ablate G1")
    label_map = index_png(labels) if labels else None
    model = load_model(name, checkpoint)
    if not isinstance(model, SemanticSegmenter):
        raise ValueError(f"gates can only be drawn for semantic segmentation; this model's task is {model.task!r}")
    ignore_index = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
    maps = compute_gate_maps(model, image, ablate, iterations, device)
    changes = {}
    if maps.ablated_classes is not None:
        changes = prediction_changes(maps.classes, maps.ablated_classes, label_map, ignore_index)
    figure = gates_figure(maps.image, maps.classes, maps.gates, model.class_names, model.palette, maps.ablated, changes)
    ensure_dir(out.parent)
    atomic_write(out, figure.save)
    for gate, values in maps.gates.items():
        print(f"{gate}: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}")
    for effect, mask in changes.items():
        print(f"{maps.ablated} = 0: {effect} {mask.mean():.2%} of the pixels")
    print(out)
