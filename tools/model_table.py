"""Write the tables of the README from the registry and the manifest: python tools/model_table.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

import gatezoo
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.recipes.experiments import experiments, format_metrics
from gatezoo.segmenters.recurrent import IterativeSegmenter
from gatezoo.utils.files import atomic_write

README = Path(__file__).resolve().parent.parent / "README.md"


def models() -> str:
    lines = [
        "| model | backbone | output stride | parameters (M) | GMAC, 512x512 | weights |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in gatezoo.list_models(exclude_filters="test_*"):
        model = on_meta(name)
        counts = f"{count_gmacs(model, 512, 512):.1f}"
        if isinstance(model, IterativeSegmenter):
            counts += f" (T = {model.iterations}; {count_gmacs(model, 512, 512, iterations=1):.1f} at T = 1)"
        tags = ", ".join(tagged.partition(".")[2] for tagged in gatezoo.list_pretrained(name))
        net = model.backbone
        lines.append(
            f"| `{name}` | {net.name} | {net.output_stride} | {count_parameters(model) / 1e6:.2f} | {counts} | {tags} |"
        )
    return "\n".join(lines)


def results() -> str:
    lines = [
        "| weights | measured on | mIoU | pixel accuracy | mean accuracy | mIoU at T = 1, 2, 3, 4 | file | licence |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in _pretrained("semantic"):
        cfg = gatezoo.get_pretrained_cfg(name)
        figures = cfg.metrics
        passes = " ".join(f"{100 * value:.1f}" for value in figures.get("miou_by_iterations", []))
        measured = (figures.get(key) for key in ("miou", "pixel_accuracy", "mean_accuracy"))
        scores = " | ".join("" if value is None else f"{100 * value:.1f}" for value in measured)
        data = figures["protocol"].partition(",")[0]
        lines.append(f"| `{name}` | {data} | {scores} | {passes} | {cfg.size / 1e6:.1f} MB | {cfg.license} |")
    return "\n".join(lines)


def objects() -> str:
    lines = [
        "| weights | mask AP | mask AP at IoU .5 | box AP | file | licence |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in _pretrained("instance"):
        cfg = gatezoo.get_pretrained_cfg(name)
        scores = " | ".join(f"{100 * cfg.metrics[key]:.1f}" for key in ("mask_ap", "mask_ap50", "box_ap"))
        lines.append(f"| `{name}` | {scores} | {cfg.size / 1e6:.1f} MB | {cfg.license} |")
    return "\n".join(lines)


def small() -> str:
    """The papers' experiments that were measured here, the papers' figures beside ours."""
    tables: dict[str, list[str]] = {}
    for name, experiment in experiments().items():
        if experiment.results:
            title = f"{experiment.paper.partition(':')[0]}: {experiment.source}"
            head = [f"\n{title}\n", "| experiment | the paper | here |", "| --- | --- | --- |"]
            row = f"| `{name}` | {format_metrics(experiment.paper_results)} | {format_metrics(experiment.results)} |"
            tables.setdefault(title, head).append(row)
    return "\n".join(line for lines in tables.values() for line in lines)


def _pretrained(task: str) -> list[str]:
    return gatezoo.list_models(pretrained=True, task=task)


def filled(text: str) -> str:
    """The README with what stands between its marks replaced."""
    for mark, table in (("models", models()), ("results", results()), ("objects", objects()), ("small", small())):
        start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"README.md must hold the lines {start.strip()} and {end}, in this order")
        text = before + start + table + "\n" + end + after
    return text


def main() -> int:
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if filled(text) != text:
            print("the tables of README.md are out of date: run python tools/model_table.py", file=sys.stderr)
            return 1
        return 0
    new = filled(text)
    atomic_write(README, lambda path: path.write_text(new, encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
