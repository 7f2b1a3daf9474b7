"""Run the call of a network on ONNX Runtime or OpenVINO, in place."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..utils.modules import copy_for_inference
from ..utils.optional import require_extra
from ..utils.text import shorten
from .folding import has_hooks
from .onnx_predictor import openvino_core
from .tracing import MAX_SIDE, MIN_SIDE, TRACED_SIZE, to_onnx, trace

# Greatest difference of logits from those of the traced network, as a share of the largest.
TOLERANCE = 1e-4
# Size of the image on which the two are compared; it is not the traced one.
_OTHER_SIZE = (101, 83)

Run = Callable[[np.ndarray], np.ndarray]


def run_on_onnxruntime(network: BaseSegmenter) -> None:
    """Let the calls of a network run on ONNX Runtime; see :class:`RuntimeCall`."""
    _run_on(network, "onnxruntime", "export", _start_onnxruntime)


def run_on_openvino(network: BaseSegmenter) -> None:
    """Let the calls of a network run on OpenVINO; see :class:`RuntimeCall`."""
    _run_on(network, "openvino", "openvino", _start_openvino)


def _run_on(network: BaseSegmenter, runtime: str, extra: str, start: Callable[[bytes, int], Run]) -> None:
    require_extra(extra, f"backend={runtime!r}", runtime, "onnx", "onnxscript")
    network.require_task("semantic", "use backend='eager'")
    assert isinstance(network, SemanticSegmenter)
    device = next(network.parameters()).device
    if device.type != "cpu":
        raise ValueError(f"a network must be on the CPU for backend={runtime!r}; got {device}: use backend='eager'")
    if network.takes_depth:
        raise ValueError(f"backend={runtime!r} runs networks of an image alone; got one of depth: use backend='eager'")
    call = RuntimeCall(network, runtime, start)
    call.prepare()
    network.forward = call  # type: ignore[method-assign]


class RuntimeCall:
    """What takes the place of ``forward`` of a network: the same arguments and results, computed by a runtime.

    The runtime computes the logits of normalized float32 images on the CPU with sides of 64 .. 4096 pixels, one image
    after the other, for each number of passes from a graph that is made when it is first requested. All else that
    ``forward`` takes runs eagerly: other sizes and types, further keywords, gradients of the images, autocast, and
    modules with hooks, such as a gate that is ablated.

    Copies by ``copy.deepcopy`` or pickle have no graph, and run eagerly.

    Args:
        network: prepared for prediction. Its weights must stay as they are.
        runtime: its name.
        start: (ONNX, number of threads) -> the function that runs it. The threads are those of torch at that time.
    """

    def __init__(self, network: SemanticSegmenter, runtime: str, start: Callable[[bytes, int], Run]):
        self.network, self._runtime, self._start = network, runtime, start
        self._signature = inspect.signature(type(network).forward)
        # They are kept, so that no other tensor gets the id.
        self._weights = _weights(network)
        self._runs: dict[int | None, Run] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "_start": None}

    def __call__(self, image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        network = self.network
        if self._start is None:
            return type(network).forward(network, image, *args, **kwargs)
        if any(module.training for module in network.modules()):
            raise ValueError("an optimized network must be in evaluation mode; got training mode: call model.eval()")
        if isinstance(image, Tensor) and image.device.type != "cpu":
            raise ValueError(f"images must be on the CPU for {self._runtime}; got {image.device}: call images.cpu()")
        bound = self._signature.bind(network, image, *args, **kwargs).arguments
        given = {name for name, value in bound.items() if value is not None} - {"self", "image"}
        if given - {"iterations"} or not self._takes(image):
            return type(network).forward(network, image, *args, **kwargs)
        self._check_weights()
        run = self.prepare(bound.get("iterations"))
        logits = [torch.from_numpy(run(one[None].contiguous().numpy())) for one in image.detach()]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def prepare(self, iterations: int | None = None) -> Run:
        """Return the function that runs so many passes; it is made at the first call, and compared.

        Raises:
            ValueError: a network that cannot be exported, or other numbers than in eager mode.
        """
        if "iterations" in self.network.capabilities:
            iterations = self.network.resolve_iterations(iterations)  # type: ignore[operator]
        with self._lock:
            if iterations not in self._runs:
                self._runs[iterations] = self._make(iterations)
            return self._runs[iterations]

    def _make(self, iterations: int | None) -> Run:
        assert self._start is not None
        module = _Logits(copy_for_inference(self.network, share=False), iterations).eval()
        random = torch.Generator().manual_seed(0)
        example, other = (
            torch.randn(1, self.network.in_chans, *(max(self._low, side) for side in size), generator=random)
            for size in (TRACED_SIZE, _OTHER_SIZE)
        )
        try:
            graph = to_onnx(trace(module, example, 2, (self._low, MAX_SIDE)), ["image"], ["logits"])
            run = self._start(graph.model_proto.SerializeToString(), torch.get_num_threads())
            found = torch.from_numpy(run(other.numpy()))
        # Tracing, conversion and the runtimes have errors of their own for what they do not support.
        except Exception as error:
            raise ValueError(
                f"a network must be exportable to ONNX for backend={self._runtime!r}; got {shorten(str(error))}: "
                "use backend='eager'"
            ) from error
        with torch.inference_mode():
            expected = module(other)
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        # Written so that NaN is refused, too.
        if not difference <= TOLERANCE:
            raise ValueError(
                f"a network must give the same numbers with backend={self._runtime!r}; they differ by "
                f"{difference:.2g} of the largest: use backend='eager'"
            )
        return run

    @property
    def _low(self) -> int:
        return max(MIN_SIDE, self.network.min_size)

    def _takes(self, image: Tensor) -> bool:
        """Return whether the runtime computes what is asked for; if not, eager mode does, with its errors."""
        return (
            isinstance(image, Tensor)
            and image.dtype == torch.float32
            and image.ndim == 4
            and len(image) > 0
            and image.shape[1] == self.network.in_chans
            and all(self._low <= side <= MAX_SIDE for side in image.shape[2:])
            and not (image.requires_grad and torch.is_grad_enabled())
            and not torch.is_autocast_enabled("cpu")
            and not any(has_hooks(module) for module in self.network.modules() if module is not self.network)
        )

    def _check_weights(self) -> None:
        now = _weights(self.network)
        if len(now) != len(self._weights) or any(
            x is not y or version != other for (x, version), (y, other) in zip(now, self._weights)
        ):
            raise ValueError(
                f"weights must stay as they were when {self._runtime} got them; got others: call gatezoo.optimize on "
                "the network that has them"
            )


class _Logits(nn.Module):
    """The logits of a network after a number of passes, None for networks of one."""

    def __init__(self, network: SemanticSegmenter, iterations: int | None):
        super().__init__()
        self.network = network
        self.kwargs = {} if iterations is None else {"iterations": iterations}

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image, **self.kwargs)


def _weights(network: nn.Module) -> list[tuple[Tensor, int]]:
    """Return all tensors of a network, each with the number of its changes in place."""
    return [(x, x._version) for tensors in (network.parameters(), network.buffers()) for x in tensors]


def _start_onnxruntime(graph: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


def _start_openvino(graph: bytes, threads: int) -> Run:
    core = openvino_core()
    # Some processors would compute in 16 bits.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    # Each call has a request of its own, since several threads may call at once.
    return lambda image: compiled.create_infer_request().infer({"image": image})[0]
