"""Measure models: parameters, GMAC, time and memory; of recurrent ones the cost of several iterations.

Usage::

    python tools/benchmark.py dignet_resnet50_32s fcn_resnet50_32s --size 321 --iterations 2 --csv out.csv
    python tools/benchmark.py rignet_r50_pu --model-kwargs 'blocks=[-1]' --iterations 2 4 6
    python tools/benchmark.py --load dignet_resnet101_8s    # creation from a file, and the plain way
    python tools/benchmark.py --train CAMVID dignet_mobilenetv2_8s    # the trainer, and a bare loop over ready tensors
    python tools/benchmark.py --eval CAMVID dignet_mobilenetv2_8s     # a training's evaluation, and bare forward passes
    python tools/benchmark.py --recompute dignet_resnet50_8s --iterations 4    # memory of a training step
    python tools/benchmark.py gff_pspnet_r101 --against pspnet_r101 --size 512    # ratios of time and GMAC
    python tools/benchmark.py pspnet_r101 --peers --size 512    # with other libraries' networks on the same backbone
    python tools/benchmark.py --predict zigzag_mobilenetv2_no_fusion    # prepared for prediction, and as it is
    python tools/benchmark.py --folder 200 zigzag_mobilenetv2_no_fusion    # files of a folder, and bare forward passes
    python tools/benchmark.py --hard depthgate_r50 --size 321    # gated pooling: soft, hard, and one convolution

Each time is the median of several runs. What is compared is run in turn, so that ratios hold on a machine whose speed
drifts. Memory is the peak of a fresh process minus that of its imports (Linux).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import create, peer_networks
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

import gatezoo
from gatezoo.cli.options import parse_kwargs
from gatezoo.data.class_weights import class_weights
from gatezoo.data.loader import EpochStream, create_loader
from gatezoo.data.splits import create_splits
from gatezoo.data.transforms import train_transform
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions
from gatezoo.losses import make_loss
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.recipes.recipe import Recipe
from gatezoo.segmenters.base import BaseSegmenter
from gatezoo.training.launch import train_model
from gatezoo.training.objectives import SemanticObjective
from gatezoo.training.optimizers import create_optimizer
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.training.precision import mixed_precision, resolve_amp_dtype
from gatezoo.training.tasks import TASKS
from gatezoo.utils.allocator import disable_malloc_trim


def time_call(call: Callable[[], object], device: str) -> float:
    """Return the seconds that one call takes."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(calls: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Return the median seconds of each call; the calls are run in turn after a warm-up."""
    for call in calls:
        call()
    rounds = [[time_call(call, device) for call in calls] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds)]


def peak_memory(name: str, batch: int, size: int, iterations: int | None, **model_kwargs: Any) -> float:
    """Return the MiB that building and running a network adds to a fresh process."""
    (needed,) = run_in_fresh_process(f"run_once({name!r}, {batch}, {size}, {iterations}, **{model_kwargs})")
    return needed


def run_in_fresh_process(call: str) -> list[float]:
    """Call a function of this file in a fresh process and return the numbers that it prints."""
    code = f"from benchmark import *; {call}"
    here = Path(__file__).resolve().parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def memory(field: str) -> float:
    """Return the memory of this process in MiB: "VmRSS" for now, "VmHWM" for the peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_once(name: str, batch: int, size: int, iterations: int | None, **model_kwargs: Any) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which the imports reached
    before = memory("VmRSS")
    model = create(name, **model_kwargs).eval()
    with torch.inference_mode():
        image = torch.randn(batch, 3, size, size)
        depth = {"depth": torch.full_like(image[:, 0], 2.0)}
        extra = model.extra_inputs(depth) if isinstance(model, BaseSegmenter) else {}
        model(image, **({} if iterations is None else {"iterations": iterations}), **extra)
    print(memory("VmHWM") - before)


@torch.inference_mode()
def measure(
    name: str, model_kwargs: dict, size: int, batch: int, iterations: int, repeats: int, device: str, memory: bool
) -> dict:
    """Measure one network and return its row of the table."""
    meta = on_meta(name, **model_kwargs)
    recurrent = "iterations" in meta.capabilities
    passes = {"iterations": iterations} if recurrent else {}
    counts = count_gmacs(meta, size, size, **passes)
    row = {
        "model": " ".join([name, *(f"{key}={value}" for key, value in model_kwargs.items())]),
        "size": size,
        "batch": batch,
        "iterations": iterations if recurrent else "",
        "params_m": round(count_parameters(meta) / 1e6, 3),
        "gmac": round(counts, 2),
    }
    model = gatezoo.create_model(name, **model_kwargs).eval().to(device)
    image = torch.randn(batch, 3, size, size, device=device)
    extra = model.extra_inputs({"depth": torch.full_like(image[:, 0], 2.0)})
    calls = [lambda: model(image, **passes, **extra)]
    if recurrent:
        calls.append(lambda: model(image, iterations=1, **extra))
    whole, *once = medians(calls, repeats, device)
    row["ms_per_image"] = round(1000 * whole / batch, 2)
    if memory:
        row["peak_mib"] = round(peak_memory(name, batch, size, iterations if recurrent else None, **model_kwargs))
    if recurrent:
        row["time_ratio"] = round(whole / once[0], 3)
        row["gmac_ratio"] = round(counts / count_gmacs(meta, size, size, iterations=1), 3)
    return row


@torch.inference_mode()
def measure_against(names: list[str], size: int, batch: int, repeats: int, device: str, memory: bool) -> list[dict]:
    """Measure networks, or peers as NAME/PEER, in turn; ratios are relative to the first."""
    image = torch.randn(batch, 3, size, size, device=device)
    models = [create(name).eval().to(device) for name in names]
    times = medians([functools.partial(model, image) for model in models], repeats, device)
    rows = []
    for name, model, seconds in zip(names, models, times):
        with FlopCounterMode(display=False) as counter:
            model(image[:1])
        row = {"model": name, "size": size, "batch": batch, "params_m": round(count_parameters(model) / 1e6, 3)}
        row |= {"gmac": counter.get_total_flops() / 2e9, "ms_per_image": round(1000 * seconds / batch, 2)}
        if memory:
            row["peak_mib"] = round(peak_memory(name, batch, size, None))
        rows.append(row)
    for row, seconds in zip(rows, times):
        row["time_ratio"] = round(seconds / times[0], 3)
        row["gmac_ratio"] = round(row["gmac"] / rows[0]["gmac"], 3)
    return [row | {"gmac": round(row["gmac"], 2)} for row in rows]


def measure_loading(name: str, repeats: int) -> dict:
    """Measure the seconds to read a checkpoint, to create a network from it, and to do so the plain way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(gatezoo.create_model(name).state_dict(), path)

        def read():
            return {key: value.clone() for key, value in load_file(path).items()}

        def plain():
            model = gatezoo.model_entrypoint(name)()
            model.load_state_dict(load_file(path))

        calls = [read, lambda: gatezoo.create_model(name, checkpoint_path=path), plain]
        reading, ours, plainly = medians(calls, repeats, "cpu")
    times = {"read_s": reading, "create_model_s": ours, "plain_s": plainly}
    return {"model": name, **{key: round(value, 3) for key, value in times.items()}}


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


def measure_prediction(name: str, size: int, repeats: int, device: str) -> dict:
    """Measure the prediction of an image by a network as it is and prepared, and the greatest change of probability."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name).eval().to(device)
    image = torch.randint(256, (3, size, size), dtype=torch.uint8)
    depth = np.full((size, size), 2.0, np.float32) if model.takes_depth else None
    predictors = [gatezoo.Predictor(model, shared=True), gatezoo.Predictor(model)]
    plain, prepared = medians([functools.partial(one.predict, image, depth) for one in predictors], repeats, device)
    maps = [one.predict(image, depth, probabilities=True).probabilities for one in predictors]
    row = {"model": name, "size": size, "plain_ms": round(1000 * plain, 2), "prepared_ms": round(1000 * prepared, 2)}
    return row | {"ratio": round(prepared / plain, 3), "change": f"{abs(maps[0] - maps[1]).max():.1e}"}


def measure_folder(name: str, count: int, size: int, repeats: int) -> dict:
    """Measure the seconds of writing the predictions of image files, and of the bare forward passes in memory."""
    model, random = gatezoo.create_model(name).eval(), np.random.default_rng(0)
    predictor = gatezoo.Predictor(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(count)]
        for path in paths:
            coarse = Image.fromarray(random.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(path)
        batch = model.make_normalize()(predictor.read(paths[0])[None]).contiguous(memory_format=torch.channels_last)

        def files() -> None:
            for _ in write_predictions(SemanticWriter(predictor), paths, Path(folder) / "out"):
                pass

        @torch.inference_mode()
        def bare() -> None:
            for _ in paths:
                predictor.model(batch)

        ours, plain = medians([files, bare], repeats, "cpu")
    row = {"model": name, "size": size, "images": count, "folder_s": round(ours, 2), "forward_s": round(plain, 2)}
    return row | {"ratio": round(ours / plain, 3)}


def measure_recomputing(name: str, batch: int, size: int, iterations: int) -> dict:
    """Measure MiB and seconds of a training step with activations kept and recomputed, each in a fresh process."""
    (kept, plain), (recomputed, longer) = (
        run_in_fresh_process(f"step_once({name!r}, {batch}, {size}, {iterations}, {kind})") for kind in (False, True)
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


@torch.inference_mode()
def measure_pooling(name: str, size: int, batch: int, repeats: int, device: str) -> dict:
    """Measure the milliseconds of gated pooling on a random map in which equally many pixels choose each scale.

    Compared with one 3x3 convolution with the multiplications of a hard gate, and one with those of a soft gate (S
    times the output channels).
    """
    model = gatezoo.create_model(name, num_classes=2).eval().to(device)
    branches, side = model.head.pooling.branches, -(-size // model.backbone.output_stride)
    width, scales = branches.convs[0][0].in_channels, len(branches.dilations)
    x = torch.randn(batch, width, side, side, device=device)
    choice = torch.arange(side * side, device=device).reshape(1, side, side).expand(batch, -1, -1) * scales // side**2
    weights = torch.nn.functional.one_hot(choice, scales).permute(0, 3, 1, 2).float()
    kernel = branches.convs[0][0].weight
    many = kernel.repeat(scales, 1, 1, 1)
    calls = [
        lambda: branches(x, weights),
        lambda: branches.forward_hard(x, choice),
        lambda: torch.nn.functional.conv2d(x, many, padding=1),
        lambda: torch.nn.functional.conv2d(x, kernel, padding=1),
    ]
    columns = ("soft_ms", "hard_ms", "conv_of_soft_ms", "conv_of_hard_ms")
    times = medians(calls, repeats, device)
    row = {"model": name, "size": size, "batch": batch, "width": width}
    return row | {key: round(1000 * time, 2) for key, time in zip(columns, times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="models, or wildcards")
    parser.add_argument("--size", type=int, nargs="+", default=[321], help="sides of the square image")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, nargs="+", default=[2], help="iterations of recurrent networks")
    parser.add_argument(
        "--model-kwargs",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="keyword of the models, only without another measurement",
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--load", action="store_true", help="measure creating from a file instead")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="measure training on a folder laid out as CamVid")
    parser.add_argument("--eval", type=Path, metavar="FOLDER", help="measure a training's evaluation on such a folder")
    parser.add_argument("--against", metavar="NAME", help="measure in turn with this model, and print the ratios")
    parser.add_argument("--peers", action="store_true", help="measure in turn with other libraries' networks")
    parser.add_argument("--recompute", action="store_true", help="measure the memory of a training step")
    parser.add_argument("--hard", action="store_true", help="measure gated pooling with a soft and a hard gate")
    parser.add_argument("--predict", action="store_true", help="measure the prediction of an image")
    parser.add_argument("--folder", type=int, metavar="IMAGES", help="measure the prediction of a folder of images")
    parser.add_argument("--steps", type=int, default=20, help="steps of each measured training")
    parser.add_argument("--workers", type=int, default=1, help="workers of each measured training or evaluation")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    disable_malloc_trim()  # as the gatezoo command does: without it fresh pages are timed along
    model_kwargs = parse_kwargs(args.model_kwargs)
    if model_kwargs and (
        args.load
        or args.train
        or args.eval
        or args.hard
        or args.recompute
        or args.against
        or args.peers
        or args.predict
        or args.folder
    ):
        parser.error("--model-kwargs is only supported without another measurement: leave it out")
    names = gatezoo.list_models(args.names)
    if not names:
        parser.error(f"no model matches {' '.join(args.names)}")
    if args.load:
        rows = [measure_loading(name, args.repeats) for name in names]
    elif args.train:
        sizes = ((name, size) for name in names for size in args.size)
        rows = [measure_training(name, args.train, args.steps, args.batch, size, args.workers) for name, size in sizes]
    elif args.eval:
        rows = [measure_evaluation(name, args.eval, args.repeats, args.workers) for name in names]
    elif args.hard:
        sizes = ((name, size) for name in names for size in args.size)
        rows = [measure_pooling(name, size, args.batch, args.repeats, args.device) for name, size in sizes]
    elif args.predict:
        rows = [measure_prediction(name, size, args.repeats, args.device) for name in names for size in args.size]
    elif args.folder:
        rows = [measure_folder(name, args.folder, size, args.repeats) for name in names for size in args.size]
    elif args.recompute:
        each = ((name, size, passes) for name in names for size in args.size for passes in args.iterations)
        rows = [measure_recomputing(name, args.batch, size, passes) for name, size, passes in each]
    elif args.against or args.peers:
        names = [args.against, *names] if args.against else names
        names += [f"{names[0]}/{peer}" for peer in peer_networks(names[0])] if args.peers else []
        beside = (args.batch, args.repeats, args.device, not args.no_memory)
        rows = [row for size in args.size for row in measure_against(names, size, *beside)]
    else:
        rows = [
            measure(name, model_kwargs, size, args.batch, passes, args.repeats, args.device, not args.no_memory)
            for name in names
            for size in args.size
            for passes in args.iterations
        ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(key, "")) for key in columns))
    Console().print(table)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
