"""``gatezoo predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Device, Flip, NameOrFile, Overlap, Scales, Window, parse_scales, refuse_of_other_task


def predict(
    name: NameOrFile,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if need be.")],
    iterations: Annotated[str | None, typer.Option(help="Passes of an unrolled network, or 'auto'.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="With 'auto': passes end when one changes at most this share of the pixels.")
    ] = 0.005,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    show_iterations: Annotated[bool, typer.Option(help="Also draw every pass and what it changed.")] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="Also write the depth, and every loop's depth and scale.")
    ] = False,
    blur: Annotated[float, typer.Option(help="Smooth the depth by a Gaussian of this many pixels.")] = 0.0,
    scales: Scales = "",
    flip: Flip = False,
    window: Window = None,
    overlap: Overlap = None,
    score_threshold: Annotated[float | None, typer.Option(help="Of objects: least score. Default: .5.")] = None,
    max_detections: Annotated[int | None, typer.Option(help="Of objects: most in a image. Default: 100.")] = None,
):
    """Segment images: an index PNG, an overlay and the share of each class for every one.

    Of a network of objects: masks, boxes, names and scores drawn over each, and objects.json with all in COCO's format.
    """
    from rich.console import Console
    from rich.progress import track

    from ..factory import load_model
    from ..inference.inputs import list_images
    from ..inference.modes import make_inference_mode
    from ..inference.writers import predict_files, predict_instance_files

    mode = make_inference_mode(parse_scales(scales), flip, window, overlap)
    paths = [path for item in images for path in (list_images(item) if item.is_dir() else [item])]
    model = load_model(name, checkpoint)
    console = Console(stderr=True)
    if iterations is not None and iterations != "auto" and not iterations.isdecimal():
        raise ValueError(f"iterations must be a number of passes or 'auto'; got {iterations!r}")
    count = int(iterations) if iterations and iterations.isdecimal() else iterations
    of_classes = {"iterations": iterations, "show-iterations": show_iterations, "scales": scales, "flip": flip}
    of_classes |= {"window": window}
    of_objects = {"score-threshold": score_threshold, "max-detections": max_detections}
    refuse_of_other_task(model.task, {"semantic": of_classes, "instance": of_objects})
    writers = {
        "semantic": lambda: predict_files(
            model, paths, out, count, device, show_iterations, mode, tolerance, depth, blur
        ),
        "instance": lambda: predict_instance_files(model, paths, out, device, score_threshold, max_detections),
    }
    written = writers[model.task]()
    if len(paths) > 1:
        written = track(written, "segmenting", total=len(paths), console=console, transient=True)
    for item in written:
        print(f"{item.image.name}: {item.summary} -> {item.files[0]}")
