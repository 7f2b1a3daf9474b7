"""``gatezoo compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DepthMap, Device, FigureFile, ImageMax, check_figure_file


def compare(
    names: Annotated[
        list[str],
        typer.Argument(help="Networks of the same classes, each as NAME, NAME.TAG, a model folder or a checkpoint."),
    ],
    image: Annotated[Path, typer.Argument(help="Image file.")],
    out: FigureFile,
    labels: Annotated[
        Path | None, typer.Option(help="Index PNG of the image: also draw it, and a map of the errors of each network.")
    ] = None,
    depth_map: DepthMap = None,
    image_max: ImageMax = None,
    device: Device = "auto",
) -> None:
    """Draw what several networks predict for an image side by side, with their errors if labels are given."""
    from ..factory import load_model
    from ..inference.comparison import compare_networks
    from ..utils.devices import log_device, resolve_device
    from ..utils.files import atomic_write, ensure_dir
    from ..utils.images import check_image_max

    check_figure_file(out, [image, labels, depth_map, *map(Path, names)])
    check_image_max(image_max)
    run_on = resolve_device(device)
    log_device(run_on)
    # One network at a time, for the memory; of a path the last two parts tell it from others.
    models = (("/".join(Path(name).parts[-2:]), load_model(name)) for name in names)
    figure = compare_networks(models, image, labels, device=run_on, depth_map=depth_map, image_max=image_max)
    ensure_dir(out.parent)
    atomic_write(out, figure.save)
    print(out)
