"""Results for the leaderboards of the Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from ..metrics.names import METRICS, headline_key
from ..pretrained import PretrainedCfg
from .card_header import dataset_of, is_number, one_line, slug

# Folder that the Hub's leaderboards read, and identifiers of a data set and of one of its tasks there.
EVAL_RESULTS = ".eval_results"
_BENCHMARK = re.compile(r"(?:(?P<data>[^=]*)=)?(?P<dataset>[\w.-]+/[\w.-]+):(?P<task>[\w.-]+)")


class Benchmark(NamedTuple):
    """A leaderboard: a data set of the Hub that is registered as a benchmark, and one of its tasks.

    Attributes:
        dataset: ``org/name``.
        task: a task that the data set's ``eval.yaml`` names.
        data: name of the training data, as :func:`dataset_of` gives it, whose weights belong there; "" for any.
    """

    dataset: str
    task: str
    data: str = ""


def parse_benchmark(text: str) -> Benchmark:
    """Parse ``[DATA=]ORG/DATASET:TASK``.

    Raises:
        ValueError: a text of another form.
    """
    match = _BENCHMARK.fullmatch(text)
    if not match:
        raise ValueError(
            f"a benchmark must be [DATA=]ORG/DATASET:TASK; got {text[:100]!r}: give the data set of the Hub and a task "
            "of its eval.yaml"
        )
    return Benchmark(match["dataset"], match["task"], match["data"] or "")


def check_benchmarks(benchmarks: Sequence[Benchmark], entries: Sequence[PretrainedCfg]) -> None:
    """Check that there is at most one benchmark for a release, or one for each of the data sets of several.

    Args:
        benchmarks: that were asked for.
        entries: of the manifest that are published together; none for a single release.

    Raises:
        ValueError: a second benchmark for a single release, or one without the training data of an entry.
    """
    if not entries:
        if len(benchmarks) > 1 or any(one.data for one in benchmarks):
            raise ValueError("one set of weights takes one --benchmark ORG/DATASET:TASK; got another: leave it out")
        return
    known = sorted({dataset_of(cfg.to_dict()) for cfg in entries})
    for one in benchmarks:
        if one.data not in known:
            raise ValueError(
                f"a benchmark with --all must name its training data, one of {', '.join(known)}; got {one.data!r}: "
                "write DATA=ORG/DATASET:TASK"
            )


def benchmark_of(entry: PretrainedCfg, benchmarks: Sequence[Benchmark]) -> Benchmark | None:
    """Return the benchmark of the training data of an entry of the manifest, if any."""
    data = dataset_of(entry.to_dict())
    return next((one for one in benchmarks if one.data == data), None)


def eval_results_file(cfg: Mapping[str, Any], benchmark: Benchmark) -> tuple[str, str]:
    """Return path and content of the file with which a leaderboard lists the weights.

    It has the main score, see :func:`gatezoo.metrics.names.headline_key`, with its name and protocol as notes. The
    format is that of https://huggingface.co/docs/hub/eval-results.

    Raises:
        ValueError: weights that were not measured.
    """
    metrics = cfg.get("metrics", {})
    key = headline_key(metrics)
    if key is None or not is_number(metrics[key]):
        raise ValueError(
            f"weights for the benchmark {benchmark.dataset} must be measured; these are not: pass --scores of "
            "'gatezoo eval --out', or leave out --benchmark"
        )
    notes = f"{METRICS[key].title} (in 0 .. 1); {one_line(metrics.get('protocol', 'unknown'))}"
    entry = EvalResultEntry(benchmark.dataset, benchmark.task, metrics[key], notes=notes)
    name = f"{slug(benchmark.dataset)}-{slug(benchmark.task)}.yaml"
    return f"{EVAL_RESULTS}/{name}", yaml_dump(eval_result_entries_to_yaml([entry]))
