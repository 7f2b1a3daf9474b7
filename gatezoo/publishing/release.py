"""A folder that is ready to be uploaded, and the check of what the Hub has of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import hub
from ..factory import create_model
from ..metrics.names import headline
from ..pretrained import PretrainedCfg
from ..weights.config import CARD, CONFIG, WEIGHTS
from ..weights.integrity import sha256_of
from .golden import GOLDEN, check_golden

# Files that a network is made from or checked with; those for people and leaderboards are never downloaded.
_READ_FILES = (WEIGHTS, CONFIG, CARD, GOLDEN)


@dataclass
class Release:
    """A folder that is ready to be uploaded.

    Attributes:
        cfg: entry of the manifest, without its hub source.
        folder: the folder.
        error: difference between the folder's logits and the trained network's, see :func:`golden.logit_error`.
    """

    cfg: PretrainedCfg
    folder: Path
    error: float

    def files(self) -> list[str]:
        """Return the paths of all files within the folder."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def lines(self) -> list[str]:
        """Return a summary to read before the upload."""
        files = [f"{name} {(self.folder / name).stat().st_size} bytes" for name in self.files()]
        cfg = self.cfg
        return [
            f"{cfg.name}: {cfg.num_classes} classes, sha256 {cfg.sha256}",
            f"error of the logits {self.error:.2g} of their spread; {headline(cfg.metrics)}",
            f"license {cfg.license}; data: {cfg.data_license}",
            f"files: {', '.join(files)}",
        ]

    def check_uploaded(self, repo: str, commit: str) -> None:
        """Check that a commit of the Hub has all files, and that the network downloaded from it has the golden logits.

        Args:
            repo: ``org/name``.
            commit: 40 hex digits.

        Raises:
            ValueError: a file is missing or has other bytes, or the Hub does not answer.
        """
        stored = hub.stored_digests(repo, commit)
        with tempfile.TemporaryDirectory() as cache_dir:
            for name in self.files():
                path = self.folder / name
                same = name in stored and hub.matches_digest(path, stored[name])
                if same and name in _READ_FILES:
                    same = sha256_of(hub.fetch(repo, commit, name, cache_dir)) == sha256_of(path)
                if not same:
                    raise ValueError(
                        f"{name} of {repo}@{commit} must be the uploaded file; it has other bytes: publish it again"
                    )
            model = create_model(f"hf-hub:{repo}@{commit}", pretrained=True, cache_dir=cache_dir)
            check_golden(model, self.folder / GOLDEN)
