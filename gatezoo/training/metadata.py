"""What the header of a checkpoint says of the network and of the data that it is trained on."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..data.create import AnyDataset
from ..data.label_format import LabelFormat
from ..pretrained import PretrainedCfg
from ..registry import get_model_spec, is_model
from ..segmenters.base import BaseSegmenter


def derive_cfg(cfg: PretrainedCfg | None, data: AnyDataset) -> PretrainedCfg | None:
    """Return the config of weights that are trained from others on a data set; None if they start from none.

    The classes and the encoding of images and labels are those of the data, and ``base_model`` are the others.
    """
    if cfg is None:
        return None
    emptied: dict[str, Any] = {"metrics": {}, "train_data": "", "data_license": "", "command": ""}
    return dataclasses.replace(cfg, **_data_fields(data), **emptied, base_model=cfg.describe_as_base())


def describe_checkpoint(model: BaseSegmenter, data: AnyDataset, cfg: PretrainedCfg | None) -> dict[str, Any]:
    """Return the metadata that ``create_model`` needs to build the network of a checkpoint.

    Args:
        model: the network; {} is returned for one that is not registered.
        data: that it is trained on.
        cfg: what :func:`derive_cfg` returned for the weights that it starts from.
    """
    if model.architecture is None or not is_model(model.architecture):
        return {}
    return {
        "architecture": model.architecture,
        "model_kwargs": get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs),
        "in_chans": model.in_chans,
        **_data_fields(data),
        **({"license": cfg.license, "base_model": cfg.base_model} if cfg else {}),
    }


def _data_fields(data: AnyDataset) -> dict[str, Any]:
    """Return the fields of a pretrained config that a data set determines; one of a user may lack some."""
    label_format = getattr(data, "label_format", None) or LabelFormat()
    return {
        "num_classes": data.num_classes,
        "class_names": getattr(data, "classes", ()),
        "palette": getattr(data, "palette", ()),
        "ignore_index": getattr(data, "ignore_index", 255),
        "label_format": label_format.to_dict(),
        "image_max": getattr(data, "image_max", None),
    }
