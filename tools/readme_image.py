"""Draw the image of the main page, .github/gates.png: a microscope image, its label map and two gates.

The network is GFF, fine-tuned on the nuclei of DSB-2018, whose images are CC0:

    gatezoo finetune gff_pspnet_mobilenetv2_nodfp --dataset nuclei --data-dir NUCLEI --epochs 4 --out run
    python tools/readme_image.py local-dir:run/model NUCLEI/val/images/NAME.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import gatezoo
from gatezoo.inference.gate_maps import compute_gate_maps
from gatezoo.utils.files import atomic_write
from gatezoo.visualization.gates import gates_figure

OUT = Path(__file__).resolve().parent.parent / ".github/gates.png"
GATES = ("G1", "G2")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model = gatezoo.from_pretrained(sys.argv[1])
    maps = compute_gate_maps(model, sys.argv[2])
    gates = {name: maps.gates[name] for name in GATES}
    figure = gates_figure(maps.image, maps.classes, gates, model.class_names, model.palette)
    figure.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
    atomic_write(OUT, lambda path: figure.quantize(256).save(path, optimize=True))
    print(OUT)


if __name__ == "__main__":
    main()
