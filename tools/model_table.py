"""Write the generated tables of the pages from the registry, the manifest and the recipes.

Usage::

    python tools/model_table.py            # write
    python tools/model_table.py --check    # exit code 1 if a page is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gatezoo
from gatezoo.inference.passes import MAX_ITERATIONS
from gatezoo.metrics.names import METRICS, format_metric
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.pretrained import PretrainedCfg
from gatezoo.recipes.experiments import experiments, format_metrics
from gatezoo.segmenters.recurrent import IterativeSegmenter
from gatezoo.utils.files import write_text

PACKAGE = Path(gatezoo.__file__).parent
SEMANTIC_METRICS = ("miou", "pixel_accuracy", "mean_accuracy")
INSTANCE_METRICS = ("mask_ap", "mask_ap50", "box_ap")


def table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def models() -> str:
    """Return the table of all models. Each is built once, on the meta device."""

    def rows() -> Iterator[list[str]]:
        for name in gatezoo.list_models(exclude_filters="test_*"):
            model = on_meta(name)
            gmacs = f"{count_gmacs(model, 512, 512):.1f}"
            if isinstance(model, IterativeSegmenter):
                gmacs += f" (T = {model.iterations}; {count_gmacs(model, 512, 512, iterations=1):.1f} at T = 1)"
            tags = ", ".join(tagged.partition(".")[2] for tagged in gatezoo.list_pretrained(name))
            backbone, parameters = model.backbone, f"{count_parameters(model) / 1e6:.2f}"
            yield [f"`{name}`", backbone.name, str(backbone.output_stride), parameters, gmacs, tags]

    return table(["model", "backbone", "output stride", "parameters (M)", "GMAC, 512x512", "weights"], rows())


def results() -> str:
    """Return the scores of bundled weights for semantic segmentation."""

    def rows() -> Iterator[list[str]]:
        for cfg in pretrained_cfgs("semantic"):
            measured_on = cfg.metrics["protocol"].partition(",")[0]
            yield [f"`{cfg.name}`", measured_on, *scores(cfg, SEMANTIC_METRICS), *file_cells(cfg)]

    titles = [METRICS[key].title for key in SEMANTIC_METRICS]
    return table(["weights", "measured on", *titles, "file", "license"], rows())


def passes() -> str:
    """Return the scores of bundled recurrent networks after each iteration, and with ``iterations="auto"``."""

    def rows() -> Iterator[list[str]]:
        for cfg in pretrained_cfgs("semantic"):
            if auto := cfg.metrics.get("auto"):
                by_pass = [
                    " ".join(percent(key, value) for value in cfg.metrics[f"{key}_by_iterations"])
                    for key in ("miou", "ece")
                ]
                saved = 1 - auto["iterations"] / auto["max_iterations"]
                miou = [percent("miou", auto[key]) for key in ("miou", "miou_at_max_iterations")]
                yield [f"`{cfg.name}`", *by_pass, f"{auto['iterations']:.1f}", f"{100 * saved:.0f}", *miou]

    columns = ["weights", "mIoU at T = 1, 2, 3, 4", "calibration error at T = 1, 2, 3, 4"]
    return table([*columns, "auto: mean T", "passes saved", "mIoU", f"mIoU at T = {MAX_ITERATIONS}"], rows())


def instances() -> str:
    """Return the scores of bundled weights for instance segmentation."""
    rows = ([f"`{cfg.name}`", *scores(cfg, INSTANCE_METRICS), *file_cells(cfg)] for cfg in pretrained_cfgs("instance"))
    return table(["weights", *(METRICS[key].title for key in INSTANCE_METRICS), "file", "license"], rows)


def small() -> str:
    """Return the papers' experiments that were measured here, one table for each source, beside the papers' scores."""
    sources: dict[str, list[list[str]]] = {}
    for name, experiment in experiments().items():
        if experiment.results:
            title = f"{experiment.paper.partition(':')[0]}: {experiment.source}"
            row = [f"`{name}`", format_metrics(experiment.paper_results), format_metrics(experiment.results)]
            sources.setdefault(title, []).append(row)
    columns = ["experiment", "the paper", "here"]
    return "\n".join(f"\n{title}\n\n{table(columns, iter(rows))}" for title, rows in sources.items())


def papers() -> str:
    """Return the papers' experiments with the papers' scores, one table for each paper."""
    by_paper: dict[str, list[list[str]]] = {}
    for name, experiment in experiments().items():
        if experiment.paper and not experiment.results:
            row = [f"`{name}`", experiment.source, format_metrics(experiment.paper_results)]
            by_paper.setdefault(experiment.paper, []).append(row)
    columns = ["experiment", "source", "the paper"]
    return "\n".join(f"\n{title}\n\n{table(columns, iter(rows))}" for title, rows in by_paper.items())


def pretrained_cfgs(task: str) -> Iterator[PretrainedCfg]:
    """Yield the configs of all published weights for a task."""
    for name in gatezoo.list_models(pretrained=True, task=task):
        if cfg := gatezoo.get_pretrained_cfg(name):
            yield cfg


def scores(cfg: PretrainedCfg, keys: Sequence[str]) -> list[str]:
    return [percent(key, cfg.metrics[key]) if key in cfg.metrics else "" for key in keys]


def percent(key: str, value: float) -> str:
    return format_metric(key, value).removesuffix(" %")


def file_cells(cfg: PretrainedCfg) -> list[str]:
    return [f"{cfg.size / 1e6:.1f} MB", cfg.license]


# The page of each table, which stands between the lines <!-- NAME --> and <!-- end of NAME -->.
TABLES: dict[Callable[[], str], Path] = {
    models: PACKAGE / "models/README.md",
    results: PACKAGE / "weights/README.md",
    passes: PACKAGE / "weights/README.md",
    instances: PACKAGE / "weights/README.md",
    small: PACKAGE / "recipes/README.md",
    papers: PACKAGE / "recipes/README.md",
}


def fill(text: str, name: str, content: str, page: Path) -> str:
    """Replace the text between the two marks of a table.

    Raises:
        ValueError: the page lacks the marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, start_found, rest = text.partition(start)
    _, end_found, after = rest.partition(end)
    if not (start_found and end_found):
        raise ValueError(f"{page} must contain the lines {start.strip()} and {end}, in this order")
    return f"{before}{start}{content}\n{end}{after}"


def outdated_pages() -> dict[Path, str]:
    """Return the new text of each page whose tables are out of date."""
    texts = {page: page.read_text(encoding="utf-8") for page in TABLES.values()}
    new = dict(texts)
    for make, page in TABLES.items():
        new[page] = fill(new[page], make.__name__, make(), page)
    return {page: text for page, text in new.items() if text != texts[page]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    outdated = outdated_pages()
    for page, text in outdated.items():
        if check:
            print(f"the tables of {page} are out of date: run python tools/model_table.py", file=sys.stderr)
        else:
            write_text(page, text)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
