"""Metadata of a model card, in the Hub's own format."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, SpaceCardData

from .. import pretrained
from ..metrics.names import METRICS

# Licenses by the Hub's identifiers. Any other is "other" there, with its name and address in fields of their own.
_HUB_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense
zlib pddl lgpl-lr
"""
# Metrics that rate depth, which is a task of its own on the Hub.
_DEPTH_METRICS = ("delta1", "delta2", "delta3", "abs_rel", "rmse", "rmse_log")


def dataset_of(cfg: Mapping[str, Any]) -> str:
    """Return the name of the training data: "CamVid" of "CamVid, 367 images"."""
    return " ".join(re.split(r"[,;(]", cfg.get("train_data", ""))[0].split())


def license_lines(license: str) -> dict[str, str]:
    """Return the fields of the card's header for a license.

    Args:
        license: one of the Hub's list in any spelling, such as "CC BY 4.0"; or the name of another, which may be
            followed by its address: "Research only, https://...".
    """
    name = re.sub(r"[\s_]+", "-", license.strip().lower())
    if name in _HUB_LICENSES.split():
        return {"license": name}
    address = re.search(r"https?://[^\s,;()<>]+", license)
    text = license.replace(address[0], "") if address else license
    fields = {"license": "other", "license_name": slug(text) or "unnamed"}
    return fields | ({"license_link": address[0]} if address else {})


def card_header(config: Mapping[str, Any], name: str, task: str, tag: str) -> str:
    """Return the YAML at the top of a card, without its rules of dashes.

    Scores are in the Hub's units: shares in 0 .. 1, as its metrics ``mean_iou`` and ``accuracy`` are, errors of depth
    in the unit that their name has.

    Args:
        config: content of ``config.json``.
        name: of the weights.
        task: title of the task.
        tag: of the task.
    """
    cfg = config["pretrained_cfg"]
    results = _eval_results(cfg, task)
    base = _hub_repository(cfg.get("base_model", ""))
    dataset = slug(dataset_of(cfg))
    license = license_lines(cfg["license"]) if cfg.get("license") else {}
    data = ModelCardData(
        library_name="gatezoo",
        pipeline_tag="image-segmentation",
        tags=["gatezoo", "image-segmentation", tag, config["architecture"]],
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[dataset] if dataset else None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=name,
        eval_results=results or None,
        license=license.get("license"),
        license_name=license.get("license_name"),
        license_link=license.get("license_link"),
    )
    if not data.eval_results:
        data.model_name = None  # it names the results alone
    return data.to_yaml().strip()


def space_header(name: str, version: str, app: str, license: str, repo: str | None) -> str:
    """Return the YAML at the top of the README of a Space, without its rules of dashes.

    Args:
        name: of the weights.
        version: of Gradio.
        app: file that serves the page.
        license: see :func:`license_lines`.
        repo: ORG/NAME where the weights are published too; None for nowhere.
    """
    data = SpaceCardData(
        title=name,
        sdk="gradio",
        sdk_version=version,
        app_file=app,
        license=license_lines(license)["license"],
        models=[repo] if repo else None,
        tags=["gatezoo", "image-segmentation"],
        emoji="\N{JIGSAW PUZZLE PIECE}",
        colorFrom="indigo",
        colorTo="yellow",
        pinned=False,
    )
    return data.to_yaml().strip()


def _eval_results(cfg: Mapping[str, Any], task: str) -> list[EvalResult]:
    metrics, data = cfg.get("metrics", {}), dataset_of(cfg)
    protocol = {"protocol": one_line(metrics.get("protocol", "unknown"))}
    return [
        EvalResult(
            task_type="depth-estimation" if key in _DEPTH_METRICS else "image-segmentation",
            task_name="Depth estimation" if key in _DEPTH_METRICS else task,
            dataset_type=slug(data) or "unknown",
            dataset_name=data or "unknown",
            dataset_args=protocol,
            metric_type=info.hub_type,
            metric_name=f"{info.title} (m)" if info.unit == "m" else info.title,
            metric_value=metrics[key],
        )
        for key, info in METRICS.items()
        if info.hub_type and is_number(metrics.get(key))
    ]


def _hub_repository(base_model: str) -> str | None:
    """Return the repository of the Hub that holds a base model; None if it is known from elsewhere."""
    if match := re.match(r"hf-hub:([\w.-]+/[\w.-]+)(?=[@,]|$)", base_model):
        return match[1]
    cfg = pretrained.manifest().get(base_model.partition(",")[0])
    sources = [re.match(r"hf-hub:([\w.-]+/[\w.-]+)@", source) for source in cfg.sources] if cfg else []
    return next((match[1] for match in sources if match), None)


def is_number(value: Any) -> bool:
    """Return whether a score is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def slug(text: str) -> str:
    """Return a text in the form of the Hub's identifiers: "CC BY" -> "cc-by"."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")


def one_line(text: str) -> str:
    """Return a text with every white space as one space."""
    return " ".join(str(text).split())
