"""Make the image of the README: the figure of tools/demo without the photograph, which is not ours to pass on."""

from __future__ import annotations

from pathlib import Path

import sklearn.datasets
from PIL import Image

import gatezoo
from gatezoo.inference.semantic import predict_iterations
from gatezoo.utils.files import atomic_write
from gatezoo.visualization import figures as visualize

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    photo = Path(sklearn.datasets.__file__).parent / "images/china.jpg"
    model = gatezoo.create_model("dignet_mobilenetv2_8s", pretrained=True)
    figure = visualize.iterations_figure(
        None, predict_iterations(model, photo, iterations=2), model.class_names, model.palette
    )
    figure.thumbnail((1000, 1000), Image.Resampling.LANCZOS)
    out = ROOT / ".github/passes.png"
    out.parent.mkdir(exist_ok=True)
    atomic_write(out, lambda path: figure.quantize(256).save(path, optimize=True))
    print(out)


if __name__ == "__main__":
    main()
