"""Draw the image of the main page, .github/gates.png: a microscope image, its label map and two gates.

The network is the bundled GFF for nuclei, the image that of the package.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import gatezoo
from gatezoo.inference.gate_maps import compute_gate_maps
from gatezoo.utils.files import atomic_write
from gatezoo.visualization.gates import gates_figure

OUT = Path(__file__).resolve().parent.parent / ".github/gates.png"
GATES = ("G1", "G2")


def main() -> None:
    model = gatezoo.create_model("gff_pspnet_lite0_nodfp", pretrained=True).eval()
    maps = compute_gate_maps(model, gatezoo.EXAMPLE_IMAGE)
    gates = {name: maps.gates[name] for name in GATES}
    figure = gates_figure(maps.image, maps.classes, gates, model.class_names, model.palette)
    figure.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
    atomic_write(OUT, lambda path: figure.quantize(256).save(path, optimize=True))
    print(OUT)


if __name__ == "__main__":
    main()
