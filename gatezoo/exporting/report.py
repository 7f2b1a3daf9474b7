"""Compare an exported network with the one in eager mode: numbers, time and memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .module import ExportedNetwork

# Greatest difference of logits, as a share of the largest of them, and greatest share of pixels of another class.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
_CLASSES = {"float32": 1e-3, "float16": 1e-2}
_REPEATS = 3

Run = Callable[[Tensor], list[np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """An exported network beside eager mode, on one image.

    Attributes:
        size: height and width.
        difference: greatest difference of logits as a share of the largest, or the share of pixels of another class.
        eager_ms, exported_ms: shortest of three runs.
        eager_mb, exported_mb: what a run adds to the memory of the process at most; None where the system does not say.
    """

    size: tuple[int, int]
    difference: float
    eager_ms: float
    exported_ms: float
    eager_mb: float | None
    exported_mb: float | None


@dataclass(frozen=True)
class Quantization:
    """What 8 bits lose and gain, on the images that are held out from the calibration.

    Attributes:
        calibration_images, held_out_images: their numbers.
        agreement: share of the pixels whose class is that of the float32 export.
        float32_miou, int8_miou: of both exports, of images with labels; else None.
        miou_loss: their difference.
        float32_ms, int8_ms: median time of an image; the two take turns.
        float32_mb: size of the float32 export.
    """

    calibration_images: int
    held_out_images: int
    agreement: float
    float32_miou: float | None
    int8_miou: float | None
    miou_loss: float | None
    float32_ms: float
    int8_ms: float
    float32_mb: float

    def lines(self) -> list[str]:
        """Return a summary to print."""
        first = (
            f"int8, calibrated on {self.calibration_images} images; {self.held_out_images} others: "
            f"{1 - self.agreement:.2%} of the pixels changed their class, {self.int8_ms:.0f} ms instead of "
            f"{self.float32_ms:.0f}"
        )
        if self.miou_loss is None:
            return [first]
        return [first, f"mIoU {self.int8_miou:.4f} instead of {self.float32_miou:.4f}: {self.miou_loss:.4f} lost"]


@dataclass
class ExportReport:
    """What was exported, and how it compares; ``report.json`` of the folder.

    Attributes:
        file: the exported network.
        format: "onnx", "openvino" or "torch".
        precision: of the weights, "float32", "float16" or "int8".
        measure: what ``difference`` of the comparisons is: "logits" or "classes".
        tolerance: greatest difference that is not refused.
        export_seconds: time of tracing and writing.
        mb: size of the file, or of both files.
        comparisons: one per image; of an 8-bit export, those of the float32 export that was quantized.
        quantization: what 8 bits lose and gain; None for others.
    """

    file: Path
    format: str
    precision: str
    measure: str
    tolerance: float
    export_seconds: float
    mb: float
    comparisons: list[Comparison] = field(default_factory=list)
    quantization: Quantization | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON stores it."""
        return {**dataclasses.asdict(self), "file": self.file.name}

    def lines(self) -> list[str]:
        """Return a summary to print."""
        first = f"{self.file}: {self.mb:.1f} MB, exported in {self.export_seconds:.1f} s"
        return (
            [first]
            + [
                f"{one.size[0]} x {one.size[1]}: difference {one.difference:.2g}, {one.eager_ms:.0f} ms eager, "
                f"{one.exported_ms:.0f} ms exported"
                for one in self.comparisons
            ]
            + (self.quantization.lines() if self.quantization else [])
        )


def compare(module: ExportedNetwork, run: Run, sizes: Sequence[tuple[int, int]], precision: str) -> list[Comparison]:
    """Run both networks on a random image of each size.

    Args:
        module: in eager mode.
        run: the exported network, from an image to its outputs.
        sizes: of the images; each has another seed.
        precision: of the exported weights.

    Raises:
        ValueError: outputs that differ by more than the tolerance.
    """

    def eager(image: Tensor) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(image)
        return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]

    comparisons, limit = [], tolerance_of(module, precision)
    for seed, size in enumerate(sizes):
        image = module.example(*size, seed=seed)
        expected, eager_ms, eager_mb = measure_run(eager, image)
        found, exported_ms, exported_mb = measure_run(run, image)
        greatest = max(map(difference, found, expected)) if len(found) == len(expected) else np.inf
        # Written so that NaN is refused, too.
        if not greatest <= limit:
            raise ValueError(
                f"an exported network must give the numbers of eager mode to {limit:g}; at {size[0]} x {size[1]} they "
                f"differ by {greatest:.3g}: nothing was written; please report it"
            )
        comparisons.append(Comparison(size, float(greatest), eager_ms, exported_ms, eager_mb, exported_mb))
    return comparisons


def tolerance_of(module: ExportedNetwork, precision: str) -> float:
    """Return the greatest difference that counts as equal."""
    return (_CLASSES if module.outputs == "classes" else TOLERANCE)[precision]


def size_mb(file: Path) -> float:
    """Return the size of an exported network, with that of a file of weights beside it."""
    return round(sum(part.stat().st_size for part in file.parent.glob(f"{file.stem}.*")) / 1e6, 2)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the greatest difference as a share of the largest number, or the share of other whole numbers."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if found.dtype.kind != "f":
        return float((found != expected).mean())
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


def measure_run(run: Callable[[Any], Any], image: Any) -> tuple[Any, float, float | None]:
    """Return the outputs, the shortest time in milliseconds and the memory that a run adds in MB."""
    before = _reset_peak()
    outputs = run(image)
    peak = _status("VmHWM")
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run(image)
        times.append(1000 * (time.perf_counter() - start))
    added = None if before is None or peak is None else round(max(0.0, peak - before), 1)
    return outputs, round(min(times), 2), added


def _reset_peak() -> float | None:
    """Set the peak memory of the process back to what it uses now, and return that in MB; None if it cannot be."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), None)
