"""``gatezoo predict``."""

from __future__ import annotations

import inspect
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
    IterationsOrAuto,
    PadTo,
    Scales,
    WindowOverlap,
    WindowSize,
    check_task_options,
    parse_iterations,
    parse_scales,
)

if TYPE_CHECKING:
    from ..inference.predictor import Predictor
    from ..inference.writers import PredictionWriter


def predict(
    name: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, a checkpoint of 'gatezoo train', or the .onnx "
            "or .xml file of 'gatezoo export', which is run without torch."
        ),
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, or folders of them; none with --submission.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder for the results; it is created if missing.")],
    iterations: IterationsOrAuto = None,
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
    depth_blur: DepthBlur = None,
    scales: Scales = "",
    flip: Flip = False,
    window_size: WindowSize = None,
    window_overlap: WindowOverlap = None,
    pad_to: PadTo = None,
    image_max: ImageMax = None,
    submission: Annotated[
        str | None,
        typer.Option(
            help="Predict a split of a data set, cityscapes or voc12, into the files that its evaluation server takes."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", "--data", help="With --submission: folder of the data set.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="With --submission: split of the data set. Default: test.")] = None,
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

    With --submission only the files for the server are written, and none is replaced.
    """
    given = dict(locals())
    from ..inference.onnx_predictor import is_exported

    if is_exported(name):
        _predict_onnx(**given)
        return
    from ..factory import load_model
    from ..inference.image_files import list_images
    from ..inference.instance import SCORE_THRESHOLD, InstancePredictor
    from ..inference.instance_files import InstanceWriter
    from ..inference.modes import WholeImage
    from ..inference.padding import make_inference_mode
    from ..inference.predictor import Predictor
    from ..inference.semantic_files import SemanticWriter
    from ..segmenters.base import SemanticSegmenter
    from ..segmenters.instance import InstanceSegmenter
    from ..utils.allocator import disable_malloc_trim
    from ..utils.devices import log_device, resolve_device
    from ..utils.images import check_image_max

    disable_malloc_trim()
    mode = make_inference_mode(parse_scales(scales), flip, window_size, window_overlap, pad_to)
    count, run_on = parse_iterations(iterations), resolve_device(device)
    check_image_max(image_max)
    _check_source(images, submission, data_dir, split)
    paths = [path for item in images or () for path in (list_images(item) if os.path.isdir(item) else [item])]
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
        "submission": submission,
        "pad-to": pad_to,
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
            blur=depth_blur or 0.0,
            image_max=image_max,
        )
        if submission:
            extras = ("show-iterations", "depth", "save-confidence", "save-probabilities", "labels", "depth-map")
            for option in extras:
                if semantic[option]:
                    raise ValueError(f"a submission has label maps alone; got --{option}: leave it out")
            assert data_dir is not None
            log_device(run_on)
            _write_submission(predictor, submission, data_dir, out, split or "test")
            return
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


def _predict_onnx(name: str, images: list[Path] | None, out: Path, **options: object) -> None:
    """Predict images with an exported network, without torch; no option of :func:`predict` is supported."""
    defaults = {key: parameter.default for key, parameter in inspect.signature(predict).parameters.items()}
    for option in (option.replace("_", "-") for option, value in options.items() if value != defaults[option]):
        raise ValueError(f"--{option} is not supported for an exported network; got {name}: leave it out")
    from ..inference.image_files import list_images
    from ..inference.instance_files import OnnxInstanceWriter
    from ..inference.onnx_instances import OnnxInstancePredictor
    from ..inference.onnx_predictor import open_exported
    from ..inference.onnx_writer import OnnxWriter

    paths = [path for item in images or [] for path in (list_images(item) if os.path.isdir(item) else [item])]
    _check_source(paths, None, None, None)
    # The heads of an instance segmentation network are files of their own.
    has_heads = Path(name).with_name("boxes.onnx").is_file()
    writer: PredictionWriter
    writer = OnnxInstanceWriter(OnnxInstancePredictor(name)) if has_heads else OnnxWriter(open_exported(name))
    _write(writer, paths, out)


def _check_source(images: list[Path] | None, submission: str | None, data_dir: Path | None, split: str | None) -> None:
    """Check that either images or the split of a data set are to be predicted.

    Raises:
        ValueError: both of them, neither, or options of the other.
    """
    if submission is None:
        given = {"data-dir": data_dir, "split": split}
        for option in (name for name, value in given.items() if value is not None):
            raise ValueError(f"--{option} is an option of a submission: pass --submission too, or leave it out")
        if not images:
            raise ValueError("there must be images to predict; got none: pass files or folders, or --submission")
    elif images or data_dir is None:
        got = f"image {images[0]}" if images else "no --data-dir"
        raise ValueError(f"--submission takes the images of a data set; got {got}: pass --data-dir ROOT alone")


def _write_submission(predictor: Predictor, name: str, root: Path, out: Path, split: str) -> None:
    """Write a submission, and print where it is."""
    from ..inference.submissions import write_submission
    from ..utils.progress import track

    progress = partial(track, description="segmenting")
    files = [file for _, file in write_submission(predictor, name, root, out, split=split, progress=progress)]
    print(f"{len(files)} label maps of {name} {split} -> {files[0].parent}")


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
