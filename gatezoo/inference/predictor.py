"""Predictor: a semantic segmentation network, prepared once to predict many images."""

from __future__ import annotations

import copy
import dataclasses
import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import SegmenterOutput
from ..utils.devices import resolve_device
from ..utils.image_tensors import to_image_tensor
from ..utils.modules import copy_for_inference
from ..utils.text import shorten
from .ablation import without_gate
from .folding import prepare_for_inference
from .image_files import error_context
from .inputs import check_model, to_depth_tensor, trained_image_max
from .modes import (
    Forward,
    InferenceMode,
    SlidingWindow,
    WholeImage,
    classes_of_logits,
    require_whole_images,
    scaled,
    softmax_of,
    whole_scale,
)
from .passes import (
    TOLERANCE,
    Iterations,
    MergedPasses,
    check_blur,
    check_predicts_depth,
    check_tolerance,
    depth_kwargs,
    iteration_kwargs,
    maps_of_passes,
    until_stable,
)
from .prediction import PassMaps, Prediction

_log = logging.getLogger("gatezoo")

# Without a mode, larger images are predicted in windows: whole, they would take many gigabytes.
MAX_WHOLE_PIXELS = 4_000_000
LARGE_IMAGE_MODE = SlidingWindow(1024, 0.25)


class Predictor:
    """Predict the class of every pixel of images, with a network that is prepared once.

    The caller's network is not changed, neither its mode nor its device, hooks or attributes: the predictor has a copy
    of its own, with batch norm folded into the convolutions: equal but for rounding, see
    :func:`gatezoo.inference.folding.prepare_for_inference`. What is trained or loaded later does not reach the copy:
    make another predictor then. Calls do not change the predictor, so that several threads can use it.

    Args:
        model: a semantic segmentation network.
        device: that it runs on, such as "auto" or "cuda:1"; default: where the network is.
        mode: see :mod:`gatezoo.inference.modes`; default: the whole image, above 4 megapixels windows of 1024x1024.
        iterations: of an unrolled network; default: its own number. "auto": for each image, iterate until an iteration
            changes at most the share ``tolerance`` of its pixels, ten times at most.
        merge: "max" or "mean": predict from the probabilities of all passes, merged; default: from those of the last.
        tolerance: see ``iterations``.
        blur: standard deviation, in pixels, of a Gaussian that smooths predicted depth.
        image_max: value of full brightness in image files; default: that of the data which the network was trained on.
        normalize: images in 0 .. 255 -> input of the network; default: with the mean and std that its weights expect.
        shared: use ``model`` itself, as it is; it must be and remain in evaluation mode on the device.

    Raises:
        ValueError: the network has another task, or an argument does not fit it or is out of range.
    """

    def __init__(
        self,
        model: SemanticSegmenter,
        device: str | torch.device | None = None,
        *,
        mode: InferenceMode | None = None,
        iterations: Iterations = None,
        merge: str | None = None,
        tolerance: float = TOLERANCE,
        blur: float = 0.0,
        image_max: float | None = None,
        normalize: nn.Module | None = None,
        shared: bool = False,
    ):
        check_model(model, "semantic", "use gatezoo.predict_instances")
        for name, value, kind in (("mode", mode, InferenceMode), ("normalize", normalize, nn.Module)):
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"{name} must be a {kind.__name__} or None; got {shorten(value)}: leave it out")
        self.device = next(model.parameters()).device if device is None else resolve_device(device)
        as_it_is = shared or (model.prepared and self.device == next(model.parameters()).device)
        self.model = model if as_it_is else prepare_for_inference(model, self.device)
        self.mode, self.iterations, self.merge = mode, iterations, merge
        self.image_max = trained_image_max(model) if image_max is None else image_max
        self.tolerance, self.blur = check_tolerance(tolerance), check_blur(blur)
        self._normalize = copy_for_inference(normalize or model.make_normalize(), self.device)
        self._iteration_kwargs = iteration_kwargs(model, iterations)
        if merge is not None:
            MergedPasses(merge)  # check the name
            if "iterations" not in model.capabilities:
                raise ValueError(f"merge requires a network that is unrolled; got {merge!r} for one pass: leave it out")
        if model.takes_depth and whole_scale(mode) != 1:
            raise ValueError(f"mode must be whole images for a network that takes depth; got {mode}: leave it out")
        for name, given in (("iterations='auto'", iterations == "auto"), ("merge", merge is not None)):
            if given:
                require_whole_images(mode, name)
        # What was logged once is not logged again.
        self._logged: set[str] = set()

    def predict(
        self,
        x: Any,
        depth_map: Any = None,
        *,
        all_passes: bool = False,
        probabilities: bool = False,
        depth: bool = False,
        ablate: str | None = None,
    ) -> Prediction:
        """Predict one image.

        Args:
            x: a path, a PIL image, an array or a tensor, see :func:`gatezoo.predict`.
            depth_map: depth of the image in metres, (H, W), NaN or 0 where it is unknown, for networks that take it
                (``gate="given"``).
            all_passes: also return the prediction of each pass.
            probabilities: also return the probability of each class, and the instability.
            depth: also return the depth, of networks that predict it.
            ablate: name of a gate, such as "G2", that is set to zero everywhere.

        Raises:
            ValueError: ``x`` is not an image (the message contains the path of a file), or the network or the mode does
                not allow what is requested.
        """
        with error_context(x):
            image = self.read(x)
            given = None if depth_map is None else to_depth_tensor(depth_map)
            return self.predict_decoded(
                image, given, all_passes=all_passes, probabilities=probabilities, depth=depth, ablate=ablate
            )

    def read(self, x: Any) -> Tensor:
        """Return an image of any kind as a tensor (C, H, W), values in 0 .. 255; errors as of :meth:`predict`."""
        with error_context(x):
            return to_image_tensor(x, self.model.in_chans, self.image_max)

    def predict_decoded(
        self,
        image: Tensor,
        depth_map: Tensor | None = None,
        *,
        all_passes: bool = False,
        probabilities: bool = False,
        depth: bool = False,
        ablate: str | None = None,
    ) -> Prediction:
        """Predict an image that :meth:`read` returned; depth (H, W) and the other arguments as of :meth:`predict`."""
        predictor = self if ablate is None else self._without_gate(ablate)
        maps = predictor.run(image, depth_map, all_passes=all_passes, probabilities=probabilities, depth=depth)
        passes = maps[: len(maps) - (self.merge is not None)] if all_passes else []
        return dataclasses.replace(
            Prediction.from_maps(image, maps[-1]), passes=[Prediction.from_maps(image, one) for one in passes]
        )

    @torch.inference_mode()
    def run(
        self,
        image: Tensor,
        depth_map: Tensor | None = None,
        *,
        all_passes: bool = False,
        probabilities: bool = False,
        depth: bool = False,
        logits: bool = False,
        gates: bool = False,
    ) -> list[PassMaps]:
        """Compute the maps of one image on the device.

        Args:
            image: (C, H, W), values in 0 .. 255.
            depth_map: (H, W), in metres.
            all_passes, probabilities, depth: see :meth:`predict`.
            logits: also return the logits, or the logarithm of probabilities that were averaged.
            gates: also return the gates.

        Returns:
            The result last. With ``all_passes`` the maps of each pass precede it if passes are merged; if they are not,
            the last pass is the result.

        Raises:
            ValueError: see :meth:`predict`.
        """
        if depth:
            check_predicts_depth(self.model)
        pass_by_pass = all_passes or depth or gates or self.merge is not None or self.iterations == "auto"
        pixels = image.shape[-2] * image.shape[-1]
        mode = self.mode
        if mode is None and pixels > MAX_WHOLE_PIXELS:
            mode = self._large_image_mode(pixels, pass_by_pass or self.model.takes_depth)
        scale = whole_scale(mode)
        # Where it is possible, probabilities are computed pass by pass, since instability compares two passes.
        if pass_by_pass or (probabilities and scale is not None and "iterations" in self.model.capabilities):
            scale = require_whole_images(mode, "a prediction of depth or of single passes")
            flags = {"probabilities": probabilities, "depth": depth, "logits": logits, "gates": gates}
            return self._run_passes(image, depth_map, scale, all_passes, {name for name in flags if flags[name]})
        extra = depth_kwargs(self.model, depth_map, image, self.device)
        forward = partial(self.model, **self._iteration_kwargs, **extra)
        batch = image[None].to(self.device)
        if _resizes(mode):
            batch, run = self._to_input(batch), forward
        else:  # windows are normalized one at a time: the input of a large image would not fit into memory
            run = partial(self._run_unnormalized, forward)
        mode = mode or WholeImage()
        passes = self._iteration_kwargs.get("iterations", getattr(self.model, "iterations", 1))
        if not (probabilities or logits):
            return [PassMaps(mode.classes(run, batch)[0], iterations=passes)]
        values = mode(run, batch)
        found = softmax_of(values)[0] if probabilities else None
        return [PassMaps(classes_of_logits(values)[0], found, iterations=passes, logits=values[0] if logits else None)]

    def _run_unnormalized(self, forward: Forward, batch: Tensor) -> Tensor:
        return forward(self._to_input(batch))

    @torch.inference_mode()
    def outputs(self, image: Tensor, depth_map: Tensor | None = None) -> SegmenterOutput:
        """Compute everything that the network predicts for a whole image, with its gates; see :meth:`run`."""
        extra = depth_kwargs(self.model, depth_map, image, self.device)
        return self.model.outputs(self._to_input(image[None].to(self.device)), **self._iteration_kwargs, **extra)

    def _run_passes(
        self,
        image: Tensor,
        depth_map: Tensor | None,
        scale: float,
        all_passes: bool,
        wanted: set[str],
    ) -> list[PassMaps]:
        """Run the passes over the whole image one after the other; see :meth:`run`."""
        batch = scaled(self._to_input(image[None].to(self.device)), scale)
        extra = depth_kwargs(self.model, depth_map, image, self.device)
        details = not wanted.isdisjoint(("depth", "gates"))
        outputs = self.model.iterate_outputs(batch, details=details, **self._iteration_kwargs, **extra)
        needed = wanted if self.merge is None else wanted | {"probabilities"}
        maps = maps_of_passes(outputs, image.shape[-2:], needed, self.blur)
        merged = None if self.merge is None else MergedPasses(self.merge)
        kept: list[PassMaps] = []
        for one in until_stable(maps, self.tolerance) if self.iterations == "auto" else maps:
            if merged:
                assert one.probabilities is not None
                merged.update(one.probabilities)
            one = one if "probabilities" in wanted else dataclasses.replace(one, probabilities=None)
            kept = [*(kept if all_passes else []), one]
        if merged:
            mixed = merged.compute()
            classes = classes_of_logits(mixed[None])[0]
            found = mixed if "probabilities" in wanted else None
            log = mixed.log() if "logits" in wanted else None
            result = dataclasses.replace(kept[-1], classes=classes, probabilities=found, instability=None, logits=log)
            kept = [*(kept if all_passes else []), result]
        return kept

    def _to_input(self, batch: Tensor) -> Tensor:
        """Normalize a batch in 0 .. 255, and lay it out as convolutions like it best."""
        return self._normalize(batch).contiguous(memory_format=torch.channels_last)

    def _large_image_mode(self, pixels: int, whole_only: bool) -> InferenceMode:
        """Return the mode of an image that is too large to be predicted whole, and say so the first time."""
        if whole_only:
            raise ValueError(
                f"an image must have at most {MAX_WHOLE_PIXELS / 1e6:g} megapixels to be predicted whole, which depth "
                f"and single passes require; got {pixels / 1e6:.1f}: reduce it (--scales 0.5)"
            )
        message = f"images above {MAX_WHOLE_PIXELS / 1e6:g} megapixels are predicted in {LARGE_IMAGE_MODE}"
        if message not in self._logged:
            self._logged.add(message)
            _log.info("%s; --window-size chooses another size", message)
        return LARGE_IMAGE_MODE

    def _without_gate(self, name: str) -> Predictor:
        """Return a predictor of the network without a gate."""
        other = copy.copy(self)
        other.model = without_gate(self.model, name)
        return other


def _resizes(mode: InferenceMode | None) -> bool:
    """Return whether a mode resizes or pads images, which must be normalized before: 8-bit images would be rounded."""
    inner = getattr(mode, "inner", None)
    return not (mode is None or isinstance(mode, WholeImage | SlidingWindow)) or (inner is not None and _resizes(inner))
