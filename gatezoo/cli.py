"""The command line: ``gatezoo list | info | predict | eval | train``. Parses and prints; the work is done elsewhere.

Networks, and with them torch, are imported by the commands that run one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="A zoo of gated segmentation networks.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="A model, NAME or NAME.TAG; 'gatezoo list' shows them.")]
Iterations = Annotated[int | None, typer.Option(help="Passes of an unrolled network.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="A file that 'gatezoo train' wrote, in place of published weights.")
]


@app.command("list")
def list_(
    filter: Annotated[list[str] | None, typer.Argument(help="Wildcards, such as '*dignet*'.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Only models with weights, one line a tag.")] = False,
    module: Annotated[str, typer.Option(help="Only models of this file in gatezoo.models.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Wildcards of what to leave out.")] = None,
):
    """List models."""
    from .registry import list_models

    for name in list_models(filter or "", module, pretrained, exclude or ""):
        print(name)


@app.command()
def info(name: Name):
    """What is known of a model: parameters, keywords, weights."""
    from .describe import describe

    for key, value in describe(name).items():
        print(f"{key:18} {value}")


@app.command()
def predict(
    name: Name,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if need be.")],
    iterations: Iterations = None,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    show_iterations: Annotated[bool, typer.Option(help="Also draw every pass and what it changed.")] = False,
):
    """Segment pictures: an index PNG, an overlay and the share of each class for every one."""
    from rich.console import Console
    from rich.progress import track

    from .factory import create_model
    from .prediction import pictures_in, predict_files

    paths = [path for item in pictures for path in (pictures_in(item) if item.is_dir() else [item])]
    model = create_model(name, pretrained=checkpoint is None, checkpoint_path=checkpoint)
    console = Console(stderr=True)
    written = predict_files(model, paths, out, iterations, device, show_iterations)
    if len(paths) > 1:
        written = track(written, "segmenting", total=len(paths), console=console, transient=True)
    for item in written:
        largest = ", ".join(f"{name} {share:.1%}" for name, share in list(item.shares.items())[:4])
        print(f"{item.picture.name}: {largest} -> {item.files[0]}")


@app.command("eval")
def eval_(
    name: Name,
    data: Annotated[Path, typer.Option(help="Folder that holds images/ and labels/.")],
    iterations: Iterations = None,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
):
    """Evaluate a model on labelled pictures, single scale, each at its own size."""
    from .data import FolderDataset
    from .evaluation import evaluate
    from .factory import create_model
    from .visualize import classes_of

    model = create_model(name, pretrained=checkpoint is None, checkpoint_path=checkpoint)
    dataset = FolderDataset(data, model.num_classes, model.pretrained_cfg.ignore_index)
    scores = evaluate(model, dataset, iterations=iterations, device=device)
    for class_name, iou in zip(classes_of(model)[0], scores.iou):
        print(f"{class_name:18} {iou:.4f}" if iou == iou else f"{class_name:18} absent")
    print(f"{'mIoU':18} {scores.miou:.4f}   ({scores.absent} absent classes left out)")
    print(f"{'pixel accuracy':18} {scores.pixel_accuracy:.4f}")
    print(f"{'mean accuracy':18} {scores.mean_accuracy:.4f}")


@app.command()
def train(
    name: Name,
    data: Annotated[Path, typer.Option(help="Folder of training data that holds images/ and labels/.")],
    val: Annotated[Path, typer.Option(help="Folder of validation data, alike.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; a new one.")],
    classes: Annotated[str, typer.Option(help="Their names, in the order of the labels: 'sky,road'; or 'camvid'.")],
    pretrained_backbone: Annotated[str | None, typer.Option(help="'timm', or a file of backbone weights.")] = None,
    initial_checkpoint: Annotated[Path | None, typer.Option(help="Start from what fits of this checkpoint.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Start from the model's published weights.")] = False,
    ignore_index: Annotated[int, typer.Option(help="Label that does not count.")] = 255,
    model_kwargs: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the model; may be repeated.")] = None,
    steps: int = 1000,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b")] = 8,
    crop: int = 320,
    lr: float = 0.01,
    warmup: Annotated[int, typer.Option(help="Steps of linear rise of the rates.")] = 0,
    weight_decay: float = 1e-4,
    class_weights: Annotated[str, typer.Option(help="none, inverse or sqrt of the class frequencies.")] = "sqrt",
    mean: Annotated[tuple[float, float, float] | None, typer.Option(help="Default: the backbone's.")] = None,
    std: Annotated[tuple[float, float, float] | None, typer.Option(help="Default: the backbone's.")] = None,
    freeze_bn: Annotated[bool, typer.Option(help="Keep batch norm's statistics.")] = True,
    amp: Annotated[bool, typer.Option(help="bf16 autocast.")] = True,
    eval_every: int = 500,
    seed: int = 0,
    workers: Annotated[int, typer.Option("--workers", "-j")] = 1,
    device: Device = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on with the training in --out.")] = False,
):
    """Train or fine-tune a model on a folder of labelled pictures."""
    from .registry import keywords_of
    from .train import Recipe, train_by_name

    recipe = Recipe(
        steps=steps,
        batch_size=batch_size,
        crop=crop,
        lr=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        class_weights=class_weights,
        mean=mean,
        std=std,
        amp=amp,
        eval_every=eval_every,
        seed=seed,
    )
    train_by_name(
        name,
        data,
        val,
        out,
        recipe,
        classes=classes,
        ignore_index=ignore_index,
        pretrained=pretrained,
        pretrained_backbone=pretrained_backbone,
        initial_checkpoint=initial_checkpoint,
        model_kwargs=keywords_of(model_kwargs or []),
        freeze_bn=freeze_bn,
        workers=workers,
        device=device,
        resume=resume,
    )


def main() -> None:
    """Entry point: what a user can mend is one line on stderr and exit code 2."""
    try:
        app()
    except ValueError as error:
        # What a data worker raises comes wrapped in its traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        print(f"gatezoo: {message}", file=sys.stderr)
        sys.exit(2)
