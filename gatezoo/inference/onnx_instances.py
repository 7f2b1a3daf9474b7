"""Find instances with an exported network: needs numpy, Pillow and onnxruntime alone.

An exported folder holds a copy of this file, beside ``onnx_predictor.py``: ``python predict.py IMAGE OUT.npz``.

Three graphs compute what has weights: the maps with the scores of all anchors, and the heads of boxes and of masks on
one map. What selects between them, without weights, is here, as torchvision's Mask R-CNN does it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

try:
    from .onnx_predictor import OnnxPredictor
except ImportError:  # in an exported folder
    from onnx_predictor import OnnxPredictor  # type: ignore[no-redef]

if TYPE_CHECKING:
    import onnxruntime

Found = dict[str, Any]

# Largest logarithm of the change of a side, and least sides of proposals and of instances in pixels, as torchvision's.
_MAX_GROWTH = math.log(1000 / 16)
_MIN_PROPOSAL, _MIN_INSTANCE = 1e-3, 1e-2


class InstanceMasks:
    """Masks of instances, each stored within a window outside of which it is false.

    Attributes:
        size: (H, W) of the image.
    """

    def __init__(self, windows: list[tuple[int, int, np.ndarray]], size: tuple[int, int]):
        self._windows, self.size = windows, size

    def __len__(self) -> int:
        return len(self._windows)

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (top, left, bool (h, w)) of each mask."""
        yield from self._windows

    def whole(self) -> np.ndarray:
        """Return all masks, (N, H, W) of bool."""
        masks = np.zeros((len(self), *self.size), bool)
        for mask, (top, left, window) in zip(masks, self._windows):
            mask[top : top + window.shape[0], left : left + window.shape[1]] = window
        return masks


class OnnxInstancePredictor(OnnxPredictor):
    """An instance segmentation network of the files that ``gatezoo export`` wrote.

    Args:
        file: ``model.onnx``; ``boxes.onnx`` and ``masks.onnx`` are beside it.

    Raises:
        ValueError: files that are not readable, were not written by ``gatezoo export``, or have another task.
    """

    task = "instance"

    def __init__(self, file: str | os.PathLike):
        super().__init__(file)
        self._detection: dict[str, Any] = self.info["detection"]
        self._boxes, self._masks = (_open(Path(file).with_name(name)) for name in ("boxes.onnx", "masks.onnx"))

    def predict(  # type: ignore[override]
        self,
        image: str | os.PathLike | Image.Image | np.ndarray,
        score_threshold: float = 0.5,
        max_detections: int | None = None,
    ) -> Found:
        """Find the instances of an image, highest score first.

        Args:
            image: a path, a Pillow image, or an array (H, W, C) of uint8.
            score_threshold: lowest score of an instance.
            max_detections: largest number of instances; default: the network's own.

        Returns:
            boxes (N, 4), x1 y1 x2 y2 in pixels of the image; labels (N,); scores (N,); names, their classes; and masks,
            an :class:`InstanceMasks`.

        Raises:
            ValueError: what :meth:`load` refuses, or an image that is too narrow.
        """
        limit = self._detection["max_detections"] if max_detections is None else max_detections
        pixels = self.load(image)
        size = (pixels.shape[0], pixels.shape[1])
        batch = self.to_input(pixels)
        inner = batch.shape[2:]
        *maps, objectness, offsets = self._run(batch)
        proposals = self._propose(maps, objectness[:, 0], offsets, inner)
        boxes, labels, scores = self._classify(maps, proposals, inner, score_threshold, limit)
        masks = self._draw(maps, boxes, labels, inner)
        boxes = boxes * np.array([size[1] / inner[1], size[0] / inner[0]] * 2, np.float32)
        names = [self.class_names[label] for label in labels]
        drawn = InstanceMasks([_window(mask, box, size) for mask, box in zip(masks, boxes)], size)
        return {"boxes": boxes, "labels": labels, "scores": scores, "names": names, "masks": drawn}

    def to_input(self, pixels: np.ndarray) -> np.ndarray:
        """Normalize and resize an image of uint8 (H, W, C) to (1, C, h, w), as the network takes it."""
        shorter, longer = self._detection["resize"]
        height, width = pixels.shape[:2]
        scale = min(shorter / min(height, width), longer / max(height, width))
        inner = math.floor(height * scale), math.floor(width * scale)
        low = self._input["sides"][0]
        if min(inner) < low:
            raise ValueError(
                f"an image must have a side of at least {low} pixels when its longer one is resized to {longer}; got "
                f"{height} x {width}: cut it into parts"
            )
        mean, std = (np.array(self.info[key], np.float32)[:, None, None] for key in ("mean", "std"))
        return _resized((pixels.transpose(2, 0, 1) / np.float32(255) - mean) / std, inner)[None]

    def _propose(
        self, maps: list[np.ndarray], objectness: np.ndarray, offsets: np.ndarray, inner: tuple[int, ...]
    ) -> np.ndarray:
        """Return the boxes (N, 4) in which the heads look for instances."""
        chosen, divisor = self._detection, self._detection["size_divisor"]
        padded = [-(-side // divisor) * divisor for side in inner]
        grids = [one.shape[2:] for one in maps]
        grids.append(tuple((side + 1) // 2 for side in grids[-1]))
        boxes, scores, start = [], [], 0
        for grid, cells in zip(grids, chosen["anchors"]):
            anchors = _anchors(grid, [whole // side for whole, side in zip(padded, grid)], cells)
            part = slice(start, start := start + len(anchors))
            best = np.argsort(-objectness[part], kind="stable")[: chosen["proposals_before_nms"]]
            found = _clipped(_moved(anchors[best], offsets[part][best], (1, 1, 1, 1))[:, 0], inner)
            score = objectness[part][best]
            large = _sides(found).min(1) >= _MIN_PROPOSAL
            found, score = found[large], score[large]
            kept = _suppressed(found, score, chosen["proposals_nms"])
            boxes.append(found[kept])
            scores.append(score[kept])
        order = np.argsort(-np.concatenate(scores), kind="stable")[: chosen["proposals"]]
        return np.concatenate(boxes)[order]

    def _classify(
        self, maps: list[np.ndarray], proposals: np.ndarray, inner: tuple[int, ...], threshold: float, limit: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes, labels and scores of the instances, highest score first."""
        logits, offsets = self._read(self._boxes, maps, proposals, inner)
        moved = _clipped(_moved(proposals, offsets, self._detection["box_weights"]), inner)
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for label in range(1, len(self.class_names)):
            possible = (scores[:, label] > threshold) & (_sides(moved[:, label]).min(1) >= _MIN_INSTANCE)
            boxes, score = moved[possible, label], scores[possible, label]
            kept = _suppressed(boxes, score, self._detection["nms"])
            found.append((boxes[kept], np.full(len(kept), label), score[kept]))
        boxes, labels, score = (np.concatenate(parts) for parts in zip(*found))
        best = np.argsort(-score, kind="stable")[:limit]
        return boxes[best], labels[best], score[best]

    def _draw(
        self, maps: list[np.ndarray], boxes: np.ndarray, labels: np.ndarray, inner: tuple[int, ...]
    ) -> np.ndarray:
        """Return the probabilities (N, m, m) of the masks, each spread over its box."""
        (masks,) = self._read(self._masks, maps, boxes, inner)
        return masks[np.arange(len(boxes)), labels]

    def _read(
        self, head: onnxruntime.InferenceSession, maps: list[np.ndarray], boxes: np.ndarray, inner: tuple[int, ...]
    ) -> list[np.ndarray]:
        """Run a head on regions of the maps, each of the map that its size tells (FPN, Lin et al., CVPR 2017, eq. 1).

        Args:
            head: (map (1, C, h, w), boxes (n, 4) in its pixels) -> what it finds for each.
            maps: finest first.
            boxes: (N, 4), in pixels of the resized image.
            inner: height and width of that.
        """
        scales = [2.0 ** round(math.log2(one.shape[2] / inner[0])) for one in maps]
        first, last = (int(-math.log2(scale)) for scale in (scales[0], scales[-1]))
        levels = np.floor(4 + np.log2(np.sqrt(_sides(boxes).prod(1)) / np.float32(224)) + np.float32(1e-6))
        levels = np.clip(levels, first, last) - first
        results: list[np.ndarray] = []
        for level, (features, scale) in enumerate(zip(maps, scales)):
            chosen = levels == level
            # The graphs are made for two boxes and more.
            regions = np.concatenate([boxes[chosen] * np.float32(scale), np.zeros((2, 4), np.float32)])
            outputs = head.run(None, {"map": features, "boxes": regions}) if chosen.any() or not level else None
            results = results or [np.zeros((len(boxes), *one.shape[1:]), one.dtype) for one in outputs or ()]
            for result, output in zip(results, outputs or ()):
                result[chosen] = output[: chosen.sum()]
        return results


def _open(file: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    # onnxruntime has errors of its own for every kind of broken file.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise ValueError(f"{file} must be an ONNX file of gatezoo export, beside model.onnx: {reason}") from None


def _resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (C, H, W) bilinearly, without smoothing."""
    for axis, side in zip((1, 2), size):
        before = maps.shape[axis]
        places = np.maximum((np.arange(side) + 0.5) * (before / side) - 0.5, 0)
        low = np.minimum(places.astype(np.int64), before - 1)
        weight = (places - low).astype(np.float32)[:, None] if axis == 1 else (places - low).astype(np.float32)
        high = maps.take(np.minimum(low + 1, before - 1), axis)
        maps = maps.take(low, axis) * (1 - weight) + high * weight
    return maps


def _anchors(grid: tuple[int, ...], strides: list[int], cells: list[list[float]]) -> np.ndarray:
    """Return the anchors (h w A, 4) of a map."""
    y, x = np.meshgrid(*(np.arange(side) * stride for side, stride in zip(grid, strides)), indexing="ij")
    shifts = np.stack([x, y, x, y], 2).reshape(-1, 1, 4).astype(np.float32)
    return (shifts + np.array(cells, np.float32)).reshape(-1, 4)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return width and height of boxes, (..., 4) -> (..., 2)."""
    return boxes[..., 2:] - boxes[..., :2]


def _moved(boxes: np.ndarray, offsets: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    """Apply offsets (N, 4 K), (dx, dy, dw, dh) times weights each, to boxes (N, 4): -> (N, K, 4)."""
    offsets = offsets.reshape(len(boxes), -1, 4) / np.array(weights, np.float32)
    sides = _sides(boxes)[:, None]
    centers = offsets[..., :2] * sides + boxes[:, None, :2] + sides / 2
    half = np.exp(np.minimum(offsets[..., 2:], np.float32(_MAX_GROWTH))) * sides / 2
    return np.concatenate([centers - half, centers + half], -1)


def _clipped(boxes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _suppressed(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Return the boxes that non-maximum suppression leaves, highest score first."""
    areas, order, kept = _sides(boxes).prod(1), np.argsort(-scores, kind="stable"), []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[order, :2])
        common = np.maximum(np.minimum(boxes[first, 2:], boxes[order, 2:]) - low, 0).prod(1)
        order = order[common <= overlap * (areas[first] + areas[order] - common)]
    return np.array(kept, np.int64)


def _window(mask: np.ndarray, box: np.ndarray, size: tuple[int, ...]) -> tuple[int, int, np.ndarray]:
    """Draw a mask (m, m) of probabilities within its box: -> top, left, and where it is at least .5."""
    padded = np.pad(mask, 1)
    center, half = (box[:2] + box[2:]) / 2, _sides(box) / 2 * np.float32(padded.shape[0] / mask.shape[0])
    x1, y1, x2, y2 = (int(side) for side in np.concatenate([center - half, center + half]))
    drawn = _resized(padded[None], (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)))[0]
    top, left = max(y1, 0), max(x1, 0)
    bottom, right = min(y2 + 1, size[0]), min(x2 + 1, size[1])
    return top, left, drawn[top - y1 : bottom - y1, left - x1 : right - x1] >= 0.5


def main(arguments: list[str]) -> None:
    """Find the instances of an image, and write boxes, labels, scores and masks."""
    if len(arguments) != 2 or not arguments[1].endswith(".npz"):
        raise SystemExit("usage: python predict.py IMAGE OUT.npz")
    found = OnnxInstancePredictor(Path(__file__).with_name("model.onnx")).predict(arguments[0])
    arrays = {key: found[key] for key in ("boxes", "labels", "scores", "names")}
    np.savez_compressed(arguments[1], masks=found["masks"].whole(), **arrays)
    counts = {name: found["names"].count(name) for name in dict.fromkeys(found["names"])}
    print(", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found")


if __name__ == "__main__":
    main(sys.argv[1:])
