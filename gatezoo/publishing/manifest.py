"""Check the manifest that a release will be added to. No torch, so that it is quick."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .. import pretrained


def check_manifest(path: Path) -> None:
    """Check that an entry can be added to a manifest, before anything is sent.

    Raises:
        ValueError: a file that is missing or no manifest, or a folder that cannot be written.
    """
    pretrained.read_manifest(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"the manifest {path} must be writable; {error.strerror or error}: choose another with --manifest"
        ) from None
