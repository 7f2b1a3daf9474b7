"""Evaluation of a network of objects on labelled images, each at its own size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..data.base import Sample
from ..metrics.detection import InstanceMetric
from ..segmenters.instance import InstanceSegmenter
from ..utils.distributed import get_rank_and_world_size

# COCO's names of what is compared, by ours.
KINDS = {"mask": "segm", "box": "bbox"}


@torch.inference_mode()
def evaluate_instances(
    model: InstanceSegmenter, data: Dataset, device: str = "cpu", workers: int = 0, progress: bool = False
) -> dict[str, Any]:
    """COCO's average precision of masks and boxes, one image at a time.

    Where several processes work together each takes its share of the images: every process must call it.

    Args:
        data: samples with image, boxes, labels and masks, as :mod:`gatezoo.data.instances` has them, and the attributes
            ``num_classes`` and ``classes``, the background first.
        workers: processes that decode images ahead; 0: none.
        progress: show a bar on stderr.

    Returns:
        mask_ap, mask_ap50, mask_ap75, mask_ap_small .. mask_ar100, mask_by_class {name: AP}, and the same for box; None
        for what there was nothing to find of.

    Raises:
        ValueError: a network of another task, no images, other classes than the network's, or no object at all.
    """
    _check(model, data)
    model.to(device).eval()
    scores = InstanceMetric(tuple(KINDS.values()))
    for sample in _samples(data, workers, progress):
        image = sample["image"].as_subclass(Tensor).to(device) / 255
        (found,) = model([image])
        scores.update([{**found, "masks": (found["masks"] >= 0.5)[:, 0]}], [_truth(sample)])
    figures = scores.compute()
    flat: dict[str, Any] = {}
    for ours, theirs in KINDS.items():
        by_class = figures[theirs].pop("by_class")
        flat |= {f"{ours}_{name}": value for name, value in figures[theirs].items()}
        flat[f"{ours}_by_class"] = {data.classes[label]: value for label, value in by_class.items()}
    if flat["mask_ap"] is None:
        raise ValueError("a data set to evaluate objects on must hold some; it holds none: look at its annotations")
    return flat


def _check(model: InstanceSegmenter, data: Dataset) -> None:
    model.require_task("instance", "use gatezoo.evaluate")
    if len(data) == 0:
        raise ValueError("a data set to evaluate on must hold images; it holds none: look at its folder and split")
    if data.num_classes != model.num_classes:
        raise ValueError(
            f"the data must have the network's {model.num_classes} classes, the background among them; "
            f"got {data.num_classes}: fine-tune the network on them first, or choose other data"
        )
    first = data[0]
    if not (isinstance(first, dict) and {"image", "boxes", "labels", "masks"} <= first.keys()):
        got = sorted(first) if isinstance(first, dict) else type(first).__name__
        raise ValueError(f"a sample must be a dict with image, boxes, labels and masks; got {got}")


def _samples(data: Dataset, workers: int, progress: bool) -> Iterable[Sample]:
    """The samples of this process."""
    rank, count = get_rank_and_world_size()
    share = Subset(data, range(rank, len(data), count))
    loader = DataLoader(share, batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    if progress and rank == 0:
        return track(loader, "evaluating", console=Console(stderr=True), transient=True)
    return loader


def _as_it_is(sample: Sample) -> Sample:
    return sample


def _truth(sample: Sample) -> dict[str, Tensor]:
    return {key: sample[key] for key in ("boxes", "labels", "masks")}
