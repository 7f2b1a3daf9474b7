"""Train a network by a recipe on labeled images, in one process or several.

What is trained, on which batches, and how it is evaluated depends on the task: :mod:`gatezoo.training.tasks`.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.create import AnyDataset
from ..data.loader import EpochStream, create_loader
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..weights.conversions import FORMAT_VERSION
from .accelerator import make_accelerator
from .interrupts import Interrupts, explain_runtime_errors
from .messages import log_info
from .optimizers import create_optimizer, lr_factor
from .options import RunOptions
from .phases import LinearProbe, augmented_copies
from .precision import mixed_precision, resolve_amp_dtype
from .run_folder import RunFolder
from .tasks import TASKS

# Steps in a row that may be skipped for an infinite gradient.
MAX_SKIPPED = 10


def train(
    model: BaseSegmenter,
    train_data: AnyDataset,
    val_data: AnyDataset,
    out: str | os.PathLike,
    recipe: Recipe,
    about: dict[str, Any] | None = None,
    device: str = "auto",
    workers: int = 1,
    resume: bool = False,
    log_with: str | None = None,
) -> dict[str, Any]:
    """Train a network, evaluate it regularly, and keep the best and the last checkpoint in the folder ``out``.

    Runs in one process, and in several under ``torchrun`` or ``accelerate launch``. The files of the folder are
    described at :class:`gatezoo.training.run_folder.RunFolder`; ``resume`` continues from them, on a CPU with the same
    bits as an uninterrupted run. SIGTERM and Ctrl-C save, then end the process with 128 + the number of the signal.

    Args:
        model: the network.
        train_data: images to train on, with the recipe's transform in place of their own.
        val_data: images to evaluate on.
        out: folder for checkpoints and logs.
        recipe: how the network is trained.
        about: further metadata for the header of the checkpoints: name and keywords of the model, class names.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        workers: processes that load images, for each process that trains; 0: none.
        resume: continue the training in ``out``.
        log_with: tracker of Accelerate: "tensorboard", "wandb", ...

    Returns:
        The metadata of the checkpoints, with the evaluations under "history".

    Raises:
        ValueError: losses or gradients stay infinite, memory runs out, a worker was killed, or the folder cannot be
            written; or ``out`` holds another training and ``resume`` is not set.
    """
    options = RunOptions(out, device, workers, resume, log_with)
    return Trainer(model, train_data, val_data, recipe, options, about).run()


class Trainer:
    """One training run; see :func:`train`.

    Args:
        model: the network.
        train_data: images to train on.
        val_data: images to evaluate on.
        recipe: how the network is trained.
        options: output folder, device and further options of the run.
        metadata: further metadata for the header of the checkpoints.
    """

    def __init__(
        self,
        model: BaseSegmenter,
        train_data: AnyDataset,
        val_data: AnyDataset,
        recipe: Recipe,
        options: RunOptions,
        metadata: dict[str, Any] | None = None,
    ):
        self.model, self.val_data, self.workers = model, val_data, options.workers
        self.task = TASKS[model.task]
        self.folder = RunFolder(options.out, options.resume, self.task.metric_names)
        self.accelerator = make_accelerator(model, recipe, options)
        self.device = self.accelerator.device
        self.recipe = recipe = replace(recipe, amp_dtype=resolve_amp_dtype(recipe.amp_dtype, self.device))
        torch.use_deterministic_algorithms(recipe.deterministic)
        torch.manual_seed(recipe.seed + self.accelerator.process_index)

        config = model.data_config
        mean, std = recipe.mean or config.mean, recipe.std or config.std
        self.metadata = {"recipe": asdict(recipe), "mean": mean, "std": std, **(metadata or {})}
        self.metadata |= {"format_version": FORMAT_VERSION, "versions": versions()}
        if recipe.sync_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if recipe.grad_checkpointing:
            model.set_grad_checkpointing()
        self.objective = self.task.make_module(model, train_data, recipe, mean, std)
        self.objective.to(self.device).to(memory_format=torch.channels_last)
        if recipe.torchcompile:
            self.objective.compile()
        self.optimizer = create_optimizer(model, recipe)
        self.objective.train()  # now that it is settled which parameters are trained
        self.probe = LinearProbe(model, recipe.linear_probe_steps)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.ema_model: AveragedModel | None = None
        if recipe.ema_decay:
            average = get_ema_multi_avg_fn(recipe.ema_decay)
            self.ema_model = AveragedModel(model, multi_avg_fn=average, use_buffers=True)

        self.step, self.skipped = 0, 0
        self.loss_ema: float | None = None  # exponential moving average; None before the first finite loss
        self.history: list[dict[str, Any]] = []
        self.rng: torch.Tensor | None = None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.amp_dtype == "fp16")
        if state := self.folder.load():
            self._restore(state)
        crops = recipe.batch_size * recipe.grad_accum_steps
        copies = augmented_copies(train_data, self.task, recipe, mean)
        (_, data), *later = [(step * crops, data) for step, data in copies]
        stream = EpochStream(data, recipe.steps * crops, recipe.seed, self.step * crops, later)
        loader = create_loader(stream, recipe.batch_size, options.workers, self.device.type, self.task.collate)
        self.wrapped, self.loader = self.accelerator.prepare(self.objective, loader)

    def run(self) -> dict[str, Any]:
        """Train to the last step and return the metadata of the checkpoints, with the evaluations under "history"."""
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
            bar = progress.add_task("train", total=self.recipe.steps, completed=self.step, loss=math.nan)
            batches, start_time, first_step = iter(self.loader), time.monotonic(), self.step
            while self.step < self.recipe.steps:
                self.train_step(batches)
                progress.update(bar, completed=self.step, loss=self._shown_loss())
                images = (self.step - first_step) * self.recipe.batch_size * self.recipe.grad_accum_steps
                self.on_step_end(images / (time.monotonic() - start_time), progress.disable)
                if number := self.stop_signal(interrupts):
                    self._save()
                    log_info(f"stopped by {signal.Signals(number).name} after step {self.step}: --resume continues")
                    raise SystemExit(128 + number)
        self.accelerator.end_training()
        return {**self.metadata, "history": self.history}

    def train_step(self, batches: Iterator[Any]) -> None:
        """Run one step of the optimizer."""
        recipe, total = self.recipe, torch.zeros((), device=self.device)
        self.probe.begin_step(self.step)
        self.task.begin_step(self.objective, self.step, recipe)
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base_lr * lr_factor(self.step, recipe)
        for micro in range(recipe.grad_accum_steps):
            inputs = self.task.unpack(next(batches))
            last = micro == recipe.grad_accum_steps - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                with self.autocast:
                    loss = self.wrapped(*inputs) / recipe.grad_accum_steps
                self.accelerator.backward(self.scaler.scale(loss))
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), recipe.clip_grad).item()
        value = self.accelerator.reduce(total, "mean").item()
        if math.isfinite(norm) or self.scaler.is_enabled():  # an enabled scaler skips infinite gradients itself
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.skipped = 0
            if self.ema_model:
                self.ema_model.update_parameters(self.model)
        else:
            # In bf16 a gradient overflows once in a long while; several in a row mean that the training diverges.
            self.skipped += 1
            log_info(f"step {self.step}: loss {value}, gradient norm {norm}: step skipped")
            if self.skipped == MAX_SKIPPED:
                raise ValueError(
                    f"losses and gradients must be finite; {MAX_SKIPPED} steps up to step {self.step} were not: "
                    "lower lr, set amp_dtype to none, or check the data"
                )
        self.optimizer.zero_grad()
        if math.isfinite(value):
            self.loss_ema = value if self.loss_ema is None else 0.98 * self.loss_ema + 0.02 * value
        self.step += 1

    def on_step_end(self, images_per_second: float, log_steps: bool) -> None:
        """Log, evaluate and save at the recipe's intervals.

        Args:
            images_per_second: speed since the start of the run.
            log_steps: log a message at ``log_interval`` too; otherwise only after an evaluation.
        """
        recipe, main = self.recipe, self.accelerator.is_main_process
        row = {"step": self.step, "loss": self.loss_ema, "lr": self.optimizer.param_groups[0]["lr"]}
        row["images_per_s"] = images_per_second
        evaluates = self.step % recipe.eval_interval == 0 or self.step == recipe.steps
        if evaluates:
            network, device = self._averaged_model(), str(self.device)
            scores = self.task.evaluate(network, self.val_data, self.objective, device, self.workers)
            self.objective.train()
            self.history.append({"step": self.step, "loss": self.loss_ema, **scores})
            row |= {name: scores[name] for name in self.task.metric_names}
            score = scores[self.task.metric_names[0]]
            log_info(f"step {self.step}: loss {self._shown_loss():.3f}, val {self.task.metric_title} {score:.4f}")
        if main and (evaluates or self.step % recipe.log_interval == 0):
            self.folder.log(row)
            self.accelerator.log({key: value for key, value in row.items() if key != "step"}, step=self.step)
            if log_steps and not evaluates:
                speed = f"{images_per_second:.2f} images/s"
                log_info(f"step {self.step}/{recipe.steps} loss {self._shown_loss():.3f} {speed}")
        if evaluates or (recipe.checkpoint_interval and self.step % recipe.checkpoint_interval == 0):
            self._save()

    def stop_signal(self, interrupts: Interrupts) -> int:
        """Return the signal that any process received, 0 if none; all processes must end at the same step."""
        number = interrupts.received or 0
        if self.accelerator.num_processes > 1:
            number = int(self.accelerator.gather(torch.tensor([number], device=self.device)).max())
        return number

    def _averaged_model(self) -> BaseSegmenter:
        """Return the network to evaluate and to save: the average of the weights, if one is kept."""
        if self.ema_model is None:
            return self.model
        network = self.ema_model.module
        assert isinstance(network, BaseSegmenter)
        return network

    def _shown_loss(self) -> float:
        return math.nan if self.loss_ema is None else self.loss_ema

    def _save(self) -> None:
        rng = gather_object([torch.get_rng_state()])
        if self.accelerator.is_main_process:
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema_model": self.ema_model.state_dict() if self.ema_model else None,
                "scaler": self.scaler.state_dict(),
                "rng": rng,
                "step": self.step,
                "skipped": self.skipped,
                "loss_ema": self.loss_ema,
                "history": self.history,
            }
            metadata = {**self.metadata, "step": self.step, "history": self.history}
            scores = [row[self.task.metric_names[0]] for row in self.history]
            best = bool(scores) and self.history[-1]["step"] == self.step and scores[-1] == max(scores)
            self.folder.save(state, self._averaged_model().state_dict(), metadata, best)
        self.accelerator.wait_for_everyone()

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            message = f"resume must continue with the network of {self.folder.state_path}; this is another"
            raise ValueError(f"{message}: pass the same model, keywords and classes") from error
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema_model:
            self.ema_model.load_state_dict(state["ema_model"])
        self.step, self.skipped, self.loss_ema = state["step"], state["skipped"], state["loss_ema"]
        self.history = state["history"]
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if len(state["rng"]) == self.accelerator.num_processes:
            self.rng = state["rng"][self.accelerator.process_index]
