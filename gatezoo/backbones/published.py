"""timm's published weights of a backbone, fetched by this package's own client of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from timm.models import PretrainedCfg

from .. import hub

WEIGHTS = "model.safetensors"


def fetch_published(cfg: PretrainedCfg, name: str) -> Path | None:
    """Return a local file of timm's weights: the cached one, which needs no request, else downloaded.

    timm's own download retries for a minute where there is no network; this client gives up within seconds.

    Args:
        cfg: timm's config of the backbone.
        name: of the backbone, for the message.

    Returns:
        None for the few backbones whose weights are not a safetensors file of a repository, which timm loads; then
        their server answers, or timm has them in its cache.

    Raises:
        ValueError: the Hub cannot be reached, or refuses.
    """
    try:
        if not cfg.hf_hub_id or cfg.hf_hub_filename:
            if isinstance(cfg.url, str) and cfg.url and not _timm_cache(cfg.url).is_file():
                hub.check_reachable(cfg.url)
            return None
        repo, _, revision = cfg.hf_hub_id.partition("@")
        if path := hub.cached(repo, revision or "main", WEIGHTS):
            return path
        return hub.fetch(repo, hub.resolve(repo, revision or None), WEIGHTS)
    except ValueError as error:
        raise ValueError(f"{error}; or pass a file of weights of {name} as pretrained_backbone") from None


def _timm_cache(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def overlay(path: Path | None) -> dict[str, Any]:
    """Return the fields of timm's config that make it load a file; none for its own download."""
    from safetensors.torch import load_file

    return {"state_dict": load_file(path)} if path else {}
