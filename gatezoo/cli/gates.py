"""``gatezoo gates``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    Checkpoint,
    DepthMap,
    Device,
    FigureFile,
    ImageMax,
    Iterations,
    NameOrFile,
    check_figure_file,
)


def gates(
    name: NameOrFile,
    image: Annotated[Path, typer.Argument(help="Image file.")],
    out: FigureFile,
    ablate: Annotated[
        str | None, typer.Option(help="Close this gate, such as G2, and mark the pixels that change.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Index PNG of the image: mark which pixels get worse and which better instead.")
    ] = None,
    iterations: Iterations = None,
    depth_map: DepthMap = None,
    image_max: ImageMax = None,
    device: Device = "auto",
    checkpoint: Checkpoint = None,
) -> None:
    """Draw an image, its predicted classes and each gate, and the effect of closing one of the gates."""
    from ..factory import load_model
    from ..inference.gate_maps import compute_gate_maps
    from ..inference.semantic_files import label_maps, read_depth_map
    from ..segmenters.base import SemanticSegmenter
    from ..utils.devices import log_device, resolve_device
    from ..utils.files import atomic_write, ensure_dir
    from ..utils.images import check_image_max
    from ..visualization.gates import gates_figure, prediction_changes

    check_figure_file(out, [image, labels, depth_map, checkpoint])
    check_image_max(image_max)
    if labels and not ablate:
        raise ValueError("--labels shows how a closed gate changes the errors; no gate is closed: pass --ablate G1")
    run_on = resolve_device(device)
    model = load_model(name, checkpoint)
    if not isinstance(model, SemanticSegmenter):
        raise ValueError(
            f"gates can only be drawn for semantic segmentation; this model's task is {model.task!r}, and it has no "
            "gates: choose another with 'gatezoo list --task semantic'"
        )
    log_device(run_on)
    true_classes = label_maps(model, [image], labels) if labels else None
    depth = read_depth_map(model, image, depth_map)
    maps = compute_gate_maps(model, image, ablate, iterations, run_on, depth, image_max)
    changes = {}
    if maps.ablated_classes is not None:
        label_map, ignore_index = (
            (true_classes.labels(0).numpy(), true_classes.ignore_index) if true_classes else (None, 255)
        )
        changes = prediction_changes(maps.classes, maps.ablated_classes, label_map, ignore_index)
    figure = gates_figure(maps.image, maps.classes, maps.gates, model.class_names, model.palette, maps.ablated, changes)
    ensure_dir(out.parent)
    atomic_write(out, figure.save)
    for gate, values in maps.gates.items():
        print(f"{gate}: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}")
    for effect, mask in changes.items():
        print(f"{maps.ablated} = 0: {effect} {mask.mean():.2%} of the pixels")
    print(out)
