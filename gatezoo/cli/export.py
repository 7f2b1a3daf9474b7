"""``gatezoo export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..utils.garbage import no_garbage_collection
from .eval_data import open_data
from .option_groups import LabelOptions
from .options import Checkpoint, Iterations, NameOrFile


def export(
    name: NameOrFile,
    *,
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder to write; it must be new or empty.")],
    format_: Annotated[
        str, typer.Option("--format", help="onnx, openvino, or torch for the file of torch.export.")
    ] = "onnx",
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width of all images. Default: any size of 64 to 4096.")
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Take images of any size, which is the default.")] = False,
    iterations: Iterations = None,
    outputs: Annotated[
        str, typer.Option(help="logits, classes (label maps), or passes (the logits of each pass).")
    ] = "logits",
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Take uint8 images (1, H, W, C), normalized in the network.")
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store the weights in 16 bits.")] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Compute convolutions in 8 bits, and report what that loses; see --calibrate."),
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="With --int8: folder of images, or data set, of which one half calibrates and the other measures."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="With --calibrate: reader of the data set: folder, camvid, cityscapes, ...")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="With --dataset: split of the data set. Default: as of eval.")
    ] = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Export a network to ONNX, OpenVINO or torch.export, with metadata, a report and a script to run it.

    The exported numbers are compared with those of the network, at the traced size and three others, before the folder
    is put in place.
    """
    if size and dynamic:
        raise ValueError(f"the size of images must be fixed or free; got --size {size[0]} {size[1]} and --dynamic")
    for option, value in (("dataset", dataset), ("split", split)):
        if value and not calibrate:
            raise ValueError(f"--{option} is an option of --calibrate; got {value}: pass --calibrate DATA, too")
    with no_garbage_collection():
        from ..evaluation.experiment import EvalSetting
        from ..exporting.export import export as run_export
        from ..factory import load_model
        from ..recipes.protocol import EvalProtocol
        from ..utils.optional import require_extra

    model = load_model(name, checkpoint)
    calibration: object = calibrate
    if calibrate and (dataset or split or (calibrate / "images").is_dir()):
        require_extra("train", "the loss of mIoU", "torchmetrics")
        setting = EvalSetting(dataset or "folder", split, {}, EvalProtocol())
        calibration = open_data(model, calibrate, setting, LabelOptions(), None)
    report = run_export(
        model,
        out,
        format_,
        size=size,
        iterations=iterations,
        outputs=outputs,
        fp16=fp16,
        preprocessing=with_preprocessing,
        int8=int8,
        calibration=calibration,
    )
    for line in report.lines():
        print(line)
