"""Training and evaluation, beside bare loops over ready tensors."""

from __future__ import annotations

import contextlib
import csv
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch

import gatezoo
from gatezoo.data.class_weights import class_weights
from gatezoo.data.loader import EpochStream, create_loader
from gatezoo.data.splits import create_splits
from gatezoo.data.transforms import train_transform
from gatezoo.losses import make_loss
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.launch import train_model
from gatezoo.training.objectives import SemanticObjective
from gatezoo.training.optimizers import create_optimizer
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.training.precision import mixed_precision, resolve_amp_dtype
from gatezoo.training.tasks import TASKS

from .timing import medians, memory, run_in_fresh_process


def measure_training(name: str, folder: Path, steps: int, batch: int, size: int, workers: int) -> dict:
    """Measure the images per second of the trainer, and of a bare loop over one batch in memory."""
    train_data, val_data = create_splits(folder, classes="camvid")
    recipe = Recipe(steps=steps, batch_size=batch, crop_size=size, log_interval=1, eval_interval=10**9)

    def trainer() -> float:
        with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
            train_model(ModelSource(name), train_data, val_data.subset([0]), recipe, RunOptions(out, workers=workers))
            with (Path(out) / "summary.csv").open() as file:
                pace = {int(row["step"]): float(row["images_per_s"]) for row in csv.DictReader(file)}
        # The workers start and the caches fill during the first fifth.
        first, last = steps // 5, steps
        return (last - first) * batch / (last * batch / pace[last] - first * batch / pace[first])

    def bare() -> float:
        model = gatezoo.create_model(name, num_classes=train_data.num_classes, freeze_bn=True)
        loss = make_loss("cross_entropy", class_weights(train_data.class_frequencies(), recipe.class_weights))
        task = SemanticObjective(model, model.make_normalize(), loss).to(memory_format=torch.channels_last).train()
        optimizer = create_optimizer(model, recipe)
        train_data.transform = train_transform(size, recipe.scale_range, 255, (0.5, 0.5, 0.5))
        ready = next(iter(create_loader(EpochStream(train_data, batch, seed=0), batch, workers=0)))
        images, began = ready["image"].contiguous(memory_format=torch.channels_last), 0.0
        with mixed_precision(model, "cpu", resolve_amp_dtype(recipe.amp_dtype, "cpu")) as autocast:
            for step in range(steps):
                if step == steps // 5:
                    began = time.perf_counter()
                with autocast:
                    value = task(images, ready["mask"])
                optimizer.zero_grad()
                value.backward()
                torch.nn.utils.clip_grad_norm_(task.parameters(), recipe.clip_grad)
                optimizer.step()
        return (steps - steps // 5) * batch / (time.perf_counter() - began)

    turns = [(trainer(), bare()) for _ in range(3)]
    ours, plain = (statistics.median(paces) for paces in zip(*turns))
    speeds = {"engine_per_s": ours, "bare_per_s": plain, "ratio": ours / plain}
    return {"model": name, "size": size, "batch": batch, **{key: round(value, 3) for key, value in speeds.items()}}


def measure_evaluation(name: str, folder: Path, repeats: int, workers: int) -> dict:
    """Measure the seconds of a training's evaluation, and of the bare forward passes over the same images in memory."""
    train_data, data = create_splits(folder, classes="camvid")
    model = gatezoo.create_model(name, num_classes=data.num_classes).eval()
    normalize, task = model.make_normalize(), TASKS[model.task]
    module = task.make_module(model, train_data, Recipe(), (0.5,) * model.in_chans, (0.5,) * model.in_chans)
    ready = [normalize(sample["image"][None]).contiguous(memory_format=torch.channels_last) for sample in data]
    model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def bare():
        for batch in ready:
            model(batch)

    ours, plain = medians([lambda: task.evaluate(model, data, module, "cpu", workers), bare], repeats, "cpu")
    return {"model": name, "images": len(data), "evaluate_s": round(ours, 2), "forward_s": round(plain, 2)} | {
        "ratio": round(ours / plain, 3)
    }


def measure_recomputing(name: str, batch: int, size: int, iterations: int) -> dict:
    """Measure MiB and seconds of a training step with activations kept and recomputed, each in a fresh process."""
    (kept, plain), (recomputed, longer) = (
        run_in_fresh_process("training", f"step_once({name!r}, {batch}, {size}, {iterations}, {kind})")
        for kind in (False, True)
    )
    row = {"model": name, "size": size, "batch": batch, "iterations": iterations}
    row |= {"kept_mib": round(kept), "recomputed_mib": round(recomputed), "memory_ratio": round(recomputed / kept, 3)}
    return row | {"time_ratio": round(longer / plain, 3)}


def step_once(name: str, batch: int, size: int, iterations: int, recompute: bool) -> None:
    model = gatezoo.create_model(name, iterations=iterations).train()
    model.set_grad_checkpointing(recompute)
    image = torch.randn(batch, 3, size, size)
    before = memory("VmRSS")
    began = time.perf_counter()
    model(image).mean().backward()
    print(memory("VmHWM") - before, time.perf_counter() - began)
