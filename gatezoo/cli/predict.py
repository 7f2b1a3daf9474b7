"""``gatezoo predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import (
    Checkpoint,
    DepthBlur,
    Device,
    Flip,
    NameOrFile,
    Scales,
    WindowOverlap,
    WindowSize,
    check_task_options,
    parse_scales,
)


def predict(
    name: NameOrFile,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder for the results; it is created if missing.")],
    iterations: Annotated[str | None, typer.Option(help="Number of passes of a recurrent network, or 'auto'.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="With --iterations auto: stop when a pass changes at most this share of the pixels.")
    ] = 0.005,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    show_iterations: Annotated[bool, typer.Option(help="Also draw every pass and the pixels it changed.")] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="Also write the predicted depth, and depth and scale of every loop.")
    ] = False,
    depth_blur: DepthBlur = 0.0,
    scales: Scales = "",
    flip: Flip = False,
    window_size: WindowSize = None,
    window_overlap: WindowOverlap = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="Instance segmentation: keep instances with at least this score. Default: .5.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Instance segmentation: keep at most so many instances an image. Default: 100.")
    ] = None,
) -> None:
    """Segment images: write an index PNG, an overlay and the share of each class for every image.

    Instance segmentation draws masks, boxes, class names and scores over each image, and writes all instances to
    instances.json in COCO's format.
    """
    from ..factory import load_model
    from ..inference.inputs import list_images
    from ..inference.modes import make_inference_mode
    from ..inference.writers import predict_files, predict_instance_files
    from ..segmenters.base import SemanticSegmenter
    from ..segmenters.instance import InstanceSegmenter
    from ..utils.progress import track

    mode = make_inference_mode(parse_scales(scales), flip, window_size, window_overlap)
    paths = [path for item in images for path in (list_images(item) if item.is_dir() else [item])]
    model = load_model(name, checkpoint)
    count: int | Literal["auto"] | None = None
    if iterations == "auto":
        count = "auto"
    elif iterations is not None:
        if not iterations.isdecimal():
            raise ValueError(f"iterations must be a number of passes or 'auto'; got {iterations!r}")
        count = int(iterations)
    semantic: dict[str, object] = {
        "iterations": iterations,
        "show-iterations": show_iterations,
        "scales": scales,
        "flip": flip,
    }
    semantic["window-size"] = window_size
    instance = {"score-threshold": score_threshold, "max-detections": max_detections}
    check_task_options(model.task, {"semantic": semantic, "instance": instance})
    if isinstance(model, InstanceSegmenter):
        written = predict_instance_files(model, paths, out, device, score_threshold, max_detections)
    else:
        assert isinstance(model, SemanticSegmenter)
        written = predict_files(model, paths, out, count, device, show_iterations, mode, tolerance, depth, depth_blur)
    for item in track(written, len(paths), "segmenting") if len(paths) > 1 else written:
        print(f"{item.image.name}: {item.summary} -> {item.files[0]}")
