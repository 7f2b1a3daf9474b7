"""Read the scores of an evaluation, for an entry of the manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..metrics.names import HEADLINES
from ..utils.text import shorten


def load_scores(path: str | os.PathLike) -> dict[str, Any]:
    """Return the metrics of an entry from the scores.json of ``gatezoo eval --out``.

    Returns:
        The metrics with their protocol; "weights" identifies the file that was evaluated.

    Raises:
        ValueError: another kind of file.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        scores, protocol = report["scores"], report["protocol"]
        metrics: dict[str, Any] = {key: round(float(scores[key]), 4) for key in HEADLINES if key in scores}
        if not metrics:
            raise KeyError(" or ".join(HEADLINES))
        if "iou" in scores:
            metrics["iou"] = [None if value is None else round(float(value), 4) for value in scores["iou"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"scores must be the scores.json of 'gatezoo eval --out'; {path} is not: {shorten(error, 100)}"
        ) from None
    data = report.get("data", {})
    split = " ".join(str(data[key]) for key in ("dataset", "split") if data.get(key))
    return {**metrics, "protocol": f"{split}; {format_protocol(protocol)}", "weights": report.get("weights") or {}}


def format_protocol(protocol: Any) -> str:
    """Return the protocol of an evaluation as text: "mode whole, images 24"."""
    if isinstance(protocol, dict):
        return ", ".join(f"{key} {value}" for key, value in protocol.items() if value not in (None, False, ""))
    return str(protocol)
