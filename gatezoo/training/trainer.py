"""Train a network by a recipe on labeled images, in one process or several.

What is trained, on which batches, and how it is evaluated depends on the task: :mod:`gatezoo.training.tasks`.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.create import AnyDataset
from ..data.loader import EpochStream, create_loader
from ..data.repeat import repeat_factors
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..weights.header import make_metadata
from .accelerator import make_accelerator
from .frozen_layers import freeze_layers
from .identity import describe_training
from .interrupts import Interrupts, explain_runtime_errors
from .messages import log_info
from .metadata import derive_cfg, describe_checkpoint
from .optimizers import check_optimizer, create_optimizer, distinct_rates, lr_factor
from .options import RunOptions
from .phases import LinearProbe, augmented_copies
from .precision import mixed_precision, resolve_amp_dtype
from .progress import StepProgress
from .report import RunReport
from .run_folder import RunFolder
from .selection import Selection, flat_scores
from .state import check_weights, collect_state, restore_state
from .tasks import TASKS
from .trackers import named_scalars, plain_config

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
    resume: bool | Literal["auto"] = False,
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
        about: further metadata for the header of the checkpoints, which has what ``create_model`` needs to build the
            network again: its name and keywords, and the classes of the data.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        workers: processes that load images, for each process that trains; 0: none.
        resume: continue the training in ``out``; "auto": if it holds one, else start it.
        log_with: tracker of Accelerate: "tensorboard", "wandb", ...

    Returns:
        The metadata of the checkpoints, with the evaluations under "history".

    Raises:
        ValueError: losses or gradients stay infinite, memory runs out, a worker was killed, or the folder cannot be
            written; ``out`` holds a training and ``resume`` is not set, or one of another recipe, data or network and
            it is; or another process trains into it.
    """
    options = RunOptions(out, device, workers, resume, log_with=log_with)
    metadata = describe_checkpoint(model, train_data, derive_cfg(model.pretrained_cfg, train_data)) | (about or {})
    return Trainer(model, train_data, val_data, recipe, options, metadata).run()


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
        if recipe.keep_every > 1:
            train_data = train_data.subset(range(0, len(train_data), recipe.keep_every))
        self.model, self.train_data, self.val_data, self.workers = model, train_data, val_data, options.workers
        self.task = TASKS[model.task]
        check_weights(model)
        check_optimizer(recipe.opt)
        self.selection = Selection(recipe, self.task.metric_names, self.task.score_names(model, val_data))
        self.folder = RunFolder(options.out, options.resume, self.selection.shown)
        self.accelerator = make_accelerator(model, recipe, options)
        self.device = self.accelerator.device
        config = model.data_config
        mean, std = recipe.mean or config.mean, recipe.std or config.std
        self.identity = describe_training(model, train_data, val_data, replace(recipe, mean=mean, std=std))
        self.recipe = recipe = replace(recipe, amp_dtype=resolve_amp_dtype(recipe.amp_dtype, self.device))
        torch.use_deterministic_algorithms(recipe.deterministic)
        torch.manual_seed(recipe.seed + self.accelerator.process_index)

        self.metadata = make_metadata({"recipe": asdict(recipe), "mean": mean, "std": std, **(metadata or {})})
        if recipe.sync_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if recipe.grad_checkpointing:
            model.set_grad_checkpointing()
        self.objective = self.task.make_module(model, train_data, recipe, mean, std)
        self.objective.to(self.device).to(memory_format=torch.channels_last)
        if recipe.torchcompile:
            self.objective.compile()
        freeze_layers(model, recipe.frozen_layers)
        self.optimizer = create_optimizer(model, recipe)
        self.objective.train()  # now that it is settled which parameters are trained
        self.probe = LinearProbe(model, recipe.probe_steps)
        self.rates = distinct_rates(self.optimizer)
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
            restore_state(self, state, options.resume_with_changes)
        crops = recipe.batch_size * recipe.grad_accum_steps
        copies = augmented_copies(train_data, self.task, recipe, mean)
        (_, data), *later = [(step * crops, data) for step, data in copies]
        repeats = repeat_factors(train_data, recipe.repeat_thresh)
        self.stream = EpochStream(data, recipe.steps * crops, recipe.seed, self.step * crops, later, repeats)
        loader = create_loader(self.stream, recipe.batch_size, options.workers, self.device.type, self.task.collate)
        self.wrapped, self.loader = self.accelerator.prepare(self.objective, loader)

    def run(self) -> dict[str, Any]:
        """Train to the last step and return the metadata of the checkpoints, with the evaluations under "history"."""
        main = self.accelerator.is_main_process
        self.accelerator.wait_for_everyone()  # until all have read the state
        with self.folder.lock() if main else contextlib.nullcontext():
            if main:
                self.folder.start()
                if self.step:
                    self.folder.restore_last(self._averaged_model().state_dict(), self._current_metadata())
            self.accelerator.wait_for_everyone()
            self._run_steps()
        self.accelerator.end_training()
        return {**self.metadata, "history": self.history}

    def _run_steps(self) -> None:
        self.accelerator.init_trackers("log", plain_config(asdict(self.recipe)))
        data = self.train_data, self.val_data
        self.report = RunReport(self.folder.path, *data, self.rates, self.accelerator.trackers)
        if self.accelerator.is_main_process:
            self.report.draw_samples(self.stream, self.recipe.batch_size, self.step)
        if self.rng is not None:
            torch.set_rng_state(self.rng)
        images_per_step = self.recipe.batch_size * self.recipe.grad_accum_steps
        with (
            mixed_precision(self.model, self.device, self.recipe.amp_dtype) as self.autocast,
            explain_runtime_errors(self.folder.path),
            Interrupts() as interrupts,
            StepProgress(self.recipe.steps, self.step, images_per_step, self.accelerator.is_main_process) as progress,
        ):
            batches = iter(self.loader)
            while self.step < self.recipe.steps and not self.selection.is_over(self.history):
                self.train_step(batches)
                self.on_step_end(progress)
                if number := self.stop_signal(interrupts):
                    self._save()
                    log_info(f"stopped by {signal.Signals(number).name} after step {self.step}: --resume continues")
                    raise SystemExit(128 + number)
        if self.step < self.recipe.steps:
            log_info(f"training ends after step {self.step}: the score was not better {self.recipe.patience} times")

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
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), recipe.clip_grad or math.inf).item()
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

    def on_step_end(self, progress: StepProgress) -> None:
        """Log, evaluate and save at the recipe's intervals."""
        recipe, main = self.recipe, self.accelerator.is_main_process
        row = {"step": self.step, "loss": self.loss_ema, "lr": self.optimizer.param_groups[0]["lr"]}
        row["images_per_s"] = progress.images_per_second(self.step)
        evaluates = self.step % recipe.eval_interval == 0 or self.step == recipe.steps
        if evaluates:
            network, device = self._averaged_model(), str(self.device)
            scores = self.task.evaluate(
                network, self.val_data, self.objective, device, self.workers, [self.report.predictions]
            )
            self.history.append({"step": self.step, "loss": self.loss_ema, **scores})
            flat = flat_scores(scores)
            row |= {name: flat[name] for name in self.selection.shown}
            val_loss = f", val loss {flat['val_loss']:.3f}" if flat.get("val_loss") is not None else ""
            best = self.selection.describe(scores)
            log_info(f"step {self.step}: loss {self._shown_loss():.3f}{val_loss}, {best}")
        if main and (evaluates or self.step % recipe.log_interval == 0):
            self.folder.log(row)
            self.accelerator.log(named_scalars(row), step=self.step)
        if main and evaluates:
            self.report.draw_evaluation(self.history, self.selection.by_rank)
        progress.update(self.step, self._shown_loss(), evaluates)
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
        state = collect_state(self)
        if self.accelerator.is_main_process:
            best = bool(self.history) and self.history[-1]["step"] == self.step and self._is_best()
            self.folder.save(state, self._averaged_model().state_dict(), self._current_metadata(), best)
        self.accelerator.wait_for_everyone()

    def _is_best(self) -> bool:
        """Return whether the last evaluation is the best, or the only one whose weights are there."""
        return self.selection.is_best(self.history) or not self.folder.has_best

    def _current_metadata(self) -> dict[str, Any]:
        return {**self.metadata, "step": self.step, "history": self.history}
