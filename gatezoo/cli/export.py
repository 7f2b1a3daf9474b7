"""``gatezoo export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Iterations, NameOrFile


def export(
    name: NameOrFile,
    *,
    out: Annotated[Path, typer.Option("--out", "--output", help="Folder to write; it must be new or empty.")],
    format_: Annotated[str, typer.Option("--format", help="onnx, or torch for the file of torch.export.")] = "onnx",
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
    checkpoint: Checkpoint = None,
) -> None:
    """Export a network to ONNX or torch.export, with metadata, a report, and a script that runs it without torch.

    The exported numbers are compared with those of the network, at the traced size and three others, before the folder
    is put in place.
    """
    if size and dynamic:
        raise ValueError(f"the size of images must be fixed or free; got --size {size[0]} {size[1]} and --dynamic")
    from ..exporting.export import export as run_export
    from ..factory import load_model

    report = run_export(
        load_model(name, checkpoint),
        out,
        format_,
        size=size,
        iterations=iterations,
        outputs=outputs,
        fp16=fp16,
        preprocessing=with_preprocessing,
    )
    for line in report.lines():
        print(line)
