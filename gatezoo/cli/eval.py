"""``gatezoo eval``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    Checkpoint,
    DataKwargs,
    DepthBlur,
    Device,
    Flip,
    Iterations,
    ModelKwargs,
    NameOrFile,
    Scales,
    WindowOverlap,
    WindowSize,
    Workers,
    check_task_options,
    parse_kwargs,
    parse_scales,
)

if TYPE_CHECKING:
    from ..data.create import AnyDataset
    from ..segmenters.instance import InstanceSegmenter


def evaluate(
    name: NameOrFile,
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", "--data", help="Folder of the data set; of 'folder', one that contains images/ and labels/."
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Reader of the data set: folder, camvid, cityscapes, ...")] = "folder",
    split: Annotated[
        str | None, typer.Option(help="Split to evaluate on. Default: val; of 'folder', the folder itself.")
    ] = None,
    scales: Scales = "",
    flip: Flip = False,
    window_size: WindowSize = None,
    window_overlap: WindowOverlap = None,
    iterations: Iterations = None,
    boundary: Annotated[
        bool, typer.Option(help="Also compute the boundary F-score, within .0075 of the diagonal.")
    ] = False,
    depth_blur: DepthBlur = 0.0,
    data_kwargs: DataKwargs = None,
    iiou: Annotated[
        bool, typer.Option("--iiou", help="Also compute the instance-weighted IoU, if the data set has instances.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output", help="Write scores.json, images.csv and confusion.png to this folder."),
    ] = None,
    workers: Workers = 1,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    model_kwargs: ModelKwargs = None,
) -> None:
    """Evaluate a model on labeled images, each at its own size; by default whole and at a single scale.

    Instance segmentation is scored by COCO's average precision of masks and boxes. Under torchrun the processes share
    the images, and the first one prints the scores.
    """
    from ..data import FolderDataset, SegmentationDataset, create_dataset, dataset_for_task
    from ..evaluation.reports import score_lines, write_report
    from ..evaluation.semantic import check_class_names, evaluate_in_detail
    from ..factory import load_model
    from ..inference.modes import make_inference_mode
    from ..metrics.boundary import TOLERANCE
    from ..segmenters.base import SemanticSegmenter
    from ..segmenters.instance import InstanceSegmenter
    from ..utils.distributed import get_rank_and_world_size, init_distributed
    from ..utils.files import ensure_dir
    from ..utils.progress import track

    mode = make_inference_mode(parse_scales(scales), flip, window_size, window_overlap)
    options = parse_kwargs(data_kwargs or []) | ({"instances": True} if iiou else {})
    model, device = load_model(name, checkpoint, **parse_kwargs(model_kwargs or [])), init_distributed(device)
    dataset = dataset_for_task(dataset, model.task)
    semantic = {"iterations": iterations, "boundary": boundary, "iiou": iiou, "scales": scales, "flip": flip}
    check_task_options(model.task, {"semantic": semantic | {"window-size": window_size}})
    if isinstance(model, InstanceSegmenter):
        _evaluate_instances(model, data_dir, dataset, split, out, workers, device)
        return
    assert isinstance(model, SemanticSegmenter)
    data: AnyDataset
    if dataset == "folder":
        if iiou:
            raise ValueError("--iiou needs a data set with instances, such as cityscapes; a folder has none")
        ignore_index = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
        data = FolderDataset(data_dir / (split or ""), model.num_classes, ignore_index, **options)
    else:
        data = create_dataset(dataset, data_dir, split or "val", **options)
    assert isinstance(data, SegmentationDataset)
    check_class_names(model, data)
    if out:
        ensure_dir(out)
    evaluation = evaluate_in_detail(
        model,
        data,
        None,
        iterations,
        device,
        mode,
        boundary=TOLERANCE if boundary else None,
        workers=workers,
        progress=partial(track, description="evaluating"),
        blur=depth_blur,
    )
    if get_rank_and_world_size()[0]:
        return
    for line in score_lines(evaluation.scores, model.class_names):
        print(line)
    if out:
        write_report(evaluation, model, out, {"folder": str(data_dir), "dataset": dataset, "split": split})


def _evaluate_instances(
    model: InstanceSegmenter,
    data_dir: Path,
    dataset: str,
    split: str | None,
    out: Path | None,
    workers: int,
    device: str,
) -> None:
    """Evaluate an instance segmentation network."""
    from ..data import create_dataset
    from ..evaluation.instance import evaluate_instances
    from ..evaluation.reports import instance_lines, write_instance_report
    from ..evaluation.semantic import check_class_names
    from ..utils.distributed import get_rank_and_world_size
    from ..utils.files import ensure_dir
    from ..utils.progress import track

    if dataset == "folder":
        raise ValueError("instances must come from a data set that has them; a folder has none: pass --dataset coco")
    split = split or "val"
    data = create_dataset(dataset, data_dir, split)
    check_class_names(model, data)
    if out:
        ensure_dir(out)
    scores = evaluate_instances(model, data, device, workers, progress=partial(track, description="evaluating"))
    if get_rank_and_world_size()[0]:
        return
    for line in instance_lines(scores):
        print(line)
    if out:
        write_instance_report(scores, model, out, {"folder": str(data_dir), "dataset": dataset, "split": split})
