"""The queue of trainings: order, results, statistics and tables, and one queue that is stopped and resumed."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import commands
from helpers.paths import ROOT
from helpers.trees import DRAWERS

sys.path.append(str(ROOT / "tools"))

import train_zoo
import zoo_tables
from zoo_runs import Run, plan

QUEUE = """
source: tiny networks
dataset: camvid
train_split: train
val_split: val
recipe: {steps: 2, batch_size: 2, crop_size: 48, amp_dtype: none, eval_interval: 1000}
experiments:
  test_fcn.camvid: {model: test_fcn}
  test_dignet.camvid:
    model: test_dignet
    initial_weights: test_fcn.camvid
    protocol: {iterations: 3, merge: mean}
    recipe: {steps: 40, log_interval: 1}
tables:
  first: {title: Tiny, baseline: test_fcn.camvid, others: [test_dignet.camvid], seeds: [0, 1]}
  second: {title: Alone, baseline: test_dignet.camvid, others: [], seeds: [1, 2]}
"""
FCN, DIGNET = "test_fcn.camvid", "test_dignet.camvid"


@pytest.fixture
def queue(tmp_path):
    (tmp_path / "queue.yaml").write_text(QUEUE)
    return zoo_tables.read_queue(tmp_path / "queue.yaml")


def result(queue, name, seed, miou, number=1, iterations=1):
    recipe = zoo_tables.fingerprint(queue.experiments[name])
    return {"experiment": name, "seed": seed, "pass": number, "iterations": iterations, "miou": miou, "recipe": recipe}


def test_plan_goes_seed_by_seed_with_each_training_once_and_after_its_start(queue, tmp_path):
    runs = plan(queue, ["first", "second"], tmp_path)
    assert [str(run) for run in runs] == [f"{name} seed {seed}" for seed in range(3) for name in (FCN, DIGNET)]
    assert [run.start for run in runs] == [None, runs[0], None, runs[2], None, runs[4]]
    assert runs[1].folder == tmp_path / DIGNET / "seed0"
    assert (runs[0].iterations, runs[1].iterations) == (1, 2)
    assert train_zoo.next_run(runs[1:]) is runs[2], "the start of the second is not trained"


def test_paired_difference_is_that_of_common_seeds():
    baseline, other = {0: 0.50, 1: 0.52, 2: 0.51, 7: 0.9}, {2: 0.54, 0: 0.51, 1: 0.52, 8: 0.1}
    found = zoo_tables.paired_difference(other, baseline)
    # Differences .01, 0 and .03: mean .04 / 3, variance (.0001 + .0009) / 2 - 3 / 2 mean^2; t(.975, 2) = 4.302653.
    mean = 0.04 / 3
    half = 4.302653 * math.sqrt(((0.0001 + 0.0009) - 3 * mean**2) / 2 / 3)
    assert found.seeds == 3
    assert found.mean == pytest.approx(mean)
    assert found.interval == pytest.approx((mean - half, mean + half), rel=1e-6)
    assert zoo_tables.paired_difference({0: 0.5, 1: 0.6}, {1: 0.5}) == zoo_tables.Difference(
        pytest.approx(0.1), None, 1
    )
    assert zoo_tables.paired_difference({0: 0.5}, {1: 0.5}) is None


def test_table_has_mean_deviation_difference_and_passes(queue, tmp_path):
    rows = [result(queue, FCN, seed, 0.5 + 0.01 * seed) for seed in (0, 1)]
    rows += [result(queue, DIGNET, seed, 0.49, 1, 2) for seed in (0, 1)]
    rows += [result(queue, DIGNET, seed, 0.52 + 0.03 * seed, 2, 2) for seed in (0, 1)]
    rows += [result(queue, FCN, 2, 0.1) | {"recipe": "an old one"}]
    zoo_tables.record(tmp_path / "r.csv", rows)
    text = zoo_tables.comparison_text(queue, queue.tables["first"], zoo_tables.read_results(tmp_path / "r.csv"))
    # Differences 2 and 4: mean 3, deviation sqrt(2), t(.975, 1) = 12.7062.
    title, _, *lines = text.strip().splitlines()
    assert title == (
        "**Tiny**: `python tools/train_zoo.py queue.yaml --table first --data-dir DATA --out RUNS "
        "--pretrained-backbone FILE`"
    )
    assert lines == [
        "| experiment | seeds | mIoU | difference in mIoU | mIoU by pass |",
        "| --- | --- | --- | --- | --- |",
        f"| `{FCN}` | 2 | 50.50 ± 0.71 |  |  |",
        f"| `{DIGNET}` | 2 | 53.50 ± 2.12 | +3.00 (-9.71 to +15.71, n = 2) | 49.00 53.50 |",
    ]
    assert zoo_tables.comparison_text(queue, queue.tables["first"], []).endswith("\n\nNot measured.")


def test_recording_again_replaces_the_rows_of_a_training(queue, tmp_path):
    path = tmp_path / "r.csv"
    passes = [result(queue, DIGNET, 1, 0.4, number, 2) for number in (1, 2, 10)]
    zoo_tables.record(path, [result(queue, FCN, 0, 0.5)])
    zoo_tables.record(path, passes)
    zoo_tables.record(path, [result(queue, DIGNET, 0, 0.3)])
    before = path.read_text()
    zoo_tables.record(path, passes[::-1])
    assert path.read_text() == before
    zoo_tables.record(path, passes[:2])
    keys = [(row["experiment"], row["seed"], row["pass"]) for row in zoo_tables.read_results(path)]
    assert keys == [(DIGNET, "0", "1"), (DIGNET, "1", "1"), (DIGNET, "1", "2"), (FCN, "0", "1")]


def test_page_is_checked_and_written(queue, tmp_path, monkeypatch, capsys):
    page, results = tmp_path / "page.md", tmp_path / "r.csv"
    page.write_text("".join(f"<!-- queue.{name} -->\nold\n<!-- end of queue.{name} -->\n" for name in queue.tables))
    for name, value in (("PAGE", page), ("RESULTS", results), ("zoo_queues", lambda: [queue])):
        monkeypatch.setattr(train_zoo, name, value)
    zoo_tables.record(results, [result(queue, FCN, 0, 0.5)])
    assert train_zoo.main(["--check"]) == 1
    assert "are out of date: run python tools/train_zoo.py --tables-only" in capsys.readouterr().err
    assert train_zoo.main(["--tables-only"]) == 0
    assert f"| `{FCN}` | 1 | 50.00 |" in page.read_text()
    assert train_zoo.main(["--check"]) == 0


def test_tables_of_the_recipes_page_are_up_to_date():
    assert train_zoo.main(["--check"]) == 0


def test_others_of_the_zoo_have_one_recipe_or_one_network():
    for queue in zoo_tables.zoo_queues():
        for table in queue.tables.values():
            rows = [queue.experiments[name] for name in table.rows]
            assert len({row.recipe for row in rows}) == 1 or len({row.model for row in rows}) == 1, table.name
            assert len({(row.recipe.steps, row.dataset, row.start) for row in rows}) == 1, table.name


def test_folder_of_another_recipe_is_refused(queue, tmp_path, capsys):
    (run,) = plan(queue, ["second"], tmp_path / "runs")[:1]
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text(json.dumps({"recipe": "another"}))
    arguments = ["--table", "second", "--data-dir", tmp_path, "--out", tmp_path / "runs", "--results", tmp_path / "r"]
    (tmp_path / "queue.yaml").write_text(QUEUE.replace("seeds: [1, 2]", "seeds: [1]"))
    assert train_zoo.main([str(argument) for argument in (tmp_path / "queue.yaml", *arguments)]) == 1
    out = capsys.readouterr().out
    assert f"{FCN} seed 1: FAILED, {run.folder} holds a training by another recipe: remove it" in out
    assert f"left: {DIGNET} seed 1" in out


def test_unknown_rows_and_missing_starts_are_refused(queue, tmp_path, monkeypatch, capsys):
    arguments = "train", "--recipe", f"{queue.path}:{DIGNET}", "--data-dir", tmp_path, "--out", tmp_path / "out"
    code, _, err = commands.run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert f"initial weights of {DIGNET} must be the last ones of {FCN}, of the same seed; got none" in err
    (tmp_path / "bad.yaml").write_text(QUEUE.replace("baseline: test_fcn", "baseline: test_fcnn"))
    with pytest.raises(ValueError, match=r"a row of table 'first' must be one of .*; got 'test_fcnn\.camvid'"):
        zoo_tables.read_queue(tmp_path / "bad.yaml")


@pytest.mark.slow
def test_queue_is_stopped_and_resumed(queue, tmp_path, monkeypatch, capsys):
    """Two networks and two seeds; the second training is stopped in the middle."""
    data, runs, results = tmp_path / "data", tmp_path / "runs", tmp_path / "results.csv"
    DRAWERS["camvid"](data)
    command = [sys.executable, ROOT / "tools/train_zoo.py", queue.path, "--table", "first", "--data-dir", data]
    command += ["--out", runs, "--results", results, "--workers", "0", "--device", "cpu", "--commit", "abc"]
    options = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "text": True}
    training = Run(queue.experiments[DIGNET], 0, runs / DIGNET / "seed0", None)

    first = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    log = training.folder / "log.txt"
    while first.poll() is None and not (log.exists() and "step 5/40" in log.read_text()):
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    out = first.communicate()[0]
    assert first.returncode == 128 + signal.SIGTERM, out
    step = training.step
    assert 5 <= step < 40
    assert f"{DIGNET} seed 0: stopped at step {step} of 40" in out
    assert [row["experiment"] for row in zoo_tables.read_results(results)] == [FCN]

    second = subprocess.run([*command, "--jobs", "2"], capture_output=True, **options)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"{DIGNET} seed 0: training from step {step} to 40" in second.stdout
    rows = list(csv.DictReader(results.open()))
    keys = [(row["experiment"], int(row["seed"]), int(row["pass"])) for row in rows]
    assert keys == [(DIGNET, seed, number) for seed in (0, 1) for number in (1, 2, 3)] + [(FCN, 0, 1), (FCN, 1, 1)]
    assert {(row["steps"], row["iterations"], row["commit"]) for row in rows} == {
        ("40", "2", "abc"),
        ("2", "1", "abc"),
    }
    assert all(float(row["cpu_s"]) > 0 and float(row["wall_s"]) > 0 and row["machine"] for row in rows)

    # The passes are merged as the protocol says.
    merged = {(row["experiment"], row["pass"]): row["merged_miou"] for row in rows if row["seed"] == "0"}
    assert [key for key, value in merged.items() if value] == [(DIGNET, "2")]
    report = json.loads((runs / DIGNET / "seed0/scores/scores.json").read_text())
    assert report["protocol"]["merge"] == "mean"
    assert float(merged[DIGNET, "2"]) == pytest.approx(report["scores"]["miou"], abs=1e-6)

    before = results.read_bytes()
    third = subprocess.run(command, capture_output=True, **options)
    assert (third.returncode, results.read_bytes()) == (0, before)
    assert third.stdout.count("\n") == 1
    assert "0 of 4 trainings to do" in third.stdout
    listed = subprocess.run([*command, "--list"], capture_output=True, **options).stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["done"] * 4

    # A table with scores on corrupted images has them measured, without training again.
    metrics = "metrics: [miou, corrupted_miou]"
    queue.path.write_text(QUEUE.replace("seeds: [0, 1]}", f"seeds: [0], {metrics}}}"))
    listed = subprocess.run([*command, "--list"], capture_output=True, **options).stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["scored"] * 2
    fourth = subprocess.run(command, capture_output=True, **options)
    assert fourth.returncode == 0, fourth.stdout + fourth.stderr
    assert "training from" not in fourth.stdout
    found = {(row["experiment"], row["seed"], row["pass"]): row for row in csv.DictReader(results.open())}
    assert len(found) == len(rows)
    corrupted = {key: row for key, row in found.items() if row["corrupted_miou"]}
    assert list(corrupted) == [(DIGNET, "0", "2"), (FCN, "0", "1")]
    for key, row in corrupted.items():
        with (runs / key[0] / "seed0/corrupted/corruptions.csv").open() as file:
            scores = [float(one["miou"]) for one in csv.DictReader(file) if one["corruption"] != "none"]
        by_name = json.loads(row["corrupted"])
        assert [score for severities in by_name.values() for score in severities] == pytest.approx(scores, abs=1e-4)
        assert {len(severities) for severities in by_name.values()} == {3}
        assert float(row["corrupted_miou"]) == pytest.approx(sum(scores) / len(scores), abs=1e-4)
        assert float(row["corrupted_miou"]) != float(row["miou"])
        assert [row[name] for name in ("miou", "cpu_s")] == [
            rows[keys.index((key[0], 0, int(key[2])))][name] for name in ("miou", "cpu_s")
        ]
    assert "0 of 2 trainings to do" in subprocess.run(command, capture_output=True, **options).stdout

    # The same training by hand, without a break.
    options = ["--data-dir", data, "--device", "cpu", "--workers", 0]
    start = ["--initial-checkpoint", runs / FCN / "seed0/last.safetensors", "--out", tmp_path / "alone"]
    code, _, err = commands.run(
        monkeypatch, capsys, "train", "--recipe", f"{queue.path}:{DIGNET}", "--seed", 0, *start, *options
    )
    assert code == 0, err
    alone = tmp_path / "alone/last.safetensors"
    where = ["--dataset", "camvid", "--split", "val", "--out", tmp_path / "scores", "--iterations", 1]
    assert commands.run(monkeypatch, capsys, "eval", alone, *where, *options)[0] == 0
    scores = json.loads((tmp_path / "scores/scores.json").read_text())["scores"]
    assert float(rows[0]["miou"]) == pytest.approx(scores["miou"], abs=1e-6)
    assert list(json.loads(rows[0]["iou"]).values()) == pytest.approx(scores["iou"], abs=1e-4)
