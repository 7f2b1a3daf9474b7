"""Checks that a network and a data set have the same classes."""

from __future__ import annotations

from typing import Any

from ..segmenters.base import BaseSegmenter


def check_num_classes(model: BaseSegmenter, data: Any) -> None:
    """Raise ValueError if a data set, with ``num_classes``, has another number of classes than a model."""
    if data.num_classes != model.num_classes:
        classes = "classes" if model.task == "semantic" else "classes, the background among them"
        raise ValueError(
            f"the data must have the network's {model.num_classes} {classes}; got {data.num_classes}: "
            "fine-tune the network on them first, or choose other data"
        )


def check_class_names(model: BaseSegmenter, data: Any) -> None:
    """Raise ValueError if a class has another name in the data, ``classes``, than in the network's weights.

    For weights that are used as they are. A network that is being fine-tuned may keep the names of its first weights.
    """
    for index, (own, other) in enumerate(zip(model.class_names, getattr(data, "classes", None) or ())):
        # A number is the placeholder of a name that is not known.
        if not (own.isdecimal() or other.isdecimal() or own.lower() == other.lower()):
            raise ValueError(
                f"the data must have the network's classes; class {index} is {own!r} in the network and "
                f"{other!r} in the data: fine-tune the network on them first, or choose other data"
            )
