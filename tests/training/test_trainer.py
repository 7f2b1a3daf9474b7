import csv
import itertools
import json
import logging
import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from helpers.paths import ROOT
from PIL import Image
from safetensors import safe_open
from torch import nn

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.class_weights import class_weights
from gatezoo.layers.normalize import Normalize
from gatezoo.losses import make_loss
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import accelerator, tasks
from gatezoo.training.launch import train_model
from gatezoo.training.objectives import SemanticObjective
from gatezoo.training.optimizers import create_optimizer, lr_factor
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.training.trainer import train
from gatezoo.training.validation_loss import ValidationLoss

QUICK = dict(batch_size=4, crop_size=48, lr=0.01, class_weights="none", amp_dtype="none")
MODEL_KWARGS = {"output_stride": 8, "head": "fcn"}


def run(shapes, out, resume=False, model_kwargs=MODEL_KWARGS, freeze_bn=False, **changes):
    recipe = Recipe(**{**QUICK, "steps": 60, "eval_interval": 60, **changes})
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    options = RunOptions(out, workers=0, resume=resume)
    source = ModelSource("test_dignet", model_kwargs=model_kwargs, freeze_bn=freeze_bn)
    return train_model(source, *data, recipe, options)


def weights_in(folder):
    with safe_open(folder / "last.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_training_learns_discs_and_the_checkpoint_describes_itself(shapes, tmp_path):
    history = run(shapes, tmp_path / "out")["history"]
    assert history[-1]["miou"] > 0.8
    assert json.loads((tmp_path / "out/history.json").read_text()) == history
    with safe_open(tmp_path / "out/best.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["gatezoo"])
    assert metadata["architecture"] == "test_dignet"
    assert metadata["class_names"] == ["ground", "disc"]
    assert metadata["model_kwargs"] == MODEL_KWARGS
    assert metadata["recipe"]["steps"] == metadata["step"] == 60
    model = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "out/best.safetensors")
    assert model.num_classes == 2
    assert model.backbone.output_stride == 8
    assert model.pretrained_cfg.class_names == ("ground", "disc")
    scores = gatezoo.evaluate(model, FolderDataset(shapes, 2))
    assert scores.miou == pytest.approx(history[-1]["miou"], abs=1e-6)
    with (tmp_path / "out/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [50, 60]
    assert float(rows[-1]["miou"]) == history[-1]["miou"]


FULL_STATE = dict(opt="adamw", ema_decay=0.9, steps=8, eval_interval=4, amp_dtype="bf16", grad_accum_steps=2)
FULL_STATE |= dict(linear_probe_steps=5, sched="wsd", crop_schedule="32@0,48@.75", late_loss="cross_entropy+lovasz")


@pytest.mark.parametrize("changes", [dict(steps=8, eval_interval=4), FULL_STATE], ids=["plain", "all"])
def test_resume_is_exact(shapes, tmp_path, monkeypatch, changes):
    whole = run(shapes, tmp_path / "whole", **changes)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        real, calls = tasks.evaluate, []
        patch.setattr(tasks, "evaluate", lambda *a, **k: stop() if calls else (calls.append(1), real(*a, **k))[1])
        with pytest.raises(KeyboardInterrupt):
            run(shapes, tmp_path / "two", **changes)
    with pytest.raises(ValueError, match="the folder of a new training must not hold one yet"):
        run(shapes, tmp_path / "two", **changes)
    resumed = run(shapes, tmp_path / "two", resume=True, **changes)
    assert resumed["history"] == whole["history"]
    assert same(weights_in(tmp_path / "whole"), weights_in(tmp_path / "two"))


def test_phases_of_a_training(shapes, tmp_path, monkeypatch):
    """Two steps with a frozen backbone, three with small crops, four with the first loss; then all that follows."""
    seen, forward, evaluate = [], SemanticObjective.forward, tasks.evaluate

    def record(objective, images, *rest):
        model = objective.model
        norm = model.backbone.net.bn1
        weights = model.backbone.net.conv1[0].weight.detach().clone(), model.head.weight.detach().clone()
        seen.append((images.shape[-1], objective.late, norm.running_mean.clone(), *weights))
        return forward(objective, images, *rest)

    monkeypatch.setattr(SemanticObjective, "forward", record)
    monkeypatch.setattr(tasks, "evaluate", lambda *a, **k: seen.append(k["workers"]) or evaluate(*a, **k))
    data = [FolderDataset(shapes, 2, transform=dict) for _ in range(2)]
    recipe = dict(steps=6, linear_probe_steps=2, crop_schedule="32@0,48@.5", late_loss="ohem", late_loss_start=0.6)
    model = gatezoo.create_model("test_fcn", num_classes=2)
    train(model, *data, tmp_path / "out", Recipe(**{**QUICK, **recipe, "warmup": 0}), workers=2)
    assert data[0].transform is dict
    assert seen.pop() == 2
    sizes, late, *tensors = zip(*seen, strict=True)
    assert sizes == (32, 32, 32, 48, 48, 48)
    assert late == (False,) * 4 + (True,) * 2
    for values, frozen in zip(tensors, (2, 2, 0), strict=True):  # statistics and weights of the backbone, head
        kept = [torch.equal(*pair) for pair in itertools.pairwise(values)]
        assert kept == [True] * frozen + [False] * (5 - frozen)


def test_late_loss_is_the_loss_of_the_last_steps():
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 3, (2, 64, 64), dtype=torch.uint8)
    objective = objective_of(model, late_loss=make_loss("focal")).eval()
    recipe = Recipe(steps=10, late_loss="focal")
    with torch.no_grad():
        logits = model(images / 127.5 - 1)
        for step, name in ((0, "cross_entropy"), (6, "cross_entropy"), (7, "focal")):
            tasks.TASKS["semantic"].begin_step(objective, step, recipe)
            torch.testing.assert_close(objective(images, labels), make_loss(name)(logits, labels.long()))


def test_device_of_a_training(monkeypatch, tmp_path):
    """Accelerate takes no device: it trains on the current one of the kind that is set."""
    chosen = []
    monkeypatch.setattr(accelerator, "resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert accelerator.select_device("cuda:1") == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match=r"device must be auto, cpu or cuda under torchrun, .*; got cuda:1"):
        accelerator.select_device("cuda:1")


def command(shapes, out, *more, steps=24, processes=0):
    """Return the command line of a training in one separate process, or in several."""
    start = [sys.executable, "-m"]
    if processes:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    recipe = "--steps {} --recovery-interval 5 --val-interval 1000 --log-interval 1 -b 4 --crop 48 --amp none"
    options = ["--data", shapes, "--val", shapes, "--classes", "ground,disc", "--out", out, "-j", "0"]
    return [*map(str, [*start, "gatezoo", "train", "test_dignet", *options, *recipe.format(steps).split(), *more])]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start_and_signal(number, shapes, out, after, *more, kill_all=False, **options):
    """Start a training, send it a signal once its log has ``after`` lines, wait for its end."""
    child = subprocess.Popen(
        command(shapes, out, *more, **options), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    summary, deadline = out / "summary.csv", time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if summary.exists() and len(summary.read_text().splitlines()) > after:
            # Started by torchrun, the processes that train are children of this one and would outlive it.
            for process in [*psutil.Process(child.pid).children(recursive=True), child] if kill_all else [child]:
                process.send_signal(number)
            break
        time.sleep(0.01)
    text = child.communicate(timeout=120)[0].decode()
    return child.returncode, text


def test_killed_training_resumes_to_the_same_weights(shapes, tmp_path):
    subprocess.run(command(shapes, tmp_path / "whole"), env=environment(), check=True, stdout=subprocess.DEVNULL)
    after = random.Random().randint(6, 20)
    code, text = start_and_signal(signal.SIGKILL, shapes, tmp_path / "killed", after)
    assert code == -signal.SIGKILL, text
    again = command(shapes, tmp_path / "killed", "--resume")
    subprocess.run(again, env=environment(), check=True, stdout=subprocess.DEVNULL)
    assert same(weights_in(tmp_path / "whole"), weights_in(tmp_path / "killed")), f"killed after {after} steps"
    steps = [row["step"] for row in csv.DictReader((tmp_path / "killed/summary.csv").open())]
    assert steps == [str(step) for step in range(1, 25)]


@pytest.mark.slow
def test_two_killed_processes_resume_to_the_same_weights(shapes, tmp_path):
    two = dict(steps=10, processes=2)
    subprocess.run(command(shapes, tmp_path / "whole", **two), env=environment(), check=True, stdout=subprocess.DEVNULL)
    code, text = start_and_signal(signal.SIGKILL, shapes, tmp_path / "killed", 7, kill_all=True, **two)
    assert code == -signal.SIGKILL, text
    again = command(shapes, tmp_path / "killed", "--resume", **two)
    subprocess.run(again, env=environment(), check=True, stdout=subprocess.DEVNULL)
    assert same(weights_in(tmp_path / "whole"), weights_in(tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["agent", "rank"])
def test_killed_process_of_two_leaves_no_orphan(shapes, tmp_path, victim):
    """Killing torchrun stops its processes, which save; killing one of them ends the other with a message."""
    out = tmp_path / "out"
    line = command(shapes, out, "-j", "1", steps=2000, processes=2)
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(line, env=environment(), stdout=log, stderr=log)
    agent, deadline = psutil.Process(child.pid), time.monotonic() + 200
    while not (out / "summary.csv").exists() or len((out / "summary.csv").read_text().splitlines()) < 8:
        assert child.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    family = agent.children(recursive=True)
    ranks = [process for process in agent.children() if "gatezoo" in process.cmdline()]
    assert len(ranks) == 2
    assert len(family) >= 4  # and their data workers
    (agent if victim == "agent" else ranks[1]).kill()
    child.wait(100)
    _, alive = psutil.wait_procs(family, timeout=50)
    text = (tmp_path / "log").read_text()
    assert not alive, text
    if victim == "agent":
        assert "the process that started this training is gone: stopping" in text
        assert re.search(r"stopped by SIGTERM after step \d+: --resume continues", text)
    else:
        assert "all processes of a training must stay alive; another one ended" in text
        assert (out / "trainer_state.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_termination_signal_saves_first(shapes, tmp_path, number):
    code, text = start_and_signal(number, shapes, tmp_path / "out", 2, "--recovery-interval", "0", steps=500)
    assert code == 128 + number, text
    assert "Traceback" not in text
    step = int(re.search(r"stopped by SIG\w+ after step (\d+): --resume continues", text)[1])
    state = torch.load(tmp_path / "out/trainer_state.pt", weights_only=True)
    assert state["step"] == step >= 2


def test_two_processes_train_like_one(shapes, tmp_path):
    """Losses, scores and weights at the same global batch, though the ignored pixels fall unevenly.

    Sums of float32 in another order differ by 1e-7 and less; one flipped pixel of these images is 1e-5 of a score.
    """
    losses, histories = [], []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        phases = "--linear-probe-steps", "4", "--crop-schedule", "32@0,48@.5", "--val-interval", "5", "--lr", "0.05"
        line = command(shapes, out, "--class-weights", "sqrt", *phases, steps=12, processes=processes)
        done = subprocess.run(line, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("2 processes, 2 images each" in done.stdout) == (processes == 2)
        assert done.stdout.count("step 1/12 loss") == 1
        histories.append(json.loads((out / "history.json").read_text()))
        losses.append([float(row["loss"]) for row in csv.DictReader((out / "summary.csv").open())])
    assert len(losses[0]) == 12
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert [row["step"] for row in histories[1]] == [5, 10, 12]
    assert histories[0][0]["miou"] > 0.5  # both classes are predicted
    for first, second in zip(*histories, strict=True):
        numbers = {key for key, value in first.items() if isinstance(value, float)}
        assert {"miou", "pixel_accuracy", "val_loss", "loss"} <= numbers
        assert {key: second[key] for key in numbers} == pytest.approx({key: first[key] for key in numbers}, abs=1e-4)
    first, second = weights_in(tmp_path / "1"), weights_in(tmp_path / "2")
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-4, atol=1e-6)
    # What two processes scored together is what one scores alone.
    best = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "2/best.safetensors")
    data = FolderDataset(shapes, ["ground", "disc"])
    loss = make_loss("cross_entropy", class_weights(data.class_frequencies(), "sqrt"))
    scores = gatezoo.evaluate(best, data, metrics=[ValidationLoss(loss)]).scores
    assert {key: scores[key] for key in numbers - {"loss"}} == pytest.approx(
        {key: histories[1][0][key] for key in numbers - {"loss"}}, abs=1e-6
    )


def test_full_disk_is_reported_and_keeps_the_last_good_state(shapes, tmp_path):
    run(shapes, tmp_path / "out", model_kwargs={}, steps=4, eval_interval=4)
    before = (tmp_path / "out/trainer_state.pt").read_bytes()
    line = command(shapes, tmp_path / "out", "--resume", "--resume-with-changes", steps=30)
    limit = "import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    limit += "sys.argv = sys.argv[1:]; runpy.run_module('gatezoo', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", limit, *line[2:]], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert re.search(r"gatezoo: the file .* must be writable; File too large", done.stderr)
    assert (tmp_path / "out/trainer_state.pt").read_bytes() == before
    assert not list((tmp_path / "out").glob(".*"))


def test_learning_rates_and_weight_decay_of_parameters():
    model = gatezoo.create_model("test_dignet", num_classes=2)
    recipe = Recipe(steps=100, lr=0.01, head_lr_mult=10, warmup=10, power=0.9)
    groups = create_optimizer(model, recipe).param_groups
    backbone = {id(p) for p in model.backbone.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(0.01 if id(parameter) in backbone else 0.1)
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert lr_factor(0, recipe) == pytest.approx(0.1)
    assert lr_factor(50, recipe) == pytest.approx(0.5**0.9)
    assert lr_factor(50, Recipe(steps=100, sched="cosine")) == pytest.approx(0.5)
    stable = Recipe(steps=100, sched="wsd", decay_share=0.2)
    assert [lr_factor(step, stable) for step in (0, 80, 90, 99)] == pytest.approx([1, 1, 0.5, 0.05])
    steps = Recipe(steps=100, sched="step", decay_steps="50,80")
    assert [lr_factor(step, steps) for step in (49, 50, 80)] == pytest.approx([1, 0.1, 0.01])
    assert lr_factor(50, Recipe(steps=100, power=2)) == pytest.approx(0.25)
    late = Recipe(steps=100, sched="step", decay_steps="50", linear_probe_steps=20)
    assert [lr_factor(step, late) for step in (49, 50)] == pytest.approx([1, 0.1])  # steps of the whole training
    probe = Recipe(steps=100, linear_probe_steps=20, warmup=10, sched="cosine")
    assert [lr_factor(step, probe) for step in (0, 19, 20, 60)] == pytest.approx([1, 1, 0.1, 0.5])
    with pytest.raises(ValueError, match=r"opt must be one of ada.* \.\.\. sgdw; got 'sdg'\. Did you mean sgd\?"):
        create_optimizer(model, Recipe(opt="sdg"))


def objective_of(model, weight=None, **weights):
    return SemanticObjective(model, Normalize((0.5,) * 3, (0.5,) * 3), make_loss("cross_entropy", weight), **weights)


def test_loss_is_weighted_cross_entropy_of_the_last_pass():
    model = gatezoo.create_model("test_dignet", num_classes=3).eval()
    weight = torch.tensor([1.0, 2.0, 3.0])
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 3, (2, 64, 64), dtype=torch.uint8)
    labels[:, :10] = 255
    with torch.no_grad():
        each = [
            nn.functional.cross_entropy(logits, labels.long(), weight, ignore_index=255)
            for logits in model.iterate(images / 127.5 - 1, iterations=2)
        ]
        torch.testing.assert_close(objective_of(model, weight).eval()(images, labels), each[1])
        both = objective_of(model, weight, iteration_loss_weight=0.3).eval()(images, labels)
        torch.testing.assert_close(both, each[1] + 0.3 * each[0])


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch(shapes, tmp_path):
    """One step over 4 x 2 crops equals one over 8 crops; no pixel is ignored, so that all parts weigh the same."""
    for path in (shapes / "labels").iterdir():
        Image.open(path).point(lambda value: value % 255).save(path)
    plain = dict(
        model_kwargs={}, freeze_bn=True, steps=1, eval_interval=1, crop_size=32, scale_range=(1.0, 1.0), warmup=0
    )
    run(shapes, tmp_path / "one", batch_size=8, **plain)
    run(shapes, tmp_path / "four", batch_size=2, grad_accum_steps=4, **plain)
    first, second = weights_in(tmp_path / "one"), weights_in(tmp_path / "four")
    for key in first:
        if "running" not in key:
            torch.testing.assert_close(first[key], second[key], rtol=1e-4, atol=1e-5)


def test_averaged_weights_are_evaluated_and_saved(shapes, tmp_path):
    run(shapes, tmp_path / "out", steps=3, eval_interval=3, ema_decay=0.5)
    state = torch.load(tmp_path / "out/trainer_state.pt", weights_only=True)
    saved = weights_in(tmp_path / "out")
    assert not torch.equal(state["model"]["head.2.weight"], saved["head.2.weight"])
    assert torch.equal(state["ema_model"]["module.head.2.weight"], saved["head.2.weight"])


def test_infinite_losses_end_the_training(shapes, tmp_path, monkeypatch):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    data = FolderDataset(shapes, 2), FolderDataset(shapes, 2)
    loss, steps = SemanticObjective.forward, itertools.count()
    forward = lambda *args: loss(*args) * (1.0 if next(steps) == 6 else math.nan)  # noqa: E731
    monkeypatch.setattr(SemanticObjective, "forward", forward)
    with pytest.raises(ValueError, match="losses and gradients must be finite; 10 steps up to step 16 were not"):
        train(model, *data, tmp_path / "out", Recipe(**QUICK, steps=20), workers=0)
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ValueError, match=r"weights to train from must be finite; head\.bias holds NaN or infinity"):
        train(model, *data, tmp_path / "new", Recipe(**QUICK, steps=20), workers=0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            torch.OutOfMemoryError("out of memory"),
            "lower batch_size .* crop_size, .* output stride, .*grad_checkpointing",
        ),
        (
            ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal Traceback:\nValueError: no a.png"),
            r"^no a\.png$",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal"), "use fewer workers; the last good state is in"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "use fewer workers; the last good state"),
    ],
)
def test_lack_of_memory_and_killed_workers_are_explained(shapes, tmp_path, monkeypatch, error, text):
    def fail(*_):
        raise error

    monkeypatch.setattr(SemanticObjective, "forward", fail)
    with pytest.raises(ValueError, match=text):
        run(shapes, tmp_path / "out", steps=2)


def test_initial_checkpoint_loads_the_tensors_that_fit(shapes, tmp_path, caplog):
    run(shapes, tmp_path / "first", steps=2, eval_interval=2)
    start = tmp_path / "first/last.safetensors"
    data = [FolderDataset(shapes, 3) for _ in range(2)]
    recipe = Recipe(**{**QUICK, "steps": 1, "eval_interval": 1, "lr": 0.0})
    caplog.set_level(logging.INFO, logger="gatezoo")
    source = ModelSource("test_fcn", initial_checkpoint=start)
    train_model(source, *data, recipe, RunOptions(tmp_path / "second", workers=0))
    report = r"\d+ loaded, 2 missing \(head\.weight, head\.bias\), \d+ unexpected \(feedback\."
    assert re.search(report, caplog.text)
    first = gatezoo.create_model("test_dignet", checkpoint_path=start).state_dict()
    second = gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "second/last.safetensors").state_dict()
    assert torch.equal(first["backbone.net.layer2.0.conv1.weight"], second["backbone.net.layer2.0.conv1.weight"])


def test_fine_tuning_keeps_the_normalization_of_the_weights(shapes, tmp_path):
    run(shapes, tmp_path / "first", steps=1, eval_interval=1, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "first/last.safetensors")
    data = FolderDataset(shapes, 2), FolderDataset(shapes, 2)
    metadata = train(model, *data, tmp_path / "second", Recipe(**QUICK, steps=1), workers=0)
    assert metadata["mean"] == [0.1, 0.2, 0.3]
    assert metadata["std"] == [0.4, 0.5, 0.6]


def test_checkpoint_of_the_own_loop_says_what_it_is(shapes, tmp_path):
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True, num_classes=2)
    base = model.pretrained_cfg.describe_as_base()
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    train(model, *data, tmp_path / "out", Recipe(**QUICK, steps=1), workers=0)
    path = tmp_path / "out/last.safetensors"
    cfg = gatezoo.create_model("dignet_lite0_8s", checkpoint_path=path).pretrained_cfg
    assert (cfg.architecture, cfg.class_names, cfg.base_model) == (model.architecture, ("ground", "disc"), base)


def test_scores_of_every_pass(shapes):
    model = gatezoo.create_model("test_dignet", num_classes=2)
    data = FolderDataset(shapes, 2)
    each = gatezoo.evaluate(model, data, iterations=3, all_iterations=True).by_iteration
    assert [scores.miou for scores in each] == [gatezoo.evaluate(model, data, iterations=t).miou for t in (1, 2, 3)]


def test_refusals(shapes, tmp_path):
    data = [FolderDataset(shapes, 2) for _ in range(2)]
    with pytest.raises(ValueError, match=r"device must be one of this machine's: .*; got cuda:9: pass auto"):
        train(gatezoo.create_model("test_fcn", num_classes=2), *data, tmp_path / "out", Recipe(), device="cuda:9")
    with pytest.raises(ValueError, match="sync_bn must run on GPUs"):
        run(shapes, tmp_path / "out", sync_bn=True)
    with pytest.raises(ValueError, match="class_weights must be none for the dice loss"):
        run(shapes, tmp_path / "out", loss="dice", class_weights="sqrt")
    assert not (tmp_path / "out/trainer_state.pt").exists()
    run(shapes, tmp_path / "out", steps=1, eval_interval=1)
    with pytest.raises(
        ValueError, match=r"resume must continue with the network of .*trainer_state\.pt; this is another"
    ):
        run(shapes, tmp_path / "out", model_kwargs={}, resume=True)
