"""The command line: ``gatezoo list | info | predict | gates | train | ...``. Parses and prints; the work is elsewhere.

Networks, and with them torch, are imported by the commands that run one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import cli_gates, cli_train, cli_weights
from .allocator import keep_freed_memory

app = typer.Typer(help="A zoo of gated segmentation networks.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="A model, NAME or NAME.TAG; 'gatezoo list' shows them.")]
NameOrFile = Annotated[
    str, typer.Argument(help="NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, or a file of 'gatezoo train'.")
]
Iterations = Annotated[int | None, typer.Option(help="Passes of an unrolled network.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Scales = Annotated[str, typer.Option(help="Average over the picture scaled by these: '0.5,1,1.5'.")]
Flip = Annotated[bool, typer.Option(help="Average over the mirrored picture too.")]
Window = Annotated[int | None, typer.Option(help="Predict window by window, of this side in pixels.")]
Overlap = Annotated[float | None, typer.Option(help="Share of a window that the next one covers again.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="A file that 'gatezoo train' wrote, in place of published weights.")
]


@app.command("list")
def list_(
    filter: Annotated[list[str] | None, typer.Argument(help="Wildcards, such as '*dignet*'.")] = None,
    pretrained: Annotated[bool, typer.Option(help="Only models with weights, one line a tag.")] = False,
    module: Annotated[str, typer.Option(help="Only models of this file in gatezoo.models.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="Wildcards of what to leave out.")] = None,
    task: Annotated[str, typer.Option(help="Only networks of classes ('semantic') or of objects ('instance').")] = "",
):
    """List models."""
    from .registry import list_models

    for name in list_models(filter or "", module, pretrained, exclude or "", task=task):
        print(name)


@app.command()
def info(name: Name):
    """What is known of a model: parameters, keywords, weights."""
    from .describe import describe

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

    from .factory import open_model
    from .inference import choose_mode
    from .inputs import pictures_in
    from .instance_prediction import predict_instance_files
    from .prediction import predict_files

    mode = choose_mode(_numbers(scales), flip, window, overlap)
    paths = [path for item in pictures for path in (pictures_in(item) if item.is_dir() else [item])]
    model = open_model(name, checkpoint)
    console = Console(stderr=True)
    if iterations is not None and iterations != "auto" and not iterations.isdecimal():
        raise ValueError(f"iterations must be a number of passes or 'auto'; got {iterations!r}")
    count = int(iterations) if iterations and iterations.isdecimal() else iterations
    of_classes = {"iterations": iterations, "show-iterations": show_iterations, "scales": scales, "flip": flip}
    of_classes |= {"window": window}
    of_objects = {"score-threshold": score_threshold, "max-detections": max_detections}
    _refuse_of_other_task(model.task, {"semantic": of_classes, "instance": of_objects})
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


@app.command("eval")
def eval_(
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
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json, pictures.csv and confusion.png.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-j", help="Processes that decode pictures.")] = 1,
    device: Device = "cpu",
    checkpoint: Checkpoint = None,
):
    """Evaluate a model on labelled pictures, each at its own size: whole and single scale unless told otherwise.

    Of a network of objects: COCO's average precision of masks and boxes. Under torchrun the processes share the
    pictures, and the first one tells.
    """
    from .data import FolderDataset, open_dataset, reader_for
    from .evaluation import check_names, evaluate_in_detail
    from .factory import open_model
    from .files import make_folder
    from .inference import choose_mode
    from .metrics.boundary import TOLERANCE
    from .processes import join, rank_and_count
    from .registry import keywords_of
    from .reports import lines_of, write_report
    from .visualize import classes_of

    mode = choose_mode(_numbers(scales), flip, window, overlap)
    options = keywords_of(data_kwargs or []) | ({"instances": True} if instances else {})
    model, device = open_model(name, checkpoint), join(device)
    dataset = reader_for(dataset, model.task)
    of_classes = {"iterations": iterations, "boundary": boundary, "instances": instances, "scales": scales}
    _refuse_of_other_task(model.task, {"semantic": of_classes | {"flip": flip, "window": window}})
    if model.task == "instance":
        return _eval_objects(model, data, dataset, split, out, workers, device)
    if dataset == "folder":
        if instances:
            raise ValueError("instances must be of a data set that knows them, such as cityscapes; a folder does not")
        ignored = model.pretrained_cfg.ignore_index if model.pretrained_cfg else 255
        pictures = FolderDataset(data / (split or ""), model.num_classes, ignored, **options)
    else:
        pictures = open_dataset(dataset, data, split or "val", **options)
    check_names(model, pictures)
    if out:
        make_folder(out)
    tolerance = TOLERANCE if boundary else None
    found = evaluate_in_detail(
        model, pictures, None, iterations, device, mode, boundary=tolerance, workers=workers, progress=True, blur=blur
    )
    if rank_and_count()[0]:
        return
    for line in lines_of(found.scores, classes_of(model)[0]):
        print(line)
    if out:
        write_report(found, model, out, {"folder": str(data), "dataset": dataset, "split": split})


def _eval_objects(
    model, data: Path, dataset: str, split: str | None, out: Path | None, workers: int, device: str
) -> None:
    """``gatezoo eval`` of a network of objects."""
    from .data import open_dataset
    from .evaluation import check_names
    from .files import make_folder
    from .instance_evaluation import evaluate_instances
    from .processes import rank_and_count
    from .reports import lines_of_objects, write_objects_report

    if dataset == "folder":
        raise ValueError("objects must come from a data set of instances; a folder has none: --dataset coco, say")
    pictures = open_dataset(dataset, data, split or "val")
    check_names(model, pictures)
    if out:
        make_folder(out)
    figures = evaluate_instances(model, pictures, device, workers, progress=True)
    if rank_and_count()[0]:
        return
    for line in lines_of_objects(figures):
        print(line)
    if out:
        write_objects_report(figures, model, out, {"folder": str(data), "dataset": dataset, "split": split or "val"})


def _refuse_of_other_task(task: str, options: dict[str, dict[str, object]]) -> None:
    """Raise ValueError for an option that is told and that networks of this task do not have."""
    for other, values in options.items():
        told = [name for name, value in values.items() if value not in (None, False, "")]
        if other != task and told:
            raise ValueError(f"--{told[0]} is of {other} networks; this one is of the task {task}: leave it out")


def _numbers(text: str) -> list[float]:
    """'0.5,1' -> [0.5, 1.0]."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ValueError(f"scales must be numbers separated by commas; got {text!r}: 0.5,1,1.5, say") from None


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

    from .data.check import check_folder
    from .data.classes import classes_told, ids_told
    from .data.summary import lines_of, table_of

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
