"""Training: a network, a recipe and a data set of labelled images, on one process or many.

What is trained, on what batches and how it is judged is the task's: :mod:`gatezoo.training.tasks`.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from ..data.loader import EpochStream, create_loader
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..weights.conversions import FORMAT_VERSION
from .interrupts import Interrupts, explain_runtime_errors
from .optimizers import create_optimizer, lr_factor
from .precision import mixed_precision, resolve_amp_dtype
from .run_folder import RunFolder
from .tasks import TASKS, has_auxiliary

# Steps in a row that may be left out for an infinite gradient.
MAX_SKIPPED = 10


def train(
    model: BaseSegmenter,
    train_data: Dataset,
    val_data: Dataset,
    out: str | Path,
    recipe: Recipe,
    about: dict[str, Any] | None = None,
    device: str = "cpu",
    workers: int = 1,
    resume: bool = False,
    log_with: str | None = None,
) -> dict[str, Any]:
    """Train, evaluate now and then, and keep the best and the last checkpoint in the folder ``out``.

    Runs as it is on one process, and on several under ``torchrun`` or ``accelerate launch``. What the folder holds
    says :class:`gatezoo.training.run_folder.RunFolder`; ``resume`` goes on from it, to the bit on a CPU. SIGTERM
    and Ctrl-C save, then end the process with 128 + the number of the signal.

    Args:
        about: further facts for the checkpoints' header: the model's name and keywords, class names.
        workers: processes that decode and augment, for each process that trains.
        log_with: a tracker of accelerate's: "tensorboard", "wandb", ...

    Returns:
        The header of the checkpoints, with the record of evaluations.

    Raises:
        ValueError: losses or gradients that stay infinite, memory that runs out, a worker that was killed, a folder
            that cannot be written; or ``out`` holds another training and ``resume`` is not set.
    """
    return Trainer(model, train_data, val_data, out, recipe, about or {}, device, workers, resume, log_with).run()


class Trainer:
    """One training. See :func:`train`."""

    def __init__(
        self,
        model: BaseSegmenter,
        train_data: Dataset,
        val_data: Dataset,
        out: str | Path,
        recipe: Recipe,
        about: dict[str, Any],
        device: str,
        workers: int,
        resume: bool,
        log_with: str | None,
    ):
        self.model, self.val_data = model, val_data
        self.job = TASKS[model.task]
        self.folder = RunFolder(out, resume, self.job.figures)
        self.accelerator = _accelerator(model, recipe, device, out, log_with)
        self.device = self.accelerator.device
        self.recipe = recipe = replace(recipe, amp_dtype=resolve_amp_dtype(recipe.amp_dtype, self.device))
        torch.use_deterministic_algorithms(recipe.deterministic)
        torch.manual_seed(recipe.seed + self.accelerator.process_index)

        expected = model.data_config
        mean, std = recipe.mean or expected.mean, recipe.std or expected.std
        self.header = {"recipe": asdict(recipe), "mean": mean, "std": std, **about}
        self.header |= {"format_version": FORMAT_VERSION, "versions": versions()}
        if recipe.sync_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if recipe.grad_checkpointing:
            model.set_grad_checkpointing()
        self.task = self.job.module(model, train_data, recipe, mean, std)
        self.task.to(self.device, memory_format=torch.channels_last)
        if recipe.torchcompile:
            self.task.compile()
        self.optimizer = create_optimizer(model, recipe)
        self.task.train()  # now that it is settled what is trained
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.ema_model = None
        if recipe.ema_decay:
            blend = get_ema_multi_avg_fn(recipe.ema_decay)
            self.ema_model = AveragedModel(model, multi_avg_fn=blend, use_buffers=True)

        self.step, self.skipped, self.loss_ema = 0, 0, None
        self.history: list[dict[str, Any]] = []
        self.rng = None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.amp_dtype == "fp16")
        if state := self.folder.load():
            self._restore(state)
        self.job.augment(train_data, recipe, mean)
        crops = recipe.batch_size * recipe.grad_accum_steps
        stream = EpochStream(train_data, recipe.steps * crops, recipe.seed, self.step * crops)
        loader = create_loader(stream, recipe.batch_size, workers, self.device.type, self.job.collate)
        self.wrapped, self.loader = self.accelerator.prepare(self.task, loader)

    def run(self) -> dict[str, Any]:
        """Train to the last step."""
        main = self.accelerator.is_main_process
        if main:
            self.folder.start(self.step)
        self.accelerator.wait_for_everyone()
        self.accelerator.init_trackers("log")
        if self.rng is not None:
            torch.set_rng_state(self.rng)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"), TimeRemainingColumn())
        with (
            mixed_precision(self.model, self.device, self.recipe.amp_dtype) as self.autocast,
            explain_runtime_errors(self.folder.path),
            Interrupts() as interrupts,
            Progress(*columns, disable=not (main and sys.stdout.isatty())) as progress,
        ):
            bar = progress.add_task("train", total=self.recipe.steps, init_missing=self.step, loss=math.nan)
            batches, began, first = iter(self.loader), time.monotonic(), self.step
            while self.step < self.recipe.steps:
                self.train_step(batches, progress.console.print)
                progress.update(bar, init_missing=self.step, loss=self.loss_ema)
                images_per_second = (self.step - first) * self.recipe.batch_size * self.recipe.grad_accum_steps
                self.on_step_end(images_per_second / (time.monotonic() - began), progress)
                if number := self.stop_signal(interrupts):
                    self._save()
                    progress.console.print(
                        f"stopped by {signal.Signals(number).name} after step {self.step}: resume to go on"
                    )
                    raise SystemExit(128 + number)
        self.accelerator.end_training()
        return {**self.header, "record": self.history}

    def train_step(self, batches: Iterator, say) -> None:
        """One step of the optimizer."""
        recipe, total = self.recipe, torch.zeros((), device=self.device)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * lr_factor(self.step, recipe)
        for micro in range(recipe.grad_accum_steps):
            inputs = self.job.inputs(next(batches))
            last = micro == recipe.grad_accum_steps - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                with self.autocast:
                    loss = self.wrapped(*inputs) / recipe.grad_accum_steps
                self.accelerator.backward(self.scaler.scale(loss))
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.task.parameters(), recipe.clip_grad).item()
        value = self.accelerator.reduce(total, "mean").item()
        if math.isfinite(norm) or self.scaler.is_enabled():  # which leaves infinite gradients out by itself
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.skipped = 0
            if self.ema_model:
                self.ema_model.update_parameters(self.model)
        else:
            # In bf16 a gradient overflows once in a long while; a run of them is a training gone wrong.
            self.skipped += 1
            say(f"step {self.step}: loss {value}, gradient norm {norm}: step skipped")
            if self.skipped == MAX_SKIPPED:
                raise ValueError(
                    f"losses and gradients must be finite; {MAX_SKIPPED} steps up to step {self.step} were not: "
                    "lower lr, set amp to none, or look at the data"
                )
        self.optimizer.zero_grad()
        if math.isfinite(value):
            self.loss_ema = value if self.loss_ema is None else 0.98 * self.loss_ema + 0.02 * value
        self.step += 1

    def on_step_end(self, images_per_second: float, progress: Progress) -> None:
        """Log, evaluate and save as often as the recipe says."""
        recipe, main = self.recipe, self.accelerator.is_main_process
        row = {"step": self.step, "loss": self.loss_ema, "lr": self.optimizer.param_groups[0]["lr"]}
        row["images_per_s"] = images_per_second
        evaluates = self.step % recipe.eval_interval == 0 or self.step == recipe.steps
        if evaluates:
            network = self.ema_model.module if self.ema_model else self.model
            scores = self.job.evaluate(network, self.val_data, self.task, str(self.device))
            self.task.train()
            self.history.append({"step": self.step, "loss": self.loss_ema, **scores})
            row |= {key: scores[key] for key in self.job.figures}
            if main:
                score = f"val {self.job.title} {scores[self.job.figures[0]]:.4f}"
                progress.console.print(f"step {self.step}: loss {self.loss_ema:.3f}, {score}")
        if main and (evaluates or self.step % recipe.log_interval == 0):
            self.folder.log(row)
            self.accelerator.log({key: value for key, value in row.items() if key != "step"}, step=self.step)
            if progress.disable and not evaluates:
                print(
                    f"step {self.step}/{recipe.steps} loss {self.loss_ema:.3f} {images_per_second:.2f} images/s",
                    flush=True,
                )
        if evaluates or (recipe.checkpoint_interval and self.step % recipe.checkpoint_interval == 0):
            self._save()

    def _save(self) -> None:
        rng = gather_object([torch.get_rng_state()])
        if self.accelerator.is_main_process:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.ema_model.state_dict() if self.ema_model else None,
                "scaler": self.scaler.state_dict(),
                "rng": rng,
                "step": self.step,
                "skipped": self.skipped,
                "mean_loss": self.loss_ema,
                "record": self.history,
            }
            network = self.ema_model.module if self.ema_model else self.model
            header = {**self.header, "step": self.step, "record": self.history}
            figures = [row[self.job.figures[0]] for row in self.history]
            best = bool(figures) and self.history[-1]["step"] == self.step and figures[-1] == max(figures)
            self.folder.save(state, network.state_dict(), header, best)
        self.accelerator.wait_for_everyone()

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            message = f"resume must go on with the network of {self.folder.path / 'state.pt'}; this is another"
            raise ValueError(f"{message}: give the same model, keywords and classes") from error
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema_model:
            self.ema_model.load_state_dict(state["average"])
        self.step, self.skipped, self.loss_ema = state["step"], state["skipped"], state["mean_loss"]
        self.history = state["record"]
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if len(state["rng"]) == self.accelerator.num_processes:
            self.rng = state["rng"][self.accelerator.process_index]

    def stop_signal(self, interrupts: Interrupts) -> int:
        """The signal that any process received; they must all end at the same step."""
        number = interrupts.received or 0
        if self.accelerator.num_processes > 1:
            number = int(self.accelerator.gather(torch.tensor([number], device=self.device)).max())
        return number


def _accelerator(
    model: BaseSegmenter, recipe: Recipe, device: str, out: str | Path, log_with: str | None
) -> Accelerator:
    unused = model.find_unused_parameters or (has_auxiliary(model) and not recipe.aux_loss_weight)
    accelerator = Accelerator(
        cpu=device == "cpu",
        # Each batch is cut into the processes' shares, so that the number of processes changes no result.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
        log_with=log_with,
        project_dir=out,
    )
    count = accelerator.num_processes
    if recipe.batch_size % count:
        raise ValueError(f"batch_size must be a multiple of the {count} processes; got {recipe.batch_size}")
    if recipe.sync_bn and accelerator.device.type == "cpu":
        raise ValueError("sync_bn must run on GPUs, torch has none for CPUs: leave it out, or freeze_bn")
    return accelerator
