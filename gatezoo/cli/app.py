"""The command line: ``gatezoo list | info | predict | gates | train | ...``. Parses and prints; the work is elsewhere.

Networks, and with them torch, are imported by the commands that run one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..utils.allocator import keep_freed_memory
from . import eval as cli_eval
from . import gates as cli_gates
from . import train as cli_train
from . import weights as cli_weights
from .options import Checkpoint, Device, Flip, NameOrFile, Overlap, Scales, Window, numbers_told, refuse_of_other_task

app = typer.Typer(help="A zoo of gated segmentation networks.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="A model, NAME or NAME.TAG; 'gatezoo list' shows them.")]


@app.command("list")
def list_(
    filter: Annotated[list[str] | None, typer.Argument(help="Wildcards, such as '*dignet*'.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Only models with weights, one line a tag.")] = False,
    module: Annotated[str, typer.Option(help="Only models of this file in gatezoo.models.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Wildcards of what to leave out.")] = None,
    task: Annotated[str, typer.Option(help="Only networks of classes ('semantic') or of objects ('instance').")] = "",
):
    """List models."""
    from ..registry import list_models

    for name in list_models(filter or "", module, pretrained, exclude or "", task=task):
        print(name)


@app.command()
def info(name: Name):
    """What is known of a model: parameters, keywords, weights."""
    from ..model_info import describe

    for key, value in describe(name).items():
        print(f"{key:18} {value}")


@app.command()
def predict(
    name: NameOrFile,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if need be.")],
    iterations: Annotated[str | None, typer.Option(help="Passes of an unrolled network, or 'auto'.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="With 'auto': passes end when one changes at most this share of the pixels.")
    ] = 0.005,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
    show_iterations: Annotated[bool, typer.Option(help="Also draw every pass and what it changed.")] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="Also write the depth, and every loop's depth and scale.")
    ] = False,
    blur: Annotated[float, typer.Option(help="Smooth the depth by a Gaussian of this many pixels.")] = 0.0,
    scales: Scales = "",
    flip: Flip = False,
    window: Window = None,
    overlap: Overlap = None,
    score_threshold: Annotated[float | None, typer.Option(help="Of objects: least score. Default: .5.")] = None,
    max_detections: Annotated[int | None, typer.Option(help="Of objects: most in a picture. Default: 100.")] = None,
):
    """Segment pictures: an index PNG, an overlay and the share of each class for every one.

    Of a network of objects: masks, boxes, names and scores drawn over each, and objects.json with all in COCO's format.
    """
    from rich.console import Console
    from rich.progress import track

    from ..factory import open_model
    from ..inference.inputs import pictures_in
    from ..inference.instance import predict_instance_files
    from ..inference.modes import choose_mode
    from ..inference.semantic import predict_files

    mode = choose_mode(numbers_told(scales), flip, window, overlap)
    paths = [path for item in pictures for path in (pictures_in(item) if item.is_dir() else [item])]
    model = open_model(name, checkpoint)
    console = Console(stderr=True)
    if iterations is not None and iterations != "auto" and not iterations.isdecimal():
        raise ValueError(f"iterations must be a number of passes or 'auto'; got {iterations!r}")
    count = int(iterations) if iterations and iterations.isdecimal() else iterations
    of_classes = {"iterations": iterations, "show-iterations": show_iterations, "scales": scales, "flip": flip}
    of_classes |= {"window": window}
    of_objects = {"score-threshold": score_threshold, "max-detections": max_detections}
    refuse_of_other_task(model.task, {"semantic": of_classes, "instance": of_objects})
    writers = {
        "semantic": lambda: predict_files(
            model, paths, out, count, device, show_iterations, mode, tolerance, depth, blur
        ),
        "instance": lambda: predict_instance_files(model, paths, out, device, score_threshold, max_detections),
    }
    written = writers[model.task]()
    if len(paths) > 1:
        written = track(written, "segmenting", total=len(paths), console=console, transient=True)
    for item in written:
        print(f"{item.picture.name}: {item.summary} -> {item.files[0]}")


data_app = typer.Typer(help="Look at data before training on them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder that holds images/ and labels/.")],
    classes: Annotated[
        str | None, typer.Option(help="Their number, NAME,NAME,... or a file: NAME or NAME R G B a line.")
    ] = None,
    ignore_index: Annotated[int, typer.Option(help="Label that does not count.")] = 255,
    rgb: Annotated[bool, typer.Option("--rgb", help="Labels are RGB pictures in the colours of --classes.")] = False,
    reduce_zero_label: Annotated[
        bool, typer.Option("--reduce-zero-label", help="Ids start at 1; 0 does not count.")
    ] = False,
    ids: Annotated[list[str] | None, typer.Option(help="ID=CLASS for each id of the labels; may be repeated.")] = None,
    label_suffix: Annotated[
        str, typer.Option(help="What follows a picture's stem in the name of its labels.")
    ] = ".png",
    all_: Annotated[bool, typer.Option("--all", help="Tell every problem, not ten of each kind.")] = False,
):
    """Everything that training would stumble over, and the share of each class. Exit code 2 if there are errors."""
    from rich.console import Console
    from rich.progress import track

    from ..data.check.check import check_folder
    from ..data.check.summary import lines_of, table_of
    from ..data.classes import classes_told, ids_told

    names, colours = classes_told(classes)
    if rgb and colours is None:
        raise ValueError("--rgb needs the colours of the classes: --classes FILE with lines NAME R G B")
    stderr = Console(stderr=True)
    report = check_folder(
        folder,
        names,
        ignore_index,
        color_table=colours if rgb else None,
        reduce_zero_label=reduce_zero_label,
        ids=ids_told(ids or []),
        label_suffix=label_suffix,
        progress=lambda read, total: track(read, "reading", total=total, console=stderr, transient=True),
    )
    Console().print(table_of(report))
    for line in lines_of(report, None if all_ else 10):
        print(line)
    if report.errors:
        raise typer.Exit(2)


app.add_typer(cli_weights.app, name="weights")
app.command()(cli_weights.publish)
app.command("eval")(cli_eval.evaluate)
app.command()(cli_gates.gates)
app.command()(cli_train.train)
app.command()(cli_train.finetune)
app.command()(cli_train.recipes)


def main() -> None:
    """Entry point: what a user can mend is one line on stderr and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except ValueError as error:
        # What a data worker raises comes wrapped in its traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        print(f"gatezoo: {message}", file=sys.stderr)
        sys.exit(2)
