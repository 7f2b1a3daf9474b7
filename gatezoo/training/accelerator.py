"""Set up Accelerate for a training run."""

from __future__ import annotations

from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs

from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from .options import RunOptions
from .tasks import has_auxiliary


def make_accelerator(model: BaseSegmenter, recipe: Recipe, options: RunOptions) -> Accelerator:
    """Make the accelerator for one or several processes.

    Raises:
        ValueError: a batch that cannot be split evenly, or ``sync_bn`` on a CPU.
    """
    unused = model.find_unused_parameters or (has_auxiliary(model) and not recipe.aux_loss_weight)
    accelerator = Accelerator(
        cpu=options.device == "cpu",
        # Each batch is split into the processes' shares, so that the number of processes does not change the result.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
        log_with=options.log_with,
        project_dir=options.out,
    )
    count = accelerator.num_processes
    if recipe.batch_size % count:
        raise ValueError(f"batch_size must be a multiple of the {count} processes; got {recipe.batch_size}")
    if recipe.sync_bn and accelerator.device.type == "cpu":
        raise ValueError("sync_bn must run on GPUs; got a CPU, for which torch has none: leave it out, or freeze_bn")
    return accelerator
