"""Training: a network, its loss and a folder of labelled pictures."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .data import FolderDataset, camvid
from .data.transforms import train_transform
from .evaluation import evaluate
from .factory import create_model, load_checkpoint
from .files import write_whole
from .losses import class_weights
from .precision import mixed_precision
from .registry import split_model_name_tag
from .segmenter import SegmentationModel
from .transforms import Normalize, statistics_of

# Names and colours of the classes of data sets that have usual ones.
NAMED_CLASSES = {"camvid": (camvid.CLASSES, camvid.PALETTE)}

# Steps in a row that may be left out for an infinite gradient.
MAX_SKIPPED = 10


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Saved with every checkpoint.

    Attributes:
        steps: optimizer steps.
        batch_size: crops a step.
        crop: side of a crop in pixels.
        scale: range of the random scale.
        lr: rate of the backbone at the first step; what is new (classifier, gates) learns ``new_lr_factor`` faster.
        power: of the "poly" decay, lr (1 - step / steps)^power, after ``warmup`` steps of linear rise.
        momentum, weight_decay: of SGD; no decay for biases and norms.
        clip_grad: largest norm of the gradient.
        class_weights: "none", "inverse" or "sqrt" of the class frequencies.
        mean, std: of the pixels in [0, 1]; None for what the network's weights expect.
        amp: bf16 autocast (see :func:`gatezoo.precision.mixed_precision`).
        eval_every: steps between evaluations.
        seed: of weights, order and augmentation.
    """

    steps: int = 1000
    batch_size: int = 8
    crop: int = 320
    scale: tuple[float, float] = (0.5, 2.0)
    lr: float = 0.01
    new_lr_factor: float = 10.0
    power: float = 0.9
    warmup: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_grad: float = 5.0
    class_weights: str = "sqrt"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    amp: bool = True
    eval_every: int = 500
    seed: int = 0


class SegmentationTask(nn.Module):
    """A network and its loss in one module: ``task(uint8 images, labels) -> loss``. What a distributed engine wraps."""

    def __init__(self, model: SegmentationModel, normalize: Normalize, weight: Tensor | None, ignore_index: int):
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.loss = nn.CrossEntropyLoss(weight, ignore_index=ignore_index)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.loss(self.model(self.normalize(images)).float(), labels.long())


class _Stream(Dataset):
    """Shuffled epochs end to end. Item i is the same whatever the number of workers and wherever training resumes."""

    def __init__(self, data: FolderDataset, items: int, seed: int, start: int = 0):
        self.data, self.items, self.seed, self.start = data, items, seed, start

    def __len__(self) -> int:
        return self.items - self.start

    def __getitem__(self, index: int):
        index += self.start
        epoch, position = divmod(index, len(self.data))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data))
        state = random.getstate()
        with torch.random.fork_rng(devices=[]):
            draw = int(np.random.SeedSequence((self.seed, epoch, position)).generate_state(1)[0])
            random.seed(draw)
            torch.manual_seed(draw)
            item = self.data[int(order[position])]
        random.setstate(state)
        return item


def _optimizer(model: SegmentationModel, recipe: Recipe) -> torch.optim.Optimizer:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "lr": recipe.lr * (1 if old else recipe.new_lr_factor),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (old, decays), parameters in groups.items()
        ],
        momentum=recipe.momentum,
    )


def _rate(step: int, recipe: Recipe) -> float:
    rise = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    return rise * (1 - step / recipe.steps) ** recipe.power


def train(
    model: SegmentationModel,
    train_data: FolderDataset,
    val_data: FolderDataset,
    out: str | Path,
    recipe: Recipe,
    about: dict[str, Any] | None = None,
    device: str = "cpu",
    workers: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Train, evaluate now and then, and keep the best and the last checkpoint in the folder ``out``.

    ``best.safetensors`` and ``last.safetensors`` hold weights and, in their header, how they came about;
    ``state.pt`` is what ``resume`` goes on from, to the bit on a CPU. Returns the record of evaluations.

    Args:
        about: further facts for the header: the model's name and keywords, class names.

    Raises:
        ValueError: losses or gradients that stay infinite; ``out`` holds another training and ``resume`` is not set.
    """
    out = Path(out)
    state_file = out / "state.pt"
    if state_file.exists() and not resume:
        raise ValueError(f"the folder of a new training must hold none yet; {out} does: pass resume or choose another")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)

    expected = statistics_of(model)
    mean, std = recipe.mean or expected.mean, recipe.std or expected.std
    weight = class_weights(train_data.frequencies(), recipe.class_weights)
    task = SegmentationTask(model, Normalize(mean, std, model.in_chans), weight, train_data.ignore_index)
    task.to(device, memory_format=torch.channels_last).train()
    optimizer = _optimizer(model, recipe)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    record: list[dict[str, Any]] = []
    start, mean_loss = 0, None
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"].cpu())
        start, record, mean_loss = state["step"], state["record"], state["mean_loss"]

    train_data.transform = train_transform(recipe.crop, recipe.scale, train_data.ignore_index, mean)
    stream = _Stream(train_data, recipe.steps * recipe.batch_size, recipe.seed, start * recipe.batch_size)
    # A generator of its own: each start of a loader draws a number, and a resumed training would go on with others.
    loader = DataLoader(
        stream, recipe.batch_size, num_workers=workers, pin_memory=device != "cpu", generator=torch.Generator()
    )
    header = {"recipe": asdict(recipe), "mean": mean, "std": std, **(about or {})}

    def save(step: int) -> None:
        weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        metadata = {"gatezoo": json.dumps({**header, "step": step, "record": record})}
        names = ["last"] + (["best"] if record[-1]["miou"] == max(r["miou"] for r in record) else [])
        for name in names:
            write_whole(out / f"{name}.safetensors", lambda path: save_file(weights, path, metadata))
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "rng": torch.get_rng_state(),
            "step": step,
            "record": record,
            "mean_loss": mean_loss,
        }
        write_whole(state_file, lambda path: torch.save(state, path))
        write_whole(out / "record.json", lambda path: path.write_text(json.dumps(record, indent=1)))

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"), TimeRemainingColumn())
    with (
        mixed_precision(model, device, recipe.amp) as autocast,
        Progress(*columns, disable=not sys.stdout.isatty()) as progress,
    ):
        bar = progress.add_task("train", total=recipe.steps, completed=start, loss=math.nan)
        skipped, began = 0, time.monotonic()
        for step, (images, labels) in enumerate(loader, start=start):
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with autocast:
                loss = task(images.contiguous(memory_format=torch.channels_last), labels)
            value = loss.item()
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(task.parameters(), recipe.clip_grad).item()
            if math.isfinite(value) and math.isfinite(norm):
                optimizer.step()
                skipped = 0
            else:
                # In bf16 a gradient overflows once in a long while; a run of them is a training gone wrong.
                skipped += 1
                progress.console.print(f"step {step}: loss {value}, gradient norm {norm}: step skipped")
                if skipped == MAX_SKIPPED:
                    raise ValueError(
                        f"losses and gradients must be finite; {skipped} steps up to step {step} were not: "
                        "lower lr, set --no-amp, or look at the data"
                    )
                value = mean_loss or 0.0
            scheduler.step()
            mean_loss = value if mean_loss is None else 0.98 * mean_loss + 0.02 * value
            progress.update(bar, advance=1, loss=mean_loss)
            done = step + 1
            if done % 50 == 0 and progress.disable:
                pace = (time.monotonic() - began) / (done - start)
                print(f"step {done}/{recipe.steps} loss {mean_loss:.3f} {pace:.2f} s a step", flush=True)
            if done % recipe.eval_every == 0 or done == recipe.steps:
                scores = evaluate(model, val_data, normalize=task.normalize, device=device)
                record.append({"step": done, "loss": mean_loss, **asdict(scores)})
                progress.console.print(f"step {done}: loss {mean_loss:.3f}, val mIoU {scores.miou:.4f}")
                task.train()
                save(done)
    return {**header, "record": record}


def train_by_name(
    name: str,
    data: str | Path,
    val: str | Path,
    out: str | Path,
    recipe: Recipe,
    classes: str,
    ignore_index: int = 255,
    pretrained: bool = False,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | Path | None = None,
    model_kwargs: dict[str, Any] | None = None,
    freeze_bn: bool = True,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
) -> dict[str, Any]:
    """Build a network by name and train it on two folders: what ``gatezoo train`` does.

    Args:
        classes: names of the classes, separated by commas, or "camvid".
        pretrained_backbone: "timm" for timm's published weights, or a local file of them.
        model_kwargs: further keywords of the model's builder. They are kept in the checkpoint.
        initial_checkpoint: a checkpoint of any network of the zoo; its tensors that fit are taken over.
    """
    names, palette = NAMED_CLASSES.get(classes, (tuple(classes.split(",")), ()))
    torch.manual_seed(recipe.seed)
    model = create_model(
        name,
        pretrained=pretrained,
        num_classes=len(names),
        pretrained_backbone=True if pretrained_backbone == "timm" else pretrained_backbone,
        freeze_bn=freeze_bn,
        **(model_kwargs or {}),
    )
    if initial_checkpoint:
        print(load_checkpoint(model, initial_checkpoint, strict=False))
    about = {
        "model": split_model_name_tag(name)[0],
        "num_classes": len(names),
        "class_names": names,
        "palette": palette,
    }
    about |= {"model_kwargs": model_kwargs or {}, "ignore_index": ignore_index, "in_chans": model.in_chans}
    datasets = [FolderDataset(folder, len(names), ignore_index) for folder in (data, val)]
    return train(model, *datasets, out, recipe, about, device, workers, resume)
