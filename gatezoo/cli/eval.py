"""``gatezoo eval``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .eval_data import open_data
from .option_groups import LabelOptions, with_label_options
from .options import (
    Checkpoint,
    DataKwargs,
    DepthBlur,
    DepthMap,
    Device,
    IterationsOrAuto,
    ModelKwargs,
    PadTo,
    Scales,
    WindowOverlap,
    WindowSize,
    Workers,
    check_task_options,
    parse_iterations,
    parse_kwargs,
    parse_scales,
)
from .tables import table_console

if TYPE_CHECKING:
    from ..segmenters.base import BaseSegmenter


@with_label_options
def evaluate(
    name: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, a checkpoint of 'gatezoo train', or the .onnx or "
            ".xml file of 'gatezoo export'."
        ),
    ],
    *,
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", "--data", help="Folder of the data set; of 'folder', one that contains images/ and labels/."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Evaluate as this experiment does, and print the paper's scores beside: NAME of 'gatezoo recipes', or "
            "FILE.yaml:NAME. Options given here take the place of the experiment's."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Reader of the data set: folder, camvid, cityscapes, ... Default: folder.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to evaluate on. Default: val, or test where there is no val; of 'folder', the folder itself; "
            "of an experiment, its own."
        ),
    ] = None,
    labels: LabelOptions,
    scales: Scales = "",
    flip: Annotated[
        bool | None, typer.Option(help="Average the predictions for the image and its mirror image.")
    ] = None,
    window_size: WindowSize = None,
    window_overlap: WindowOverlap = None,
    pad_to: PadTo = None,
    iterations: IterationsOrAuto = None,
    all_iterations: Annotated[
        bool, typer.Option("--all-iterations", help="Also score each pass of a recurrent network, in one table.")
    ] = False,
    merge: Annotated[
        str | None, typer.Option(help="Score the probabilities of all passes, merged by their 'max' or 'mean'.")
    ] = None,
    boundary: Annotated[
        bool, typer.Option(help="Also compute the boundary F-score, within .0075 of the diagonal.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Also compute the expected calibration error, in 15 bins.")
    ] = False,
    components: Annotated[
        str | None,
        typer.Option(
            help="Also score the connected components of this class as instances, by average precision and count: "
            "CLASS, or CLASS+OTHER to give pixels of OTHER to the nearest component. The data set must have instances."
        ),
    ] = None,
    corruptions: Annotated[
        bool,
        typer.Option(
            "--corruptions",
            help="Also evaluate with noise, blur, contrast, brightness and JPEG compression in three severities.",
        ),
    ] = False,
    depth_blur: DepthBlur = None,
    depth_map: DepthMap = None,
    data_kwargs: DataKwargs = None,
    iiou: Annotated[
        bool, typer.Option("--iiou", help="Also compute the instance-weighted IoU, if the data set has instances.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output", help="Write scores.json, tables and figures to this folder."),
    ] = None,
    workers: Workers = 1,
    device: Device = "auto",
    checkpoint: Checkpoint = None,
    model_kwargs: ModelKwargs = None,
) -> None:
    """Evaluate a model on labeled images, each at its own size; by default whole and at a single scale.

    Instance segmentation is scored by COCO's average precision of masks and boxes. Under torchrun the processes share
    the images, and the first one prints the scores. Without options that describe label files, those of a folder are
    read as those that the model was trained on. With --recipe, data set, split, reader and protocol are those of the
    experiment, the model must be the one that it trains, and the paper's scores are printed beside.
    """
    from ..utils.allocator import disable_malloc_trim
    from ..utils.optional import require_extra

    disable_malloc_trim()
    figures = ["matplotlib"] if out else []
    require_extra("train", "an evaluation", "torchmetrics", "scipy", "faster_coco_eval", *figures)

    from ..data.create import default_splits
    from ..evaluation.corruptions import corruption_table, evaluate_corruptions, write_corruptions
    from ..evaluation.experiment import (
        EvalSetting,
        check_experiment_model,
        compare_with_paper,
        comparison_dict,
        experiment_setting,
        paper_table,
    )
    from ..evaluation.loop import check_class_names, default_metrics
    from ..evaluation.loop import evaluate as run_evaluation
    from ..evaluation.reports import iteration_table, score_lines, write_report
    from ..factory import load_model
    from ..inference.exported import ExportedSegmenter
    from ..inference.modes import WholeImage
    from ..inference.onnx_predictor import is_exported, open_exported
    from ..inference.padding import make_inference_mode
    from ..metrics import BoundaryMetric, CalibrationMetric, ComponentMetric
    from ..recipes.experiments import find_experiment
    from ..recipes.protocol import EvalProtocol
    from ..utils.choices import check_choice
    from ..utils.devices import log_device, resolve_device
    from ..utils.distributed import get_rank_and_world_size, init_distributed
    from ..utils.files import ensure_dir
    from ..utils.progress import track

    options = parse_kwargs(data_kwargs or []) | ({"instances": True} if iiou or components else {})
    if merge is not None:
        check_choice("merge", merge, ("max", "mean"))
    given: dict[str, Any] = {
        "scales": tuple(parse_scales(scales)) or None,
        "flip": flip,
        "pad_to": pad_to,
        "merge": merge,
        "components": components,
    }
    given |= {"window_size": window_size, "window_overlap": window_overlap}
    given |= {"iterations": parse_iterations(iterations), "depth_blur": depth_blur}
    changes = {key: value for key, value in given.items() if value is not None}
    experiment = find_experiment(recipe) if recipe else None
    if experiment:
        setting = experiment_setting(experiment, dataset, split, options, changes)
    else:
        setting = EvalSetting(dataset or "folder", split, options, dataclasses.replace(EvalProtocol(), **changes))
    protocol, overrides = setting.protocol, parse_kwargs(model_kwargs or [])
    # One scale of 1 is no mode: without a mode, large images are cut into windows.
    several = () if protocol.scales == (1.0,) else protocol.scales
    mode = make_inference_mode(several, protocol.flip, protocol.window_size, protocol.window_overlap, protocol.pad_to)
    semantic: dict[str, object] = {"iterations": iterations, "all-iterations": all_iterations, "merge": merge}
    semantic |= {"calibration": calibration, "scales": scales, "flip": flip or False, "window-size": window_size}
    semantic |= {"pad-to": pad_to}
    run_on = resolve_device("cpu" if is_exported(name) and device == "auto" else device)
    model: BaseSegmenter
    if is_exported(name):
        others: dict[str, object] = {
            "recipe": recipe,
            "window-overlap": window_overlap,
            "depth-blur": depth_blur,
            "depth-map": depth_map,
        }
        others |= {"checkpoint": checkpoint, "model-kwargs": model_kwargs, "device": run_on.type != "cpu" and device}
        _check_exported_options(name, semantic | others)
        model = ExportedSegmenter(open_exported(name))
    else:
        model = load_model(name, checkpoint, **overrides)
    if experiment:
        check_experiment_model(model, experiment, overrides)
    init_distributed(run_on)
    own = {"boundary": boundary, "iiou": iiou, "components": components}
    check_task_options(model.task, {"semantic": semantic | own})
    data = open_data(model, data_dir, setting, labels, depth_map)
    check_class_names(model, data)
    if out:
        if setting.dataset == "folder" and out.resolve() in {path.parent.resolve() for path in data.images}:
            raise ValueError(f"--out must not be a folder of the data's images; got {out}: choose another folder")
        ensure_dir(out)
    is_first = get_rank_and_world_size()[0] == 0
    if is_first:
        log_device(run_on)
    metrics = default_metrics(model, data, mode)
    metrics += [BoundaryMetric()] * boundary + [CalibrationMetric()] * calibration
    if protocol.components:
        metrics.append(ComponentMetric.from_names(protocol.components, model.class_names))
    score = partial(
        run_evaluation,
        model,
        metrics=metrics,
        mode=mode if (experiment and model.task == "semantic") or mode != WholeImage() else None,
        iterations=protocol.iterations,
        merge=protocol.merge or None,
        all_iterations=all_iterations,
        device=run_on,
        workers=workers,
        progress=partial(track, description="evaluating"),
        blur=protocol.depth_blur,
    )
    evaluation = score(data)
    corrupted = evaluate_corruptions(score, data) if corruptions else None
    if not is_first:
        return
    for line in score_lines(evaluation.scores, model.class_names):
        print(line)
    if evaluation.by_iteration:
        table_console().print(iteration_table(evaluation))
    if corrupted:
        table_console().print(corruption_table(evaluation.scores, corrupted))
    comparison = None
    if experiment:
        rows = compare_with_paper(evaluation.scores, experiment)
        comparison = comparison_dict(rows, experiment, setting)
        table_console().print(paper_table(rows, experiment, setting))
    if out:
        split = setting.split or (None if setting.dataset == "folder" else default_splits(setting.dataset)[1])
        data_info = {"folder": str(data_dir), "dataset": setting.dataset, "split": split}
        write_report(evaluation, model, out, data_info, comparison)
        if corrupted:
            write_corruptions(out / "corruptions.csv", evaluation.scores, corrupted)


def _check_exported_options(name: str, options: Mapping[str, object]) -> None:
    """Raise ValueError for an option that an exported network does not have."""
    for option, value in options.items():
        if value is not None and value is not False and value not in ("", []):
            raise ValueError(f"--{option} is not supported for an exported network; got {name}: leave it out")
