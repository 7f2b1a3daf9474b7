"""Write the comparison with other libraries: the table of the models' page and the chart, from the measured CSV.

Usage::

    python tools/benchmark.py --peers        # measure, then write all three
    python tools/peers_page.py               # write table and chart from the CSV
    python tools/peers_page.py --check       # exit code 1 if the table is out of date
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from model_table import PACKAGE, fill, table
from PIL import Image
from zoo_runs import machine_name

import gatezoo
from gatezoo.utils.environment import versions
from gatezoo.utils.files import atomic_write, write_text
from gatezoo.visualization.figures import figure_to_image, new_figure

PAGE, CSV = PACKAGE / "models/README.md", PACKAGE / "models/peers.csv"
CHART = PACKAGE.parent / ".github/peers.png"
MARK = "peers"

Row = dict[str, str]
# (names, (height, width), repeats) -> rows
Measure = Callable[[Sequence[str], tuple[int, int], int], list[dict]]


@dataclass(frozen=True)
class Group:
    """Networks that are measured in turn, since they are compared.

    Attributes:
        names: the baseline first; peers as NAME/PEER.
        size: height and width of the image.
        repeats: runs of each.
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    repeats: int


def _large(*names: str) -> Group:
    return Group(names, (512, 512), 3)


def _small(*names: str) -> Group:
    return Group(names, (360, 480), 9)


GROUPS = (
    _large("fcn_resnet50_8s", "dignet_resnet50_8s", "fcn_resnet50_8s/torchvision_fcn"),
    _large("fcn_resnet50_32s", "rignet_r50_pf", "fcn_resnet50_32s/smp_unet"),
    _large("pspnet_r50", "gff_pspnet_r50", "pspnet_r50/smp_pspnet"),
    _large(
        "deeplabv3_resnet50",
        "depthgate_r50",
        "deeplabv3_resnet50/torchvision_deeplabv3",
        "deeplabv3_resnet50/smp_deeplabv3plus",
    ),
    _large("fpn_r50", "zigzag_r50", "fpn_r50/smp_fpn"),
    _small("fcn_lite0_8s", "dignet_lite0_8s"),
    _small("pspnet_lite0", "gff_pspnet_lite0_nodfp", "pspnet_lite0/smp_pspnet"),
    _small("fpn_lite0", "zigzag_lite0", "zigzag_lite0_no_fusion", "fpn_lite0/smp_fpn"),
    _small("fcn_mobilenetv2_32s", "rignet_mobilenetv2_32s_pf", "fcn_mobilenetv2_32s/smp_unet"),
    _small(
        "depthgate_mobilenetv2_baseline",
        "depthgate_mobilenetv2",
        "depthgate_mobilenetv2_baseline/smp_deeplabv3plus",
    ),
)


def measure_page(measure: Measure, groups: Sequence[Group], path: Path, resume: bool) -> None:
    """Measure groups into a CSV, which is written after each of them.

    Args:
        measure: measures a group.
        groups: in the order of the table.
        path: of the CSV.
        resume: keep the groups that it has, if it was measured on this machine and with these packages.
    """
    about = environment()
    old = [row for row in read(path) if all(row[key] == value for key, value in about.items())] if resume else []
    rows: list[dict] = []
    for group in groups:
        name = f"{group.names[0]} {group.size[0]}x{group.size[1]}"
        kept = [row for row in old if row["group"] == name]
        if [row["network"] for row in kept] != [one.rpartition("/")[2] for one in group.names]:
            print(name, flush=True)
            kept = [{"group": name} | row | about for row in measure(group.names, group.size, group.repeats)]
        rows += kept
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())


def environment() -> Row:
    """Return what the times depend on besides the networks."""
    packages = versions("gatezoo", "segmentation-models-pytorch", "onnxruntime")
    return {"machine": machine_name(torch.device("cpu")), "threads": str(torch.get_num_threads()), **packages}


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def peers(rows: Sequence[Row]) -> str:
    """Return a table for each backbone, what it was measured on, and the chart."""
    if not rows:
        return "Not measured yet."
    parts = []
    for backbone, part in groupby(rows, lambda row: row["backbone"]):
        first, *_ = own = list(part)
        title = f"**`{backbone}`, {first['width']} x {first['height']}**"
        columns = ["network", "stride", "ms eager", "ratio", "ms exported", "ratio", "GMAC", "ratio"]
        columns += ["parameters (M)", "peak MiB", "load, s", "export, s"]
        parts.append(f"{title}\n\n{table(columns, (_cells(row, first) for row in own))}")
    drawing = f"![mIoU on CamVid over milliseconds](../../{CHART.relative_to(PACKAGE.parent)})"
    return "\n\n".join([*parts, _measured_on(rows), drawing])


def _cells(row: Row, first: Row) -> list[str]:
    size = ["height", "width"]
    padded = "" if [row[k] for k in size] == [first[k] for k in size] else f" at {row['width']} x {row['height']}"
    passes = f" (T = {row['iterations']})" if row["iterations"] else ""
    cells = [f"`{row['network']}`{passes}{padded}", row["stride"]]
    for value, ratio, digits in (("eager_ms", "eager", 0), ("onnx_ms", "onnx", 0), ("gmac", "gmac", 1)):
        cells += [f"{float(row[value]):.{digits}f}", f"{float(row[f'{ratio}_ratio']):.2f}"]
    return [*cells, f"{float(row['params_m']):.2f}", row.get("peak_mib", ""), row["load_s"], row["export_s"]]


def _measured_on(rows: Sequence[Row]) -> str:
    first = rows[0]
    packages = ", ".join(f"{name} {first[name]}" for name in versions("segmentation-models-pytorch", "onnxruntime"))
    return f"Measured on {first['machine']} with {first['threads']} threads; {packages}; [`{CSV.name}`]({CSV.name})."


def chart(rows: Sequence[Row]) -> Image.Image:
    """Draw the accuracy of bundled weights on CamVid over the time of an image, eager and exported."""
    figure = new_figure("the chart of accuracy over time", 8, 4.5)
    axes = figure.add_subplot()
    for row, miou in _with_scores(rows):
        eager, exported = float(row["eager_ms"]), float(row["onnx_ms"])
        axes.plot((exported, eager), (miou, miou), color="#9aa5b1", zorder=1)
        axes.scatter(eager, miou, facecolors="white", edgecolors="#4878a8", label="eager")
        axes.scatter(exported, miou, color="#4878a8", label="ONNX Runtime")
        axes.annotate(row["network"], (min(exported, eager), miou), (-3, 6), textcoords="offset points")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
    axes.legend(handles.values(), handles, frameon=False, loc="lower right")
    axes.set(xlabel="ms for an image of 480 x 360", ylabel="mIoU on CamVid val, %", xlim=(0, None))
    axes.margins(x=0.15, y=0.15)
    axes.grid(alpha=0.3)
    return figure_to_image(figure)


def _with_scores(rows: Sequence[Row]) -> Iterator[tuple[Row, float]]:
    """Yield the rows of networks with weights for CamVid, and their mIoU in per cent."""
    for row in rows:
        cfg = gatezoo.get_pretrained_cfg(row["network"]) if gatezoo.is_model(row["network"]) else None
        if cfg and cfg.tag == "camvid":
            yield row, 100 * cfg.metrics["miou"]


def new_page(rows: Sequence[Row]) -> str:
    """Return the text of the page with the table of these rows."""
    return fill(PAGE.read_text(encoding="utf-8"), MARK, peers(rows), PAGE)


def write_page() -> None:
    """Write table and chart from the CSV."""
    rows = read(CSV)
    write_text(PAGE, new_page(rows))
    if rows:
        atomic_write(CHART, lambda path: chart(rows).quantize(64).save(path, optimize=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the table is out of date")
    if not parser.parse_args().check:
        write_page()
    elif new_page(read(CSV)) != PAGE.read_text(encoding="utf-8"):
        print(f"the comparison in {PAGE} is out of date: run python tools/peers_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
