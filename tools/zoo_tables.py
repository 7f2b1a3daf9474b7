"""Results of the zoo's own trainings: the rows of results.csv, and the tables of the recipes' page made from them."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from model_table import fill, table
from scipy import stats

from gatezoo.metrics.names import metric_info
from gatezoo.recipes.experiments import Experiment, read_experiments
from gatezoo.recipes.recipe import Recipe
from gatezoo.utils.choices import check_choice, check_fields
from gatezoo.utils.files import write_text

RECIPES = Path(__file__).resolve().parent.parent / "gatezoo/recipes"
# Scores that have a column; the IoU of each class is in one more, as JSON, and so are those of each corruption and
# severity, of whose mIoU "corrupted_miou" is the mean; "merged_miou" is that of merged passes.
METRICS = ("miou", "corrupted_miou", "merged_miou", "pixel_accuracy", "mask_ap", "box_ap", "count_error")
METRICS += ("delta1", "delta2", "delta3", "abs_rel", "rmse")
COLUMNS = ("experiment", "seed", "pass", "iterations", "steps", *METRICS)
COLUMNS += ("wall_s", "cpu_s", "machine", "cores", "version", "commit", "recipe", "iou", "corrupted")

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Rows that are compared with a baseline over seeds.

    Attributes:
        name: of the table, unique in its file.
        title: of the table.
        baseline: experiment of the first row.
        others: experiments that are compared with it.
        seeds: of each of them.
        metrics: that the table shows.
    """

    name: str
    title: str
    baseline: str
    others: Sequence[str]
    seeds: Sequence[int]
    metrics: Sequence[str] = ("miou",)

    @property
    def rows(self) -> list[str]:
        """The names of all experiments, the baseline first."""
        return [self.baseline, *self.others]


@dataclass(frozen=True)
class Queue:
    """The experiments of a file, and the tables that compare them.

    Attributes:
        path: of the file.
        experiments: by name.
        tables: by name, in the order in which they are trained.
    """

    path: Path
    experiments: dict[str, Experiment]
    tables: dict[str, Comparison]

    def is_corrupted(self, experiment: str) -> bool:
        """Return whether a table shows the scores of an experiment on corrupted images."""
        return any("corrupted_miou" in table.metrics and experiment in table.rows for table in self.tables.values())


def read_queue(path: Path) -> Queue:
    """Read a file of experiments with tables.

    Raises:
        ValueError: no such file, or a name or a field in it that does not exist.
    """
    experiments, tables = read_experiments(path), {}
    for name, values in yaml.safe_load(path.read_text(encoding="utf-8")).get("tables", {}).items():
        check_fields(f"table {name!r}", values, (field.name for field in dataclasses.fields(Comparison)))
        tables[name] = Comparison(name, **values)
        for row in tables[name].rows:
            check_choice(f"a row of table {name!r}", row, experiments)
        for metric in tables[name].metrics:
            check_choice(f"a metric of table {name!r}", metric, METRICS)
    return Queue(path.resolve(), experiments, tables)


def fingerprint(experiment: Experiment) -> str:
    """Return a hash of everything in an experiment that changes its weights."""

    def changed(recipe: Recipe) -> Row:
        defaults = dataclasses.asdict(Recipe())
        return {key: value for key, value in dataclasses.asdict(recipe).items() if value != defaults[key]}

    stages = [(stage.name, stage.model_kwargs, changed(stage.recipe)) for stage in experiment.stages]
    parts = [experiment.model, experiment.model_kwargs, experiment.dataset, experiment.data, experiment.start]
    parts += [experiment.train_split, experiment.val_split, changed(experiment.recipe), stages]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def read_results(path: Path) -> list[Row]:
    """Return the rows of results.csv; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(path: Path, rows: Iterable[Row]) -> None:
    """Write rows into results.csv, in place of those of the same training. Several processes may do so."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        new = [{key: str(row.get(key, "")) for key in COLUMNS} for row in rows]
        trainings = {training(row) for row in new}
        kept = [row for row in read_results(path) if training(row) not in trainings]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept + new, key=lambda row: (*training(row), int(row["pass"]))))
        write_text(path, text.getvalue())
    finally:
        os.close(folder)


def training(row: Row) -> tuple[str, int]:
    """Return the experiment and the seed of a row."""
    return row["experiment"], int(row["seed"])


def of_experiment(rows: Iterable[Row], experiment: Experiment) -> list[Row]:
    """Return the rows of an experiment as it is now: those of an earlier recipe do not count."""
    return [row for row in rows if (row["experiment"], row["recipe"]) == (experiment.name, fingerprint(experiment))]


def final_scores(rows: Iterable[Row], metric: str) -> dict[int, float]:
    """Return the score of each seed after the network's own number of passes."""
    final = (row for row in rows if row["pass"] == row["iterations"] and row[metric])
    return {int(row["seed"]): float(row[metric]) for row in final}


@dataclass(frozen=True)
class Difference:
    """Paired difference to a baseline over the seeds that both have.

    Attributes:
        mean: of the differences.
        interval: ends of the 95 % interval of the mean, by Student's t; None for a single seed.
        seeds: number of common seeds.
    """

    mean: float
    interval: tuple[float, float] | None
    seeds: int


def paired_difference(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Compare the scores of the same seeds; None if there are none."""
    seeds = sorted(scores.keys() & baseline.keys())
    if not seeds:
        return None
    pairs = [scores[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    interval = None
    if len(seeds) > 1:
        found = stats.ttest_rel(*pairs).confidence_interval(0.95)
        interval = float(found.low), float(found.high)
    return Difference(statistics.fmean(pairs[0]) - statistics.fmean(pairs[1]), interval, len(seeds))


def comparison_text(queue: Queue, comparison: Comparison, results: Sequence[Row]) -> str:
    """Return the title, the command and the Markdown table of a comparison."""
    rows = {name: of_experiment(results, queue.experiments[name]) for name in comparison.rows}
    by_pass = any(row["iterations"] != "1" for measured in rows.values() for row in measured)

    def cells() -> Iterator[list[str]]:
        for name, measured in rows.items():
            cells = [f"`{name}`", str(len({row["seed"] for row in measured}))]
            for metric in comparison.metrics:
                scores = final_scores(measured, metric)
                cells.append(mean_text(metric, list(scores.values())))
                baseline = final_scores(rows[comparison.baseline], metric)
                cells.append("" if name == comparison.baseline else difference_text(metric, scores, baseline))
            yield cells + [pass_text(comparison.metrics[0], measured)] * by_pass

    titles = [metric_info(metric).title for metric in comparison.metrics]
    columns = ["experiment", "seeds", *(text for title in titles for text in (title, f"difference in {title}"))]
    content = table(columns + [f"{titles[0]} by pass"] * by_pass, cells()) if any(rows.values()) else "Not measured."
    command = f"python tools/train_zoo.py {queue.path.name} --table {comparison.name} --data-dir DATA --out RUNS"
    return f"\n**{comparison.title}**: `{command} --pretrained-backbone FILE`\n\n{content}"


def number_text(metric: str, value: float) -> str:
    """Format a share in per cent, and any other metric as it is."""
    return f"{100 * value:.2f}" if metric_info(metric).unit == "share" else f"{value:.3f}"


def mean_text(metric: str, scores: Sequence[float]) -> str:
    """Format "MEAN ± SAMPLE STANDARD DEVIATION"."""
    if not scores:
        return ""
    spread = f" ± {number_text(metric, statistics.stdev(scores))}" if len(scores) > 1 else ""
    return number_text(metric, statistics.fmean(scores)) + spread


def difference_text(metric: str, scores: Mapping[int, float], baseline: Mapping[int, float]) -> str:
    """Format "MEAN (LOW to HIGH, n = SEEDS)"."""

    def signed(value: float) -> str:
        return ("" if value < 0 else "+") + number_text(metric, value)

    difference = paired_difference(scores, baseline)
    if difference is None:
        return ""
    ends = "" if difference.interval is None else " to ".join(map(signed, difference.interval)) + ", "
    return f"{signed(difference.mean)} ({ends}n = {difference.seeds})"


def pass_text(metric: str, rows: Sequence[Row]) -> str:
    """Format the mean over seeds after each pass."""
    passes = sorted({int(row["pass"]) for row in rows if row[metric]})
    of_pass = ([float(row[metric]) for row in rows if row[metric] and int(row["pass"]) == number] for number in passes)
    return " ".join(number_text(metric, statistics.fmean(scores)) for scores in of_pass) if len(passes) > 1 else ""


def filled_page(page: Path, queues: Iterable[Queue], results: Sequence[Row]) -> str:
    """Return the text of a page with all tables of these queues as they follow from the results."""
    text = page.read_text(encoding="utf-8")
    for queue in queues:
        for comparison in queue.tables.values():
            name = f"{queue.path.stem}.{comparison.name}"
            text = fill(text, name, comparison_text(queue, comparison, results), page)
    return text


def zoo_queues() -> list[Queue]:
    """Return the queues that lie beside the recipes."""
    return [read_queue(path) for path in sorted(RECIPES.glob("zoo_*.yaml"))]
