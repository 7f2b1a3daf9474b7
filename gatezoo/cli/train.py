"""The commands that train: ``gatezoo train | finetune``. Their options are the fields of the recipe."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..recipes.recipe import Recipe
from .options import Device, ModelKwargs

Workers = Annotated[int, typer.Option("--workers", "-j", help="Processes that decode and augment.")]
Output = Annotated[Path, typer.Option("--output", "--out", help="Folder for checkpoints and logs.")]
Resume = Annotated[bool, typer.Option(help="Go on with the training in --output.")]
# How to read the labels of one's own folder.
Panel = "Labels of a folder"
Classes = Annotated[
    str | None,
    typer.Option(help="'sky,road', or a file: NAME or NAME R G B a line.", rich_help_panel=Panel, show_default=False),
]
IgnoreIndex = Annotated[int, typer.Option(help="Label that does not count.", rich_help_panel=Panel)]
Rgb = Annotated[
    bool, typer.Option("--rgb", help="They are RGB images in the colours of --classes.", rich_help_panel=Panel)
]
ReduceZeroLabel = Annotated[
    bool, typer.Option("--reduce-zero-label", help="Ids start at 1; 0 does not count.", rich_help_panel=Panel)
]
Ids = Annotated[
    list[str] | None,
    typer.Option(help="ID=CLASS for each id, such as 255=1; may be repeated.", rich_help_panel=Panel),
]
LabelSuffix = Annotated[str, typer.Option(help="What follows a image's stem in their name.", rich_help_panel=Panel)]


def label_options(
    classes: str | None, rgb: bool, reduce_zero_label: bool, ids: list[str] | None, label_suffix: str
) -> dict[str, Any]:
    """Keywords of a folder's reader."""
    from ..data.classes import parse_classes, parse_ids

    colours = parse_classes(classes)[1] if rgb else None
    if rgb and colours is None:
        raise ValueError("--rgb needs the colours of the classes: --classes FILE with lines NAME R G B")
    options = {"color_table": colours, "reduce_zero_label": reduce_zero_label}
    return options | {"ids": parse_ids(ids or []), "label_suffix": label_suffix}


def with_recipe_options(command: Callable) -> Callable:
    """Give a command an option for each field of the recipe; it gets those that are told as the dict ``changes``."""
    hints = get_type_hints(Recipe)
    options = []
    for field in dataclasses.fields(Recipe):
        kind = tuple[float, float, float] if field.name in ("mean", "std") else hints[field.name]
        shown = "" if field.default is None else f" Default: {field.default}."
        option = typer.Option(
            *field.metadata["flags"], help=field.metadata["help"] + shown, rich_help_panel="Recipe", show_default=False
        )
        options.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
            )
        )
    names = {option.name for option in options}

    def run(**told: Any) -> None:
        changes = {key: value for key, value in told.items() if key in names and value is not None}
        command(**{key: value for key, value in told.items() if key not in names}, changes=changes)

    own = inspect.signature(command, eval_str=True).parameters.values()
    run.__signature__ = inspect.Signature([p for p in own if p.name != "changes"] + options)
    run.__annotations__ = {p.name: p.annotation for p in run.__signature__.parameters.values()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


@with_recipe_options
def train(
    *,
    name: Annotated[str | None, typer.Argument(help="A model, NAME or NAME.TAG; 'gatezoo list' shows them.")] = None,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", "--data", "--data-root", help="Folder of the data set.", show_default=False)
    ],
    output: Output,
    recipe: Annotated[str | None, typer.Option(help="An experiment of a paper; 'gatezoo recipes' lists them.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Its layout: folder, voc12, cityscapes, ...")] = None,
    train_split: Annotated[str | None, typer.Option(help="Part to train on.")] = None,
    val_split: Annotated[str | None, typer.Option(help="Part to evaluate on.")] = None,
    val: Annotated[Path | None, typer.Option(help="Folder to evaluate on, where it is another one.")] = None,
    classes: Classes = None,
    ignore_index: IgnoreIndex = 255,
    rgb: Rgb = False,
    reduce_zero_label: ReduceZeroLabel = False,
    ids: Ids = None,
    label_suffix: LabelSuffix = ".png",
    pretrained: Annotated[bool, typer.Option(help="Start from the model's published weights.")] = False,
    pretrained_backbone: Annotated[str | None, typer.Option(help="'timm', or a file of backbone weights.")] = None,
    initial_checkpoint: Annotated[Path | None, typer.Option(help="Start from what fits of this checkpoint.")] = None,
    model_kwargs: ModelKwargs = None,
    data_kwargs: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the reader, such as depth=True; may be repeated.")
    ] = None,
    freeze_bn: Annotated[
        bool, typer.Option(help="Keep the statistics of the backbone's batch norm; of all of an unrolled network.")
    ] = True,
    workers: Workers = 1,
    device: Device = "cpu",
    resume: Resume = False,
    log_with: Annotated[str | None, typer.Option(help="tensorboard, wandb or another tracker of accelerate's.")] = None,
    changes: dict[str, Any],
) -> None:
    """Train a model on a data set, as the options say or as an experiment of a paper was.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m gatezoo train ...
    """
    from ..data.splits import create_splits
    from ..recipes.experiments import find_experiment
    from ..registry import get_model_spec
    from ..training.launch import train_model
    from ..training.stages import train_stages
    from .options import parse_kwargs

    told, overrides, stages = Recipe(), parse_kwargs(model_kwargs or []), ()
    builder_kwargs, options = overrides, parse_kwargs(data_kwargs or [])
    if recipe:
        experiment = find_experiment(recipe)
        name, told = name or experiment.model, experiment.recipe
        dataset = dataset or experiment.dataset
        train_split, val_split = train_split or experiment.train_split, val_split or experiment.val_split
        builder_kwargs, options = experiment.model_kwargs | overrides, experiment.data | options
        stages = experiment.stages
    if name is None:
        raise ValueError("a training must have a model: give NAME or --recipe")
    labels = label_options(classes, rgb, reduce_zero_label, ids, label_suffix)
    train_data, val_data = create_splits(
        data_dir,
        dataset or "folder",
        train_split,
        val_split,
        val,
        classes,
        ignore_index,
        labels,
        task=get_model_spec(name).task,
        options=options,
    )
    shared = dict(
        pretrained_backbone=pretrained_backbone,
        initial_checkpoint=initial_checkpoint,
        freeze_bn=freeze_bn,
        workers=workers,
        device=device,
        resume=resume,
        log_with=log_with,
    )
    if stages:
        if pretrained:
            raise ValueError("a training in stages must start from the backbone; got --pretrained: leave it out")
        train_stages(name, stages, train_data, val_data, output, changes, overrides, **shared)
        return
    train_model(
        name,
        train_data,
        val_data,
        output,
        Recipe.from_dict(dataclasses.asdict(told) | changes),
        pretrained=pretrained,
        model_kwargs=builder_kwargs,
        **shared,
    )


@with_recipe_options
def finetune(
    *,
    name: Annotated[str, typer.Argument(help="A model with weights: NAME, NAME.TAG or local-dir:FOLDER.")],
    data: Annotated[
        Path, typer.Option("--data", "--data-dir", help="Folder that holds images/ and labels/, or train/ with them.")
    ],
    output: Output = Path("output"),
    dataset: Annotated[str, typer.Option(help="Its layout: folder, nuclei, voc12, ...")] = "folder",
    val: Annotated[Path | None, typer.Option(help="Folder to evaluate on; default: data/val, or a share.")] = None,
    val_fraction: Annotated[float, typer.Option(help="Share of the images held out where there is none.")] = 0.2,
    classes: Classes = None,
    ignore_index: IgnoreIndex = 255,
    rgb: Rgb = False,
    reduce_zero_label: ReduceZeroLabel = False,
    ids: Ids = None,
    label_suffix: LabelSuffix = ".png",
    epochs: Annotated[float, typer.Option(help="Rounds over the images, if --steps is not told.")] = 20,
    workers: Workers = 1,
    device: Device = "cpu",
    resume: Resume = False,
    changes: dict[str, Any],
) -> None:
    """Fit published weights to your own images; ends with a folder that create_model and predict read.

    A folder's files are all checked first. Held-out images are neither trained on nor chosen by.
    """
    from ..data.splits import create_splits
    from ..training.finetune import finetune

    labels = label_options(classes, rgb, reduce_zero_label, ids, label_suffix)
    seed = changes.get("seed", 0)
    train_data, val_data = create_splits(
        data, dataset, None, None, val, classes, ignore_index, labels, val_fraction, seed, check=True
    )
    print(f"{len(train_data)} images to train on, {len(val_data)} held out")
    done = finetune(name, train_data, val_data, output, changes, epochs, workers, device, resume)
    print(f"mIoU on the held-out images: {done.before.miou:.4f} before, {done.after.miou:.4f} after")
    print(f"{done.seconds:.0f} s; model folder: {done.folder}")
    print(f"use it: gatezoo predict local-dir:{done.folder} PICTURE --out OUT")


def recipes() -> None:
    """List the papers' experiments, with the papers' figures and what was measured here."""
    from ..recipes.experiments import experiments, format_metrics

    for experiment in experiments().values():
        measured = format_metrics(experiment.results) if experiment.results else "not measured"
        paper = format_metrics(experiment.paper_results)
        print(f"{experiment.name:45} {experiment.source}; paper: {paper}; here: {measured}")
