"""Networks that only predict, made faster: prepared, and run by a backend."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ..segmenters.base import BaseSegmenter
from ..utils.choices import check_choice
from .folding import prepare_for_inference
from .inputs import check_model
from .runtimes import run_on_onnxruntime, run_on_openvino

_log = logging.getLogger("gatezoo")

S = TypeVar("S", bound=BaseSegmenter)


def _run_eagerly(network: BaseSegmenter) -> None:
    """Leave a prepared network as it is."""


def _run_compiled(network: BaseSegmenter) -> None:
    network.require_task("semantic", "use backend='eager'")
    # Freezing makes constants of the weights, which are then laid out once for the machine's convolutions.
    network.compile(options={"freezing": True})


# A backend changes what a call of a prepared network does, in place, with the same arguments and results.
BACKENDS: dict[str, Callable[[BaseSegmenter], None]] = {
    "compile": _run_compiled,
    "eager": _run_eagerly,
    "onnxruntime": run_on_onnxruntime,
    "openvino": run_on_openvino,
}
# What "auto" tries, the fastest first (tools/benchmark.py --optimize). Compiling takes minutes, and again for other
# sizes of images: it must be asked for.
AUTO = ("onnxruntime", "openvino", "eager")


def optimize(model: S, backend: str = "auto") -> S:
    """Return a copy of a network that predicts faster: ``optimized(images)`` returns what ``model(images)`` does.

    The copy has weights of its own and batch norm folded into the convolutions, see
    :func:`gatezoo.inference.folding.prepare_for_inference`. It is for prediction alone; :func:`gatezoo.predict` and
    :class:`gatezoo.Predictor` use it as it is, on its own device. Single passes, depth and gates are computed eagerly
    with any backend.

    Args:
        model: a network of any task; it is not changed, and later changes of its weights do not reach the copy.
        backend: one of the following.

            * "onnxruntime", "openvino": that runtime on the CPU, with as many threads as torch has, from a graph for
              images of any size in 64 .. 4096 pixels, which takes as long to make as an export, for each number of
              passes once. Semantic segmentation from an image alone; for what runs eagerly, see
              :class:`gatezoo.inference.runtimes.RuntimeCall`. The copy keeps its weights: it refuses others. A copy of
              it runs eagerly.
            * "compile": torch.compile with frozen weights, which needs a C++ compiler and compiles for minutes at the
              first call, to be made inside ``torch.inference_mode()``, and again for other sizes.
            * "eager": the prepared network itself.
            * "auto": the first of "onnxruntime", "openvino" and "eager" that is installed and runs the network.

    Raises:
        ValueError: no network of the zoo, an unknown backend, one that is not installed, or one that does not run this
            network.
    """
    check_model(model, getattr(model, "task", "semantic"), "choose another network")
    chosen = check_choice("backend", backend, ("auto", *BACKENDS))
    network = prepare_for_inference(model)
    if chosen == "auto":
        _run_on_first(network)
    else:
        BACKENDS[chosen](network)
    network.prepared = True
    return network


def _run_on_first(network: BaseSegmenter) -> None:
    """Let a network run on the first of ``AUTO`` that runs it."""
    for name in AUTO:
        try:
            BACKENDS[name](network)
        except ValueError as error:
            _log.info("backend %s is left out: %s", name, error)
        else:
            _log.info("backend: %s", name)
            return
