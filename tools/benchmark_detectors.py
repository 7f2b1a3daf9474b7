"""Time the parts of the detectors of ZigZagNet's Table 4 against what they stand beside.

    python tools/benchmark_detectors.py --size 800 1066 --repeats 5

Each time is the median of several runs in turn: a round of FCIS's heads for 300 regions beside a plain matrix product
of all position-sensitive scores of their bins, and Deformable Mask R-CNN beside Mask R-CNN with the same weights.
"""

from __future__ import annotations

import argparse

import torch
from measuring.timing import medians
from rich.table import Table

import gatezoo
from gatezoo.cli.tables import table_console
from gatezoo.heads.fcis import CHUNK, FCISRoIHeads
from gatezoo.heads.position_sensitive import CellGrid, Regions

STRIDES, WIDTH, CLASSES, REGIONS = (4, 8, 16, 32), 256, 81, 300
Row = tuple[str, float, float]


def measure_heads(size: tuple[int, int], repeats: int) -> list[Row]:
    """Return the seconds of a round of FCIS's heads, without and with all masks, beside those of the product."""
    grid = CellGrid(7, 21)
    heads = FCISRoIHeads(WIDTH, CLASSES, STRIDES, WIDTH, grid).eval()
    maps = [torch.randn(1, WIDTH, size[0] // stride, size[1] // stride) for stride in STRIDES]
    corners = torch.rand(REGIONS, 2, 2) * torch.tensor([size[1], size[0]])
    boxes = torch.cat([corners.amin(1), corners.amax(1) + 1], 1)
    pixels, weights = torch.randn(REGIONS * grid.bins**2, WIDTH), torch.randn(WIDTH, 2 * CLASSES)
    with torch.inference_mode():
        prepared = heads._prepare(maps, [1 / stride for stride in STRIDES])
        regions = heads._regions([boxes])
        chunks = [Regions(*parts) for parts in zip(*(part.split(CHUNK) for part in regions))]
        product, read, masks = medians(
            [
                lambda: pixels @ weights,
                lambda: [heads._read(prepared, chunk) for chunk in chunks],
                lambda: heads._evaluate(prepared, [boxes]),
            ],
            repeats,
            "cpu",
        )
    return [
        ("FCIS: classes, offsets and inside scores / product", read, product),
        ("FCIS: the same and all masks / product", masks, product),
    ]


def measure_deformable(size: tuple[int, int], repeats: int) -> Row:
    """Return the seconds of Deformable Mask R-CNN and of Mask R-CNN on an image (H, W)."""
    names = ("deformable_maskrcnn_fpn_r101", "maskrcnn_fpn_r101")
    deformed, plain = (gatezoo.create_model(name, num_classes=CLASSES).eval() for name in names)
    deformed.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(3, *size)
    with torch.inference_mode():
        times = medians([lambda: deformed([image]), lambda: plain([image])], repeats, "cpu")
    return (" / ".join(names), *times)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1066), metavar=("H", "W"), help="of the image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--heads", action="store_true", help="measure the heads alone")
    args = parser.parse_args()
    rows = measure_heads(args.size, args.repeats)
    if not args.heads:
        rows.append(measure_deformable(args.size, args.repeats))
    table = Table("", "s", "beside s", "ratio")
    for title, seconds, beside in rows:
        table.add_row(title, f"{seconds:.3f}", f"{beside:.3f}", f"{seconds / beside:.3f}")
    table_console().print(table)


if __name__ == "__main__":
    main()
