"""Networks by name, loaded once for all visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

import torch

from .. import pretrained
from ..factory import from_pretrained, load_model
from ..inference.instance import InstancePredictor
from ..inference.predictor import Predictor
from ..segmenters.base import SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.devices import resolve_device
from ..utils.modules import copy_for_inference
from . import jobs

# Instances with a lower score cannot be chosen with the slider.
MIN_SCORE = 0.05


@dataclass(frozen=True)
class Loaded:
    """A network in memory.

    Attributes:
        name: that it was asked for by.
        predictor: of its task.
    """

    name: str
    predictor: Predictor | InstancePredictor

    def semantic(self) -> Predictor:
        """Return the predictor of classes.

        Raises:
            ValueError: the network finds instances, or takes the depth of the image.
        """
        if isinstance(self.predictor, InstancePredictor):
            raise ValueError(
                f"passes and gates are those of semantic segmentation; {self.name} finds instances: choose another"
            )
        if self.predictor.model.takes_depth:
            raise ValueError(
                f"the page has no depth to give to a network; {self.name} takes the depth of the image: use gatezoo "
                "predict --depth-map"
            )
        return self.predictor


class ModelStore:
    """Networks that were used last.

    Args:
        names: that are offered, each as :func:`gatezoo.from_pretrained` takes it, or a checkpoint of ``gatezoo train``.
        only: whether no others may be loaded; else any name is tried, files and repositories of the Hub among them.
        device: that they run on.
        capacity: number of networks that are kept.
    """

    def __init__(self, names: Sequence[str] = (), only: bool = False, device: str = "auto", capacity: int = 3):
        self.names, self.only = tuple(names), only
        self.device, self.capacity = resolve_device(device), capacity
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Future[Loaded]] = OrderedDict()

    def get(self, name: str | None) -> Loaded:
        """Return a network by name; of visitors who ask for the same one at the same time, the first loads it.

        Raises:
            ValueError: no name, one that is not offered, and what :func:`gatezoo.from_pretrained` refuses.
        """
        name = (name or "").strip()
        if not name:
            raise ValueError("a model must be chosen; got none: pick one from the list")
        if self.only and name not in self.names:
            raise ValueError(f"a model must be one of {', '.join(self.names)}; got {name!r}: pick one from the list")
        jobs.report(None, f"loading {name}")
        with self._lock:
            future = self._loaded.get(name)
            mine = future is None
            if future is None:
                future = self._loaded[name] = Future()
            self._loaded.move_to_end(name)
        if mine:
            self._load(name, future)
        while True:
            try:
                return future.result(timeout=0.2)
            except NotYet:
                jobs.check()

    def __contains__(self, name: str) -> bool:
        return name in self._loaded

    def _load(self, name: str, future: Future[Loaded]) -> None:
        """Load a network into a future, and forget those that were not used for longest."""
        try:
            future.set_result(_load(name, self.device))
        except BaseException as error:
            with self._lock:
                self._loaded.pop(name, None)
            future.set_exception(error)
            return
        with self._lock:
            for old in [key for key, one in self._loaded.items() if one.done()][: -self.capacity]:
                del self._loaded[old]


def _load(name: str, device: torch.device) -> Loaded:
    model = load_model(name) if name.endswith(".safetensors") else from_pretrained(name)
    predictor: Predictor | InstancePredictor
    if isinstance(model, InstanceSegmenter):
        predictor = InstancePredictor(model, device, score_threshold=MIN_SCORE)
    else:
        assert isinstance(model, SemanticSegmenter)
        # Not prepared, so that the classes are those of gatezoo.predict to the last pixel.
        predictor = Predictor(copy_for_inference(model, device), shared=True)
    jobs.watch(predictor.model)
    return Loaded(name, predictor)


def offered(names: Collection[str]) -> list[str]:
    """Return the names that the page offers: the given ones, and those of all published weights after them."""
    return list(dict.fromkeys([*names, *pretrained.manifest()]))
