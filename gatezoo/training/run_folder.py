"""The folder of a training: what it keeps, and what it goes on from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..utils.files import atomic_write, ensure_dir

COLUMNS = ("step", "loss", "lr", "images_per_s")


class RunFolder:
    """Files of a training, each written beside and then renamed, so that a kill at any moment leaves whole ones.

    ``last.safetensors`` and ``best.safetensors`` hold weights and, in their header, how they came about;
    ``state.pt`` everything to go on from; ``record.json`` the evaluations; ``summary.csv`` a row a line of the log.

    Args:
        figures: of an evaluation, further columns of the log.

    Raises:
        ValueError: the folder holds a training and ``resume`` is not set.
    """

    def __init__(self, path: str | Path, resume: bool, figures: Sequence[str]):
        self.path, self._columns = Path(path), (*COLUMNS, *figures)
        self._state, self._summary = self.path / "state.pt", self.path / "summary.csv"
        if self._state.exists() and not resume:
            raise ValueError(
                f"the folder of a new training must hold none yet; {path} does: pass resume or choose another"
            )

    def load(self) -> dict[str, Any] | None:
        """The state last saved, on the CPU; None if there is none."""
        if not self._state.exists():
            return None
        return torch.load(self._state, weights_only=True, map_location="cpu")

    def start(self, step: int) -> None:
        """Make the folder; forget rows of the log beyond ``step``, which will be written again."""
        ensure_dir(self.path)
        rows = []
        if self._summary.exists():
            with self._summary.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(self._summary, lambda path: path.write_text(text.getvalue()))

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the log."""
        with self._summary.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def save(self, state: dict[str, Any], weights: dict[str, Tensor], header: dict[str, Any], best: bool) -> None:
        """Write all files for one step. The state comes last: what it speaks of is there."""
        metadata = {"gatezoo": json.dumps(header)}
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        # Through memory, so that a full disk is one kind of error whatever the format.
        checkpoint = save(tensors, metadata)
        for name in ("best", "last") if best else ("last",):
            atomic_write(self.path / f"{name}.safetensors", lambda path: path.write_bytes(checkpoint))
        atomic_write(self.path / "record.json", lambda path: path.write_text(json.dumps(header["record"], indent=1)))
        memory = io.BytesIO()
        torch.save(state, memory)
        atomic_write(self._state, lambda path: path.write_bytes(memory.getbuffer()))
