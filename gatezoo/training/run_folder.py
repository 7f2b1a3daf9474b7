"""Read and write the folder of a training run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from ..utils.files import atomic_write, ensure_dir, write_bytes, write_json, write_text
from ..utils.parallel import is_main_process
from ..weights.integrity import sha256_of
from .folder_lock import check_unlocked, lock_folder
from .messages import log_info
from .state_file import read_state, write_state

COLUMNS = ("step", "loss", "lr", "images_per_s")


class RunFolder:
    """Folder of a training run. Files are written atomically: a kill or a loss of power leaves whole ones.

    ``last.safetensors`` and ``best.safetensors`` hold weights, with their metadata in the header;
    ``trainer_state.pt`` holds everything needed to resume, with its SHA-256; ``history.json`` the evaluations;
    ``summary.csv`` one row for each line of the log. The state and the best weights that were there before are kept,
    as ``trainer_state.prev.pt`` and ``best.prev.safetensors``: if the last state is damaged, the training continues
    from the one before, and all other files are put back to that step.

    Args:
        path: of the folder.
        resume: continue the training in it; "auto": if it holds one.
        metric_names: metrics of an evaluation, which become further columns of the log.

    Raises:
        ValueError: the folder holds a training and ``resume`` is not set; it holds none and ``resume`` is; or another
            process trains into it.
    """

    def __init__(self, path: str | os.PathLike, resume: bool | Literal["auto"], metric_names: Sequence[str]):
        self.path, self._columns = Path(path), (*COLUMNS, *metric_names)
        self.state_path, self._summary = self.path / "trainer_state.pt", self.path / "summary.csv"
        self._previous_state = self.path / "trainer_state.prev.pt"
        self._best, self._previous_best = self.path / "best.safetensors", self.path / "best.prev.safetensors"
        self._rows: list[dict[str, Any]] = []
        self._best_digest: str | None = None  # SHA-256 of the file
        self._falls_back = False
        holds_one = os.path.exists(self.state_path) or os.path.exists(self._previous_state)
        if holds_one and not resume:
            raise ValueError(
                f"the folder of a new training must not hold one yet; {path} does: pass --resume or choose another"
            )
        if resume is True and not holds_one:
            raise ValueError(
                f"the folder to resume from must hold the state of a training; {path} does not: start one without "
                "--resume, or pass --auto-resume"
            )
        if is_main_process():
            check_unlocked(self.path)

    def lock(self) -> AbstractContextManager[None]:
        """Create the folder and hold its lock, see :func:`gatezoo.training.folder_lock.lock_folder`."""
        ensure_dir(self.path)
        return lock_folder(self.path)

    def load(self) -> dict[str, Any] | None:
        """Load the last good state to the CPU; None if there never was one.

        Raises:
            ValueError: neither the last state nor the one before it is good.
        """
        reasons = []
        for path in (self.state_path, self._previous_state):
            if not os.path.exists(path):
                continue
            try:
                state = read_state(path)
            except ValueError as error:
                reasons.append(str(error))
                continue
            self._falls_back = path == self._previous_state
            if self._falls_back:
                why = "; ".join(reasons) or f"{self.state_path.name} is missing"
                log_info(f"{why}: continuing from the state before it, of step {state.get('step')}")
            self._rows, self._best_digest = state.pop("rows", []), state.pop("best_digest", None)
            return state
        if reasons:
            raise ValueError(
                f"the state of a training must be as it was saved; in {self.path}, {' and '.join(reasons)}: "
                "start a new training in another folder, with --initial-checkpoint if last.safetensors is good"
            )
        return None

    def start(self) -> None:
        """Remove what an interrupted save left, and put the log and the best weights back to the loaded state."""
        for part in self.path.glob(".part*"):
            shutil.rmtree(part, ignore_errors=True)
        if self._falls_back:
            os.replace(self._previous_state, self.state_path)
        if self._best_digest:
            self._restore_best()
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._summary, text.getvalue())

    def _restore_best(self) -> None:
        """Put the best weights of the loaded state back in place: those of a later step may be there."""
        for path in (self._best, self._previous_best):
            if os.path.exists(path) and sha256_of(path) == self._best_digest:
                if path != self._best:
                    os.replace(path, self._best)
                return
        log_info(f"{self._best.name} is damaged: the next evaluation's weights take its place")
        self._best_digest = None

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the log.

        Raises:
            ValueError: it cannot be written.
        """
        self._rows.append(row)
        try:
            with self._summary.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        except OSError as error:
            raise ValueError(f"the file {self._summary} must be writable; {error.strerror or error}") from error

    @property
    def has_best(self) -> bool:
        """Whether there is a best checkpoint."""
        return self._best_digest is not None

    def save(self, state: dict[str, Any], weights: dict[str, Tensor], metadata: dict[str, Any], best: bool) -> None:
        """Write all files of one step.

        Args:
            state: everything needed to resume. It is written last, so that every file it refers to exists.
            weights: state dict of the network.
            metadata: for the header of the checkpoints, with the evaluations under ``history``.
            best: write ``best.safetensors`` too.
        """
        checkpoint = _checkpoint(weights, metadata)
        if best:
            atomic_write(self._best, lambda tmp_path: tmp_path.write_bytes(checkpoint), self._previous_best)
            self._best_digest = hashlib.sha256(checkpoint).hexdigest()
        self._write_last(checkpoint, metadata)
        state = {**state, "rows": self._rows, "best_digest": self._best_digest}
        write_state(self.state_path, state, self._previous_state)

    def restore_last(self, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Write the last checkpoint and the history of the loaded state: those of a later step may be there."""
        self._write_last(_checkpoint(weights, metadata), metadata)

    def _write_last(self, checkpoint: bytes, metadata: dict[str, Any]) -> None:
        write_bytes(self.path / "last.safetensors", checkpoint)
        write_json(self.path / "history.json", metadata["history"])


def _checkpoint(weights: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    """Return a safetensors file: through memory, so that a full disk raises the same kind of error for any format."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    return save(tensors, {"gatezoo": json.dumps(metadata)})
