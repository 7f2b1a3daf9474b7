"""Where weights come from: the package itself, or the Hugging Face Hub. The only file that imports huggingface_hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from . import weights
from .weights import PretrainedCfg

_HUB_SOURCE = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})/(?P<file>[\w.-]+\.safetensors)")


def locate(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Path:
    """A local file of the weights, its sha256 checked, from the first source that has it.

    The cache is looked at before the network; a pinned commit that is cached makes no request.

    Args:
        cache_dir: default: the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache.

    Raises:
        ValueError: no source has the file, or what it has is not the file of the manifest.
    """
    cache_dir = cache_dir or os.environ.get("GATEZOO_CACHE") or None
    failures = []
    for source in cfg.sources:
        try:
            return _fetch(source, cfg, cache_dir)
        except (ValueError, OSError, HfHubHTTPError) as error:
            failures.append(f"{source}: {error}")
    raise ValueError(f"weights {cfg.name} must come from one of their sources; {'; '.join(failures)}")


def _fetch(source: str, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path:
    if path := weights.local_file(source):
        if not path.is_file():
            raise ValueError(f"there is no file {path}: reinstall gatezoo, or mend the folder")
        weights.verify(path, cfg)
        return path
    match = _HUB_SOURCE.fullmatch(source)
    if not match:
        raise ValueError("a source is bundled:FILE or hf-hub:org/repo@<40-hex commit>/FILE.safetensors")
    asked = dict(repo_id=match["repo"], revision=match["revision"], filename=match["file"], cache_dir=cache_dir)
    try:
        path = Path(hf_hub_download(**asked, local_files_only=True))
    except LocalEntryNotFoundError:
        path = Path(hf_hub_download(**asked))
    try:
        weights.verify(path, cfg)
    except ValueError:
        # The client looks at the size alone: fetch what is damaged once more, then refuse it.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        path = Path(hf_hub_download(**asked, force_download=True))
        weights.verify(path, cfg)
    return path
