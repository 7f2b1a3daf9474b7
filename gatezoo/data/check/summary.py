"""A report of the check as a table and as lines."""

from __future__ import annotations

from collections import defaultdict

from rich.table import Table

from .report import Issue, Report


def table_of(report: Report) -> Table:
    """The classes: share of the labelled pixels, number of images that hold them, and weights for the loss."""
    labels = int(report.pixels.sum())
    total = labels + report.ignored
    caption = f"{report.pairs} images with labels; suggested: num_classes {report.num_classes}, ignore_index "
    caption += f"{report.ignore_index} ({report.ignored / max(total, 1):.2%} of the pixels)"
    table = Table(caption=caption)
    for name in ("class", "name", "pixels", "images", "weight sqrt", "weight inverse"):
        table.add_column(name, justify="left" if name == "name" else "right")
    weights = [report.weights(kind) for kind in ("sqrt", "inverse")]
    for k, name in enumerate(report.classes):
        shown = ["" if weight is None else f"{weight[k]:.3f}" for weight in weights]
        table.add_row(str(k), name, f"{report.class_frequencies[k]:.3%}", str(int(report.images_with[k])), *shown)
    return table


def lines_of(report: Report, most: int | None = 10) -> list[str]:
    """A line for each problem, errors first, of each kind ``most`` at most; then how many there are."""
    kinds: dict[tuple[bool, str], list[Issue]] = defaultdict(list)
    for problem in report.errors + report.warnings:
        kinds[problem.fatal, problem.kind].append(problem)
    lines = []
    for problems in kinds.values():
        lines += map(str, problems[:most])
        if most is not None and len(problems) > most:
            lines.append(f"... and {len(problems) - most} more of this kind: --all tells them")
    counts = {"error": len(report.errors), "warning": len(report.warnings)}
    return [*lines, ", ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())]
