"""Set up Accelerate for a training run."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import gather_object

from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.devices import describe_device, resolve_device
from .interrupts import watch_parent
from .messages import log_info
from .objectives import has_auxiliary
from .options import RunOptions


def make_accelerator(model: BaseSegmenter, recipe: Recipe, options: RunOptions) -> Accelerator:
    """Make the accelerator for one or several processes.

    Raises:
        ValueError: a device that is not there, a batch that cannot be split evenly, or ``sync_bn`` on a CPU.
    """
    device = select_device(options.device)
    unused = model.find_unused_parameters or (has_auxiliary(model) and not recipe.aux_loss_weight)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        # Each batch is split into the processes' shares, so that the number of processes does not change the result.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused or recipe.probe_steps > 0)],
        log_with=options.log_with,
        project_dir=options.out,
    )
    count = accelerator.num_processes
    if recipe.batch_size % count:
        raise ValueError(f"batch_size must be a multiple of the {count} processes; got {recipe.batch_size}")
    if recipe.sync_bn and accelerator.device.type == "cpu":
        raise ValueError("sync_bn must run on GPUs; got a CPU, for which torch has none: leave it out, or freeze_bn")
    where = describe_device(accelerator.device)
    if count > 1:
        watch_parent()
        devices = ", ".join(gather_object([str(accelerator.device)]))
        log_info(f"{count} processes, {recipe.batch_size // count} images each; only the first one logs and saves")
        where = f"{where}; by process: {devices}"
    log_info(f"running on {where}")
    return accelerator


def select_device(name: str) -> torch.device:
    """Check a device and make it the one that Accelerate, which takes no device, will choose."""
    device = resolve_device(name)
    if device.type == "cuda" and device.index is not None:
        if "LOCAL_RANK" in os.environ and device.index != int(os.environ["LOCAL_RANK"]):
            raise ValueError(f"device must be auto, cpu or cuda under torchrun, which deals out the GPUs; got {name}")
        torch.cuda.set_device(device)
    # Accelerate keeps the kind of device of a process's first training.
    if is_initialized() and AcceleratorState().num_processes == 1 and AcceleratorState().device.type != device.type:
        AcceleratorState._reset_state(reset_partial_state=True)
    return device
