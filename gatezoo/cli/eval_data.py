"""The data set that ``gatezoo eval`` reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .option_groups import LabelOptions

if TYPE_CHECKING:
    from ..data import SegmentationDataset
    from ..data.create import AnyDataset
    from ..evaluation.experiment import EvalSetting
    from ..segmenters.base import BaseSegmenter

# Keywords of a folder's reader that are no label options.
FOLDER_OPTIONS = ("depth",)


def open_data(
    model: BaseSegmenter,
    root: Path,
    setting: EvalSetting,
    labels: LabelOptions,
    depth_map: Path | None,
) -> AnyDataset:
    """Open the data set that a model is evaluated on, with the labels that its task needs."""
    from ..data import SegmentationDataset, create_dataset, dataset_for_task
    from ..data.create import default_splits

    dataset, split, options = setting.dataset, setting.split, setting.data_options
    if dataset != "folder":
        if labels.given:
            raise ValueError(
                f"--{labels.given[0]} is only supported for folders; got --dataset {dataset}: leave it out"
            )
        reader = dataset_for_task(dataset, model.task)
        data = create_dataset(reader, root, split or default_splits(reader)[1], **options)
    elif "instances" in options:
        raise ValueError("--iiou and --components need data with instances, such as cityscapes; a folder has none")
    else:
        data = _open_folder(model, root, split, labels, options)
    if depth_map:
        if not isinstance(data, SegmentationDataset) or "depth" in data.layers:
            raise ValueError("--depth-map is for data with classes and without depth; these are not: leave it out")
        _add_depth(data, depth_map)
    if isinstance(data, SegmentationDataset) and getattr(model, "takes_depth", False) and "depth" not in data.layers:
        other = "" if dataset == "folder" else ", or --data-kwargs depth=True"
        raise ValueError(
            f"{model.architecture} needs the depth of each image; got none: pass --depth-map FOLDER{other}"
        )
    return data


def _open_folder(
    model: BaseSegmenter, root: Path, split: str | None, labels: LabelOptions, options: dict[str, Any]
) -> AnyDataset:
    """Open a folder in any format, after a check of its files."""
    from ..data import FolderDataset
    from ..data.annotated import open_evaluated
    from ..data.check.check import require_valid_folder
    from ..data.classes import parse_classes
    from ..inference.data_classes import check_num_classes
    from ..segmenters.base import SemanticSegmenter
    from ..utils.progress import track

    for option in options.keys() - FOLDER_OPTIONS:
        raise ValueError(f"the options of a folder are {', '.join(FOLDER_OPTIONS)}; got {option!r}")
    # What was not given is as in the training data of the weights.
    progress = partial(track, description="checking")
    folder = labels.folder_options(model.pretrained_cfg, in_chans=model.in_chans, check=True, progress=progress)
    classes = parse_classes(labels.classes)[0]
    names = model.class_names if classes is None or isinstance(classes, int) else classes
    if data := open_evaluated(root, split, folder, names, model.task, labels.encodes):
        return data
    root = root / (split or "")
    assert isinstance(model, SemanticSegmenter)
    kwargs = folder.folder_kwargs()
    data = FolderDataset(root, classes or model.num_classes, **kwargs, **options)
    check_num_classes(model, data)
    require_valid_folder(root, data.classes, **kwargs, min_size=model.min_size, progress=progress)
    return data


def _add_depth(data: SegmentationDataset, source: Path) -> None:
    """Add the depth of each image, from files as ``gatezoo predict`` takes them."""
    from ..data.base import ExtraMap
    from ..data.files.depth import depth_files, metres_file

    data.layers["depth"] = ExtraMap(depth_files(data.images, source), metres_file)
