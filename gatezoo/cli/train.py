"""``gatezoo train`` and ``gatezoo finetune``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..recipes.experiments import Stage
from ..recipes.finetuning import FINETUNE_DEFAULTS, FinetuneContext, finetune_recipe
from ..recipes.recipe import Recipe
from ..utils.allocator import disable_malloc_trim
from .option_groups import LabelOptions, with_label_options, with_recipe_options, with_run_options
from .options import DataKwargs, ModelKwargs, parse_kwargs

if TYPE_CHECKING:
    from ..data.splits import FolderOptions

Out = Annotated[Path, typer.Option("--out", "--output", help="Folder for checkpoints and logs.")]
TrainSplit = Annotated[str | None, typer.Option(help="Split to train on. Default: train; of COCO train2017.")]
ValSplit = Annotated[
    str | None, typer.Option(help="Split to evaluate on. Default: val, or test where there is no val; of COCO val2017.")
]
FINETUNE_TEXTS = {name: default.text for name, default in FINETUNE_DEFAULTS.items()}


@with_recipe_options
@with_label_options
@with_run_options
def train(
    *,
    name: Annotated[str | None, typer.Argument(help="Model, as NAME or NAME.TAG; 'gatezoo list' lists them.")] = None,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", "--data", "--data-root", help="Folder of the data set.", show_default=False)
    ],
    out: Out,
    recipe: Annotated[
        str | None, typer.Option(help="Train as in this experiment: NAME of 'gatezoo recipes', or FILE.yaml:NAME.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Reader of the data set: folder, voc12, cityscapes, ... Default: folder.")
    ] = None,
    train_split: TrainSplit = None,
    val_split: ValSplit = None,
    val: Annotated[Path | None, typer.Option(help="Evaluate on this folder instead of --data-dir.")] = None,
    labels: LabelOptions,
    pretrained: Annotated[bool, typer.Option(help="Start from the model's published weights.")] = False,
    pretrained_backbone: Annotated[
        str | None, typer.Option(help="Start from these weights of the backbone: 'timm', or a file.")
    ] = None,
    initial_checkpoint: Annotated[
        Path | None, typer.Option(help="Start from the tensors of this checkpoint that fit.")
    ] = None,
    model_kwargs: ModelKwargs = None,
    data_kwargs: DataKwargs = None,
    freeze_bn: Annotated[
        bool | None,
        typer.Option(
            help="Freeze batch norm statistics of the backbone, and all those of a recurrent network. Default: yes; of "
            "a paper's experiment, if its frozen_layers have norm_statistics."
        ),
    ] = None,
    run: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    """Train a model on a data set, by the options given here or by an experiment of a paper.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m gatezoo train ...
    """
    disable_malloc_trim()
    from ..data.splits import create_splits
    from ..recipes.experiments import find_experiment, find_start
    from ..recipes.initial_weights import check_initial_weights
    from ..registry import get_model_spec
    from ..training.launch import check_run, train_model
    from ..training.options import ModelSource, RunOptions
    from ..training.stages import stage_folder, stage_recipes, train_stages
    from ..training.start import check_start

    base_recipe, has_paper, overrides = Recipe(), False, parse_kwargs(model_kwargs or [])
    stages: tuple[Stage, ...] = ()
    builder_kwargs, options = overrides, parse_kwargs(data_kwargs or [])
    if recipe:
        experiment = find_experiment(recipe)
        name, base_recipe = name or experiment.model, experiment.recipe
        dataset = dataset or experiment.dataset
        train_split, val_split = train_split or experiment.train_split, val_split or experiment.val_split
        builder_kwargs, options = experiment.model_kwargs | overrides, experiment.data | options
        stages = experiment.stages
        check_initial_weights(experiment, pretrained, pretrained_backbone, initial_checkpoint is not None)
        has_paper = bool(experiment.paper)
        if experiment.start and initial_checkpoint:
            check_start(initial_checkpoint, find_start(recipe, experiment), changes.get("seed", experiment.recipe.seed))
    if name is None:
        raise ValueError("a training must have a model: pass NAME or --recipe")
    final_recipe = Recipe.from_dict(dataclasses.asdict(base_recipe) | changes)
    recipes = stage_recipes(stages, changes) if stages else [final_recipe]
    frozen = any("norm_statistics" in part.frozen_layers for part in recipes)
    if freeze_bn is False and frozen:
        raise ValueError(
            "--no-freeze-bn must not be given where frozen_layers have norm_statistics; got both: leave one of them out"
        )
    freeze_bn = not has_paper if freeze_bn is None else freeze_bn
    if stages and pretrained:
        raise ValueError("a training in stages must start from the backbone; got --pretrained: leave it out")
    # All of this before the data are read.
    run_options = RunOptions(out, **run)
    source = ModelSource(name, pretrained, pretrained_backbone, initial_checkpoint, builder_kwargs, freeze_bn)
    first = dataclasses.replace(run_options, out=stage_folder(out, 1, stages[0])) if stages else run_options
    check_run(first, recipes[0].opt)
    train_data, val_data = create_splits(
        data_dir,
        dataset or "folder",
        train_split,
        val_split,
        val,
        labels.classes,
        _checked_folder(labels, name, builder_kwargs, pretrained),
        task=get_model_spec(name).task,
        options=options,
    )
    if stages:
        # The keywords of the model are the stages' own.
        source = dataclasses.replace(source, model_kwargs=overrides)
        train_stages(source, stages, train_data, val_data, run_options, changes)
    else:
        train_model(source, train_data, val_data, final_recipe, run_options)


@partial(with_recipe_options, defaults=FINETUNE_TEXTS)
@with_label_options
@with_run_options
def finetune(
    *,
    name: Annotated[str, typer.Argument(help="Model with weights: NAME, NAME.TAG or local-dir:FOLDER.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            "--data",
            help="Folder that contains images/ and labels/, or train/ with both of them; or hf:org/name.",
        ),
    ],
    out: Out = Path("output"),
    dataset: Annotated[str, typer.Option(help="Reader of the data set: folder, nuclei, voc12, ...")] = "folder",
    train_split: TrainSplit = None,
    val_split: ValSplit = None,
    val: Annotated[
        Path | None, typer.Option(help="Evaluate on this folder. Default: val/ in --data-dir, else --val-fraction.")
    ] = None,
    val_fraction: Annotated[
        float, typer.Option(help="Share of the images to hold out if there is no folder to evaluate on.")
    ] = 0.2,
    labels: LabelOptions,
    data_license: Annotated[
        str, typer.Option(help="License of the data, to be stored with the weights.", show_default=False)
    ] = "",
    epochs: Annotated[float, typer.Option(help="Number of epochs; ignored if --steps is given.")] = 20,
    run: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    """Fine-tune published weights on your own images and write a folder that create_model and predict read.

    For classes or, with the weights of an instance segmentation network, for instances. All files of a folder are
    checked first. Held-out images are used for the final score only, never for checkpoint selection.
    """
    disable_malloc_trim()
    from ..data.splits import create_splits
    from ..factory import parse_model_source, resolve_pretrained_cfg
    from ..metrics.names import format_metric, headline_key, metric_info
    from ..training.finetune import finetune
    from ..training.launch import check_run
    from ..training.messages import log_info
    from ..training.options import RunOptions
    from ..utils.text import is_plain_text, require_plain_text

    options = RunOptions(out, **run)
    task, cfg = parse_model_source(name, None)[0].task, resolve_pretrained_cfg(name)
    # All of this before the data are read.
    recipe = finetune_recipe(changes, FinetuneContext(task, epochs, cfg.recipe))
    require_plain_text("--data-license", [data_license])
    check_run(options, recipe.opt)
    split = {"val_fraction": val_fraction, "seed": changes.get("seed", Recipe.seed)}
    folder = _checked_folder(labels, name, {}, True, **split)
    train_data, val_data = create_splits(
        data_dir, dataset, train_split, val_split, val, labels.classes, folder, task=task
    )
    log_info(f"{len(train_data)} images to train on, {len(val_data)} held out")
    data_name = data_dir.resolve().name if dataset == "folder" else dataset
    command = shlex.join(["gatezoo", *sys.argv[1:]])
    result = finetune(
        name,
        train_data,
        val_data,
        changes,
        options,
        epochs=epochs,
        data_name=data_name if is_plain_text(data_name) else "unnamed data",
        data_license=data_license,
        command=command,
    )
    key = headline_key(result.after)
    assert key is not None  # evaluation refuses data without a label
    before, after = (format_metric(key, scores[key], percent=False) for scores in (result.before, result.after))
    log_info(f"{metric_info(key).title} on the held-out images: {before} before, {after} after")
    log_info(f"{result.seconds:.0f} s; model folder: {result.folder}")
    log_info(f"use it: gatezoo predict local-dir:{result.folder} IMAGE --out OUT")


def _checked_folder(
    labels: LabelOptions, name: str, model_kwargs: Mapping[str, Any], pretrained: bool, **split: Any
) -> FolderOptions:
    """Return the options to read a folder, whose files are checked first, for the channels that the network takes."""
    from ..factory import parse_model_source
    from ..utils.progress import track

    _, cfg, saved = parse_model_source(name, None)
    of_weights = {"in_chans": cfg.in_chans} if pretrained and cfg else {}
    in_chans = ({"in_chans": 3} | of_weights | saved | dict(model_kwargs))["in_chans"]
    progress = partial(track, description="checking the data")
    return labels.folder_options(check=True, in_chans=in_chans, progress=progress, **split)
