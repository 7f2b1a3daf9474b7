"""Report of a data check as a table and as lines of text."""

from __future__ import annotations

from collections import defaultdict

from rich.markup import escape
from rich.table import Table

from .report import Issue, Report


def report_table(report: Report) -> Table:
    """Make a table of the classes: share of the labeled pixels, number of images that hold them, loss weights."""
    labeled = int(report.pixels.sum())
    total = labeled + report.ignored
    caption = f"{report.pairs} images with labels; suggested: num_classes {report.num_classes}, ignore_index "
    caption += f"{report.ignore_index} ({report.ignored / max(total, 1):.2%} of the pixels)"
    table = Table(caption=caption)
    for name in ("class", "name", "pixels", "images", "weight sqrt", "weight inverse"):
        table.add_column(name, justify="left" if name == "name" else "right")
    weights = [report.weights(kind) for kind in ("sqrt", "inverse")]
    for k, name in enumerate(report.classes):
        shown = ["" if weight is None else f"{weight[k]:.3f}" for weight in weights]
        table.add_row(
            str(k), escape(name), f"{report.class_frequencies[k]:.3%}", str(int(report.images_with[k])), *shown
        )
    return table


def report_lines(report: Report, limit: int | None = 10) -> list[str]:
    """Return a line for each issue, errors first, and a last one with their numbers.

    Args:
        report: the result of a check.
        limit: most issues of a kind to list; None: all of them.
    """
    by_kind: dict[tuple[bool, str], list[Issue]] = defaultdict(list)
    for issue in report.errors + report.warnings:
        by_kind[issue.fatal, issue.kind].append(issue)
    lines: list[str] = []
    for issues in by_kind.values():
        lines += map(str, issues[:limit])
        if limit is not None and len(issues) > limit:
            lines.append(f"... and {len(issues) - limit} more of this kind: pass --all to list them")
    counts = {"error": len(report.errors), "warning": len(report.warnings)}
    return [*lines, ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())]
