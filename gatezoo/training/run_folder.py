"""Read and write the folder of a training run."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..utils.files import ensure_dir, write_bytes, write_json, write_text

COLUMNS = ("step", "loss", "lr", "images_per_s")
STATE = "trainer_state.pt"
HISTORY = "history.json"


class RunFolder:
    """Folder of a training run. Files are written atomically: a kill at any moment leaves whole ones.

    ``last.safetensors`` and ``best.safetensors`` hold weights, with their metadata in the header;
    ``trainer_state.pt`` holds everything needed to resume; ``history.json`` the evaluations; ``summary.csv`` one row
    for each line of the log.

    Args:
        path: of the folder.
        resume: continue the training in it.
        metric_names: metrics of an evaluation, which become further columns of the log.

    Raises:
        ValueError: the folder holds a training and ``resume`` is not set.
    """

    def __init__(self, path: str | os.PathLike, resume: bool, metric_names: Sequence[str]):
        self.path, self._columns = Path(path), (*COLUMNS, *metric_names)
        self.state_path, self._summary = self.path / STATE, self.path / "summary.csv"
        if os.path.exists(self.state_path) and not resume:
            raise ValueError(
                f"the folder of a new training must not hold one yet; {path} does: pass --resume or choose another"
            )

    def load(self) -> dict[str, Any] | None:
        """Load the last saved state to the CPU; None if there is none."""
        if not os.path.exists(self.state_path):
            return None
        return torch.load(self.state_path, weights_only=True, map_location="cpu")

    def start(self, step: int) -> None:
        """Create the folder, and drop rows of the log after ``step``, which will be written again."""
        ensure_dir(self.path)
        rows = []
        if self._summary.exists():
            with self._summary.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._summary, text.getvalue())

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the log."""
        with self._summary.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def save(self, state: dict[str, Any], weights: dict[str, Tensor], metadata: dict[str, Any], best: bool) -> None:
        """Write all files of one step.

        Args:
            state: everything needed to resume. It is written last, so that every file it refers to exists.
            weights: state dict of the network.
            metadata: for the header of the checkpoints, with the evaluations under ``history``.
            best: write ``best.safetensors`` too.
        """
        header = {"gatezoo": json.dumps(metadata)}
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        # Through memory, so that a full disk raises the same kind of error for any format.
        checkpoint = save(tensors, header)
        for name in ("best", "last") if best else ("last",):
            write_bytes(self.path / f"{name}.safetensors", checkpoint)
        write_json(self.path / HISTORY, metadata["history"])
        memory = io.BytesIO()
        torch.save(state, memory)
        write_bytes(self.state_path, memory.getbuffer())
