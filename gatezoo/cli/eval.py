"""The command that measures a network: ``gatezoo eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    Checkpoint,
    Device,
    Flip,
    Iterations,
    ModelKwargs,
    NameOrFile,
    Overlap,
    Scales,
    Window,
    parse_scales,
    refuse_of_other_task,
)


def evaluate(
    name: NameOrFile,
    data: Annotated[
        Path, typer.Option(help="Folder of the data set; of 'folder', one that holds images/ and labels/.")
    ],
    dataset: Annotated[str, typer.Option(help="Layout of the data: folder, camvid, cityscapes, ...")] = "folder",
    split: Annotated[str | None, typer.Option(help="Default: val; of 'folder', the folder itself.")] = None,
    scales: Scales = "",
    flip: Flip = False,
    window: Window = None,
    overlap: Overlap = None,
    iterations: Iterations = None,
    boundary: Annotated[bool, typer.Option(help="Also the boundary F-score, within .0075 of the diagonal.")] = False,
    blur: Annotated[float, typer.Option(help="Smooth predicted depth by a Gaussian of this many pixels.")] = 0.0,
    data_kwargs: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the reader of the data, such as depth=True; may be repeated."),
    ] = None,
    instances: Annotated[bool, typer.Option(help="Also the instance-weighted IoU, of data with instance ids.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json, images.csv and confusion.png.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-j", help="Processes that decode images.")] = 1,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    model_kwargs: ModelKwargs = None,
):
    """Evaluate a model on labelled images, each at its own size: whole and single scale unless told otherwise.

    Of a network of objects: COCO's average precision of masks and boxes. Under torchrun the processes share the
    images, and the first one tells.
    """
    from ..data import FolderDataset, create_dataset, dataset_for_task
    from ..evaluation.reports import lines_of, write_report
    from ..evaluation.semantic import check_class_names, evaluate_in_detail
    from ..factory import load_model
    from ..inference.modes import make_inference_mode
    from ..metrics.boundary import TOLERANCE
    from ..utils.distributed import get_rank_and_world_size, init_distributed
    from ..utils.files import ensure_dir
    from .options import parse_kwargs

    mode = make_inference_mode(parse_scales(scales), flip, window, overlap)
    options = parse_kwargs(data_kwargs or []) | ({"instances": True} if instances else {})
    model, device = load_model(name, checkpoint, **parse_kwargs(model_kwargs or [])), init_distributed(device)
    dataset = dataset_for_task(dataset, model.task)
    of_classes = {"iterations": iterations, "boundary": boundary, "instances": instances, "scales": scales}
    refuse_of_other_task(model.task, {"semantic": of_classes | {"flip": flip, "window": window}})
    if model.task == "instance":
        return _eval_instances(model, data, dataset, split, out, workers, device)
    if dataset == "folder":
        if instances:
            raise ValueError("instances must be of a data set that knows them, such as cityscapes; a folder does not")
        ignored = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
        images = FolderDataset(data / (split or ""), model.num_classes, ignored, **options)
    else:
        images = create_dataset(dataset, data, split or "val", **options)
    check_class_names(model, images)
    if out:
        ensure_dir(out)
    tolerance = TOLERANCE if boundary else None
    found = evaluate_in_detail(
        model, images, None, iterations, device, mode, boundary=tolerance, workers=workers, progress=True, blur=blur
    )
    if get_rank_and_world_size()[0]:
        return
    for line in lines_of(found.scores, model.class_names):
        print(line)
    if out:
        write_report(found, model, out, {"folder": str(data), "dataset": dataset, "split": split})


def _eval_instances(
    model, data: Path, dataset: str, split: str | None, out: Path | None, workers: int, device: str
) -> None:
    """``gatezoo eval`` of a network of objects."""
    from ..data import create_dataset
    from ..evaluation.instance import evaluate_instances
    from ..evaluation.reports import instance_lines, write_instance_report
    from ..evaluation.semantic import check_class_names
    from ..utils.distributed import get_rank_and_world_size
    from ..utils.files import ensure_dir

    if dataset == "folder":
        raise ValueError("objects must come from a data set of instances; a folder has none: --dataset coco, say")
    images = create_dataset(dataset, data, split or "val")
    check_class_names(model, images)
    if out:
        ensure_dir(out)
    figures = evaluate_instances(model, images, device, workers, progress=True)
    if get_rank_and_world_size()[0]:
        return
    for line in instance_lines(figures):
        print(line)
    if out:
        write_instance_report(figures, model, out, {"folder": str(data), "dataset": dataset, "split": split or "val"})
