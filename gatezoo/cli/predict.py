"""``gatezoo predict``."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    Checkpoint,
    DepthBlur,
    DepthMap,
    Device,
    Flip,
    ImageMax,
    NameOrFile,
    Scales,
    WindowOverlap,
    WindowSize,
    check_task_options,
    parse_iterations,
    parse_scales,
)

if TYPE_CHECKING:
    from ..inference.writers import PredictionWriter


def predict(
    name: NameOrFile,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder for the results; it is created if missing.")],
    iterations: Annotated[str | None, typer.Option(help="Number of passes of a recurrent network, or 'auto'.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="With --iterations auto: stop when a pass changes at most this share of the pixels.")
    ] = 0.005,
    device: Device = "auto",
    checkpoint: Checkpoint = None,
    show_iterations: Annotated[bool, typer.Option(help="Also draw every pass and the pixels it changed.")] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="Also write the predicted depth, and depth and scale of every loop.")
    ] = False,
    save_confidence: Annotated[
        bool,
        typer.Option(
            "--save-confidence",
            help="Also write STEM_confidence.png, the probability of the predicted class, 65535 for 1; and, of several "
            "passes, STEM_instability.png, how much the last one moved the probabilities.",
        ),
    ] = False,
    save_probabilities: Annotated[
        bool,
        typer.Option(
            "--save-probabilities",
            help="Also write STEM_probabilities.npz: probabilities (K, H, W), class_names and, of several passes, "
            "instability.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Index PNG of the image, or folder of STEM.png: also draw it beside the prediction, with a map of the "
            "errors, STEM_errors.png."
        ),
    ] = None,
    depth_map: DepthMap = None,
    depth_blur: DepthBlur = 0.0,
    scales: Scales = "",
    flip: Flip = False,
    window_size: WindowSize = None,
    window_overlap: WindowOverlap = None,
    image_max: ImageMax = None,
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

    Results of an earlier run are replaced, other files never. Of several images, one that cannot be predicted is
    reported and the others follow; the exit code is then 1.
    """
    from ..factory import load_model
    from ..inference.inputs import list_images
    from ..inference.instance import SCORE_THRESHOLD, InstancePredictor
    from ..inference.instance_files import InstanceWriter
    from ..inference.modes import WholeImage, make_inference_mode
    from ..inference.predictor import Predictor
    from ..inference.semantic_files import SemanticWriter
    from ..segmenters.base import SemanticSegmenter
    from ..segmenters.instance import InstanceSegmenter
    from ..utils.devices import log_device, resolve_device
    from ..utils.images import check_image_max

    mode = make_inference_mode(parse_scales(scales), flip, window_size, window_overlap)
    count, run_on = parse_iterations(iterations), resolve_device(device)
    check_image_max(image_max)
    paths = [path for item in images for path in (list_images(item) if os.path.isdir(item) else [item])]
    model = load_model(name, checkpoint)
    semantic: dict[str, object] = {
        "iterations": iterations,
        "show-iterations": show_iterations,
        "depth": depth,
        "save-confidence": save_confidence,
        "save-probabilities": save_probabilities,
        "labels": labels,
        "depth-map": depth_map,
        "scales": scales,
        "flip": flip,
        "window-size": window_size,
    }
    instance = {"score-threshold": score_threshold, "max-detections": max_detections}
    check_task_options(model.task, {"semantic": semantic, "instance": instance})
    writer: PredictionWriter
    if isinstance(model, InstanceSegmenter):
        threshold = SCORE_THRESHOLD if score_threshold is None else score_threshold
        writer = InstanceWriter(
            InstancePredictor(
                model, run_on, score_threshold=threshold, max_detections=max_detections, image_max=image_max
            )
        )
    else:
        assert isinstance(model, SemanticSegmenter)
        predictor = Predictor(
            model,
            run_on,
            mode=None if mode == WholeImage() else mode,
            iterations=count,
            tolerance=tolerance,
            blur=depth_blur,
            image_max=image_max,
        )
        writer = SemanticWriter(
            predictor,
            show_iterations=show_iterations,
            depth=depth,
            confidence=save_confidence,
            probabilities=save_probabilities,
            labels=labels,
            depth_map=depth_map,
        )
    log_device(run_on)
    _write(writer, paths, out)


def _write(writer: PredictionWriter, paths: list[Path], out: Path) -> None:
    """Write the predictions of images, print a line for each, and end with exit code 1 if some cannot be predicted."""
    from ..inference.writers import write_predictions
    from ..utils.progress import track

    def report(error: ValueError) -> None:
        print(f"gatezoo: {error}", file=sys.stderr)

    several, written = len(paths) > 1, 0
    progress = partial(track, description="segmenting") if several else None
    for item in write_predictions(writer, paths, out, on_error=report if several else None, progress=progress):
        print(f"{item.image.name}: {item.summary} -> {item.files[0]}")
        written += 1
    if not written:
        raise ValueError(f"none of the {len(paths)} images could be predicted: see the lines above")
    if written < len(paths):
        print(f"{len(paths) - written} of {len(paths)} images could not be predicted", file=sys.stderr)
        raise typer.Exit(1)
