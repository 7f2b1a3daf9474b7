"""``gatezoo train`` and ``gatezoo finetune``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..recipes.experiments import Stage
from ..recipes.recipe import Recipe
from ..utils.allocator import disable_malloc_trim
from .option_groups import LabelOptions, with_label_options, with_recipe_options
from .options import DataKwargs, Device, ModelKwargs, Workers, parse_kwargs

Out = Annotated[Path, typer.Option("--out", "--output", help="Folder for checkpoints and logs.")]
Resume = Annotated[bool, typer.Option(help="Continue the training in --out.")]


@with_recipe_options
@with_label_options
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
    train_split: Annotated[str | None, typer.Option(help="Split to train on.")] = None,
    val_split: Annotated[str | None, typer.Option(help="Split to evaluate on.")] = None,
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
        bool,
        typer.Option(help="Freeze batch norm statistics of the backbone, and all those of a recurrent network."),
    ] = True,
    workers: Workers = 1,
    device: Device = "auto",
    resume: Resume = False,
    log_with: Annotated[
        str | None, typer.Option(help="Also log to tensorboard, wandb or another tracker of Accelerate.")
    ] = None,
    changes: dict[str, Any],
) -> None:
    """Train a model on a data set, by the options given here or by an experiment of a paper.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m gatezoo train ...
    """
    disable_malloc_trim()
    from ..data.splits import create_splits
    from ..recipes.experiments import find_experiment
    from ..registry import get_model_spec
    from ..training.launch import train_model
    from ..training.options import RunOptions
    from ..training.stages import train_stages

    base_recipe, overrides = Recipe(), parse_kwargs(model_kwargs or [])
    stages: tuple[Stage, ...] = ()
    builder_kwargs, options = overrides, parse_kwargs(data_kwargs or [])
    if recipe:
        experiment = find_experiment(recipe)
        name, base_recipe = name or experiment.model, experiment.recipe
        dataset = dataset or experiment.dataset
        train_split, val_split = train_split or experiment.train_split, val_split or experiment.val_split
        builder_kwargs, options = experiment.model_kwargs | overrides, experiment.data | options
        stages = experiment.stages
        if experiment.start and not initial_checkpoint:
            raise ValueError(
                f"--recipe {recipe} must start from the last weights of {experiment.start}; got none: "
                "train that first and pass its last.safetensors as --initial-checkpoint"
            )
    if name is None:
        raise ValueError("a training must have a model: pass NAME or --recipe")
    train_data, val_data = create_splits(
        data_dir,
        dataset or "folder",
        train_split,
        val_split,
        val,
        labels.classes,
        labels.folder_options(in_chans=_in_chans(name, builder_kwargs, pretrained)),
        task=get_model_spec(name).task,
        options=options,
    )
    run = RunOptions(out, device, workers, resume, log_with=log_with)
    if stages:
        if pretrained:
            raise ValueError("a training in stages must start from the backbone; got --pretrained: leave it out")
        train_stages(
            name,
            stages,
            train_data,
            val_data,
            run,
            changes=changes,
            model_kwargs=overrides,
            pretrained_backbone=pretrained_backbone,
            initial_checkpoint=initial_checkpoint,
            freeze_bn=freeze_bn,
        )
        return
    train_model(
        name,
        train_data,
        val_data,
        Recipe.from_dict(dataclasses.asdict(base_recipe) | changes),
        run,
        pretrained=pretrained,
        pretrained_backbone=pretrained_backbone,
        initial_checkpoint=initial_checkpoint,
        model_kwargs=builder_kwargs,
        freeze_bn=freeze_bn,
    )


@with_recipe_options
@with_label_options
def finetune(
    *,
    name: Annotated[str, typer.Argument(help="Model with weights: NAME, NAME.TAG or local-dir:FOLDER.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", "--data", help="Folder that contains images/ and labels/, or train/ with both of them."
        ),
    ],
    out: Out = Path("output"),
    dataset: Annotated[str, typer.Option(help="Reader of the data set: folder, nuclei, voc12, ...")] = "folder",
    val: Annotated[
        Path | None, typer.Option(help="Evaluate on this folder. Default: val/ in --data-dir, else --val-fraction.")
    ] = None,
    val_fraction: Annotated[
        float, typer.Option(help="Share of the images to hold out if there is no folder to evaluate on.")
    ] = 0.2,
    labels: LabelOptions,
    epochs: Annotated[float, typer.Option(help="Number of epochs; ignored if --steps is given.")] = 20,
    workers: Workers = 1,
    device: Device = "auto",
    resume: Resume = False,
    changes: dict[str, Any],
) -> None:
    """Fine-tune published weights on your own images and write a folder that create_model and predict read.

    All files of a folder are checked first. Held-out images are used for the final score only, never for checkpoint
    selection.
    """
    disable_malloc_trim()
    from ..data.base import SegmentationDataset
    from ..data.splits import create_splits
    from ..training.finetune import finetune
    from ..utils.progress import track

    folder = labels.folder_options(
        val_fraction=val_fraction,
        seed=changes.get("seed", 0),
        check=True,
        in_chans=_in_chans(name, {}, pretrained=True),
        progress=partial(track, description="checking the data"),
    )
    train_data, val_data = create_splits(data_dir, dataset, val=val, classes=labels.classes, folder=folder)
    assert isinstance(train_data, SegmentationDataset)
    assert isinstance(val_data, SegmentationDataset)
    print(f"{len(train_data)} images to train on, {len(val_data)} held out")
    command = shlex.join(["gatezoo", *sys.argv[1:]])
    result = finetune(name, train_data, val_data, out, changes, epochs, workers, device, resume, command)
    print(f"mIoU on the held-out images: {result.before.miou:.4f} before, {result.after.miou:.4f} after")
    print(f"{result.seconds:.0f} s; model folder: {result.folder}")
    print(f"use it: gatezoo predict local-dir:{result.folder} IMAGE --out OUT")


def _in_chans(name: str, model_kwargs: Mapping[str, Any], pretrained: bool) -> int:
    """Return the number of channels of the images that the network will take."""
    from ..factory import parse_model_source

    _, cfg, saved = parse_model_source(name, None)
    of_weights = {"in_chans": cfg.in_chans} if pretrained and cfg else {}
    return ({"in_chans": 3} | of_weights | saved | dict(model_kwargs))["in_chans"]
