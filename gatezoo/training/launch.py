"""From names to a training: what ``gatezoo train`` and ``gatezoo finetune`` do."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data import FolderDataset, open_dataset, reader_for
from ..data.base import SegmentationDataset
from ..data.check.check import check_folder
from ..data.classes import class_names
from ..data.files.depth import depth_quantiles
from ..evaluation.semantic import evaluate
from ..factory import create_model, load_checkpoint
from ..metrics import Scores
from ..publishing.model_folder import save_pretrained
from ..recipes.recipe import Recipe
from ..registry import find_row
from ..segmenters.base import Network
from ..segmenters.depth import DepthGated
from .trainer import train

Splits = tuple[SegmentationDataset, SegmentationDataset]


def open_folders(
    roots: tuple[Path, Path | None],
    classes: str | None,
    ignore_index: int,
    labels: Mapping[str, Any],
    val_share: float,
    seed: int,
    check: bool,
    options: Mapping[str, Any] | None = None,
) -> Splits:
    """One's own folders of pictures and labels: to train on, and to evaluate on (None: a share of the first).

    Args:
        labels: keywords of :class:`gatezoo.data.FolderDataset` that say how to read labels.
        check: look at every file first.
        options: further keywords of that class.
    """
    if classes is None:
        raise ValueError("a folder of one's own needs classes: give their names, or a file of them")
    names, palette = class_names(classes)
    if check:
        for root in filter(None, roots):
            check_folder(root, names, ignore_index, **labels).raise_errors()
    told = {**labels, **(options or {})}
    both = [FolderDataset(root, names, ignore_index, palette=palette, **told) for root in roots if root]
    return tuple(both) if len(both) == 2 else hold_out(both[0], val_share, seed)


def open_splits(
    data_dir: str | os.PathLike,
    dataset: str = "folder",
    train_split: str | None = None,
    val_split: str | None = None,
    val: str | os.PathLike | None = None,
    classes: str | None = None,
    ignore_index: int = 255,
    labels: Mapping[str, Any] | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    check: bool = False,
    task: str = "semantic",
    options: Mapping[str, Any] | None = None,
) -> Splits:
    """What to train on and what to evaluate on.

    Args:
        data_dir: folder of the data set.
        dataset: a reader of :mod:`gatezoo.data`; "folder" for one's own, which needs ``classes``.
        train_split, val_split: parts of it, by default "train" and "val". Of a folder: the folders of that name in it
            where there are any; else it is itself trained on.
        val: another folder to evaluate on. Without it, and without a part to evaluate on, a share ``val_share`` of a
            folder's pictures is held out, drawn by ``seed``.
        labels, check: see :func:`open_folders`.
        task: of the network. A folder of one's own holds classes; objects come in the format of COCO or as nuclei.
        options: keywords of the reader, such as ``depth=True``; of a folder, ``depth`` is the metres of one unit.
    """
    root = Path(data_dir)
    if task == "instance" and dataset == "folder":
        raise ValueError("objects must come from a data set of instances; a folder has none: --dataset coco, say")
    dataset = reader_for(dataset, task)
    if dataset != "folder":
        return (
            open_dataset(dataset, root, train_split or "train", **(options or {})),
            open_dataset(dataset, val or root, val_split or "val", **(options or {})),
        )
    inner = root / (train_split or "train")
    held = Path(val) if val else root / (val_split or "val")
    roots = (inner if train_split or inner.is_dir() else root, held if val or val_split or held.is_dir() else None)
    return open_folders(roots, classes, ignore_index, labels or {}, val_share, seed, check, options)


def hold_out(data: SegmentationDataset, share: float, seed: int) -> Splits:
    """Split a data set: all but a share of the pictures, and that share, drawn by the seed."""
    count = round(share * len(data))
    if not 1 <= count < len(data):
        raise ValueError(
            f"val_share of the {len(data)} pictures must leave some on both sides; {share} holds out {count}"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    return data.subset(sorted(order[count:])), data.subset(sorted(order[:count]))


def train_by_name(
    name: str,
    train_data: SegmentationDataset,
    val_data: SegmentationDataset,
    out: str | os.PathLike,
    recipe: Recipe,
    pretrained: bool = False,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | os.PathLike | None = None,
    model_kwargs: dict[str, Any] | None = None,
    freeze_bn: bool = True,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
    log_with: str | None = None,
) -> dict[str, Any]:
    """Build a network by name and train it on a data set.

    Args:
        pretrained_backbone: "timm" for timm's published weights, or a local file of them.
        initial_checkpoint: a checkpoint of any network of the zoo; its tensors that fit are taken over.
        model_kwargs: further keywords of the model's builder. They are kept in the checkpoint.
    """
    torch.manual_seed(recipe.seed)
    model = create_model(
        name,
        pretrained=pretrained,
        num_classes=train_data.num_classes,
        pretrained_backbone=True if pretrained_backbone == "timm" else pretrained_backbone,
        freeze_bn=freeze_bn,
        **(model_kwargs or {}),
    )
    _relabel(model, train_data)
    if initial_checkpoint:
        print(load_checkpoint(model, initial_checkpoint, strict=False))
    _set_scales(model, train_data)
    about = _about(model, train_data)
    return train(model, train_data, val_data, out, recipe, about, device, workers, resume, log_with)


def _relabel(model: Network, data: SegmentationDataset) -> None:
    """Weights that are about to learn a data set have its classes, whatever they had."""
    if model.pretrained_cfg:
        about = {"num_classes": data.num_classes, "class_names": data.classes, "palette": data.palette, "metrics": {}}
        about["ignore_index"] = getattr(data, "ignore_index", 255)
        model.pretrained_cfg = dataclasses.replace(model.pretrained_cfg, **about)


def _set_scales(model: Network, data: SegmentationDataset) -> None:
    """Scales by depth hold equally many pixels of the training data each, unless their thresholds were told."""
    by_depth = isinstance(model, DepthGated) and len(model.thresholds) and "thresholds" not in model.model_args
    if by_depth and "depth" in data.layers:
        model.set_thresholds(depth_quantiles(data, len(model.thresholds) + 1))


def _about(model: Network, data: SegmentationDataset) -> dict[str, Any]:
    """What a checkpoint must tell for ``create_model`` to build its network."""
    return {
        "model": model.architecture,
        "num_classes": data.num_classes,
        "class_names": data.classes,
        "palette": data.palette,
        "model_kwargs": find_row(model.architecture).variant(model.model_args),
        "ignore_index": getattr(data, "ignore_index", 255),
        "in_chans": model.in_chans,
    }


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning gave: scores on the held-out pictures before and after, and the model folder."""

    before: Scores
    after: Scores
    seconds: float
    folder: Path


def finetune(
    name: str,
    train_data: SegmentationDataset,
    val_data: SegmentationDataset,
    out: str | os.PathLike,
    recipe: Mapping[str, Any] | None = None,
    epochs: float = 20,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
) -> Finetuned:
    """Fit published weights to other pictures: all is trained on; another number of classes gives a new classifier.

    ``val_data`` tell how well it went and nothing else: no checkpoint is chosen by them, what is kept is the last
    one, as the folder ``out/model`` for ``create_model("local-dir:...")``.

    Args:
        recipe: fields of :class:`gatezoo.recipes.recipe.Recipe` that shall be others than here: half the usual rate, the crop
            of the weights, as many steps as ``epochs`` tells.
        epochs: rounds over the training pictures.
    """
    told = dict(recipe or {})
    began = time.monotonic()
    torch.manual_seed(told.get("seed", 0))
    model = create_model(name, pretrained=True, num_classes=train_data.num_classes, freeze_bn=True)
    model.must_be("semantic", "train objects with 'gatezoo train --pretrained'")
    _relabel(model, train_data)
    told = {"lr": 0.005, "crop": model.pretrained_cfg.recipe.get("crop", Recipe.crop), **told}
    told.setdefault("batch_size", min(Recipe.batch_size, len(train_data)))
    _set_scales(model, train_data)
    told.setdefault("steps", math.ceil(epochs * len(train_data) / told["batch_size"]))
    told = {"eval_every": told["steps"], "recovery_interval": max(1, told["steps"] // 10), **told}
    before = evaluate(model, val_data, device=device)
    about = _about(model, train_data)
    train(model, train_data, val_data, out, Recipe.from_dict(told), about, device, workers, resume)
    trained = create_model(model.architecture, checkpoint_path=Path(out) / "last.safetensors")
    after = evaluate(trained, val_data, device=device)
    metrics = {"miou": after.miou, "pixel_accuracy": after.pixel_accuracy, "mean_accuracy": after.mean_accuracy}
    metrics["protocol"] = f"{len(val_data)} pictures held out, single scale"
    trained.pretrained_cfg = dataclasses.replace(trained.pretrained_cfg, metrics=metrics)
    return Finetuned(before, after, time.monotonic() - began, save_pretrained(trained, Path(out) / "model"))
