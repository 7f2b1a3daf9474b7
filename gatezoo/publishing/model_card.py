"""Render the model card of a network and its weights: the README.md that the Hub shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.label_format import LabelFormat
from ..metrics.names import METRICS, format_metric, headline_key, metric_info

# Licenses by the Hub's identifiers. Any other is "other" there, with its name in a field of its own.
_HUB_LICENSES = {
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "gpl-2.0",
    "gpl-3.0",
    "agpl-3.0",
    "lgpl-2.1",
    "lgpl-3.0",
    "mpl-2.0",
    "isc",
    "unlicense",
    "wtfpl",
    "zlib",
    "epl-2.0",
    "eupl-1.2",
    "odbl",
    "pddl",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "openrail",
    "afl-3.0",
    "artistic-2.0",
    "bsl-1.0",
    "ms-pl",
}


@dataclass(frozen=True)
class _TaskText:
    """Text of a card that depends on the task.

    Attributes:
        title: name of the task.
        tag: of the Hub.
        usage: line of Python that predicts.
        limit: line about classes beyond those of the training.
        first_class: index of the first class that can be predicted.
    """

    title: str
    tag: str
    usage: str
    limit: str
    first_class: int


_TASK_TEXTS = {
    "semantic": _TaskText(
        title="Semantic segmentation",
        tag="semantic-segmentation",
        usage='classes = gatezoo.predict(model, "image.jpg")  # (H, W) class indices',
        limit="- Every pixel gets one of {count} classes, even if it shows none of them.",
        first_class=0,
    ),
    "instance": _TaskText(
        title="Instance segmentation",
        tag="instance-segmentation",
        usage='instances = gatezoo.predict_instances(model, "image.jpg")  # boxes, labels, names, scores, masks',
        limit="- Instances of other classes than these are predicted as one of them, or missed.",
        first_class=1,
    ),
}
# Classes with an IoU below this are listed among the limits.
_WEAK_IOU = 0.3


def license_lines(license: str) -> dict[str, str]:
    """Return the fields of the card's header for a license."""
    name = license.strip().lower().replace(" ", "-")
    return {"license": name} if name in _HUB_LICENSES else {"license": "other", "license_name": name}


def dataset_of(cfg: Mapping[str, Any]) -> str:
    """Return the name of the training data: "CamVid" of "CamVid, 367 images"."""
    return re.split(r"[,;(]", cfg.get("train_data", ""))[0].strip()


def render_model_card(config: Mapping[str, Any], name: str, source: str, task: str = "semantic") -> str:
    """Return the text of README.md.

    Args:
        config: content of ``config.json``; fields that it lacks are shown as "unknown".
        name: of the weights.
        source: argument of ``create_model``: ``hf-hub:org/repo`` or ``local-dir:FOLDER``.
        task: of the network.
    """
    cfg, text = config["pretrained_cfg"], _TASK_TEXTS[task]
    # Every value as JSON, which is also YAML: no value of a config can end its line.
    header = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _header(config, name, text).items()]
    classes = ", ".join(cfg.get("class_names", ())[text.first_class :]) or f"{cfg['num_classes']} classes"
    lines = ["---", *header, "---", "", f"# {name}", "", f"{text.title} of: {_escape(classes)}.", ""]
    lines += ["## Usage", "", "```python", "import gatezoo", ""]
    lines += [f'model = gatezoo.create_model("{source}", pretrained=True).eval()', text.usage, "```", ""]
    lines += ["## Results", "", *_results(cfg), ""]
    lines += [
        "## Training",
        "",
        f"Training data: {_escape(cfg.get('train_data') or 'unknown')}.",
        *_conventions(cfg),
        "",
    ]
    if cfg.get("command"):
        lines += ["```", cfg["command"].replace("```", ""), "```", ""]
    lines += ["## Intended use and limits", "", *_limits(cfg, text), ""]
    lines += ["## License", "", f"Weights: {_escape(cfg.get('license') or 'unknown')}."]
    lines += [f"Training data: {_escape(cfg.get('data_license') or 'unknown')}.", ""]
    lines += [f"`model.safetensors`: {cfg['size']} bytes, sha256 `{cfg['sha256']}`."]
    if versions := ", ".join(f"{key} {value}" for key, value in cfg.get("versions", {}).items()):
        lines += [f"Made with {_escape(versions)}."]
    return "\n".join(lines) + "\n"


def _header(config: Mapping[str, Any], name: str, text: _TaskText) -> dict[str, Any]:
    cfg = config["pretrained_cfg"]
    header: dict[str, Any] = {"library_name": "gatezoo", "pipeline_tag": "image-segmentation"}
    header["tags"] = ["gatezoo", "image-segmentation", text.tag, config["architecture"]]
    if cfg.get("license"):
        header |= license_lines(cfg["license"])
    dataset, metrics = dataset_of(cfg), cfg.get("metrics", {})
    slug = re.sub(r"[^a-z0-9._-]+", "-", dataset.lower()).strip("-.")
    if slug:
        header["datasets"] = [slug]
    listed = [
        {"type": info.hub_type, "name": info.title, "value": metrics[key]}
        for key, info in METRICS.items()
        if info.hub_type and key in metrics
    ]
    if listed:
        header["metrics"] = [metric["type"] for metric in listed]
    if listed and slug:
        task = {"type": "image-segmentation", "name": text.title}
        data = {"type": slug, "name": dataset, "args": {"protocol": metrics.get("protocol", "unknown")}}
        header["model-index"] = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": listed}]}]
    return header


def _conventions(cfg: Mapping[str, Any]) -> list[str]:
    """Return how the training data was encoded, where that is not the usual way, and the weights it started from."""
    lines = []
    if stored := cfg.get("label_format"):
        text = LabelFormat.from_dict(stored).describe(cfg.get("class_names", ()), cfg.get("ignore_index", 255))
        lines.append(f"Labels: {_escape(text)}.")
    if cfg.get("image_max"):
        lines.append(f"Images: {cfg['image_max']:g} is full brightness.")
    if cfg.get("base_model"):
        lines.append(f"Base model: {_escape(cfg['base_model'])}.")
    return [line for text in lines for line in ("", text)]


def _results(cfg: Mapping[str, Any]) -> list[str]:
    metrics = cfg.get("metrics", {})
    if headline_key(metrics) is None:
        return ["Not measured."]
    lines = [f"Protocol: {_escape(metrics.get('protocol', 'unknown'))}.", "", "| metric | value |", "| --- | --- |"]
    for key, value in metrics.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            lines.append(f"| {_escape(metric_info(key).title)} | {format_metric(key, value)} |")
    for name, value in zip(cfg.get("class_names", ()), metrics.get("iou", ())):
        lines.append(f"| {METRICS['iou'].title} of {_escape(name)} | {format_metric('iou', value)} |")
    return lines


def _limits(cfg: Mapping[str, Any], text: _TaskText) -> list[str]:
    dataset = dataset_of(cfg) or "the training data"
    lines = [
        "- For research on gated segmentation networks, and to start fine-tuning from.",
        text.limit.format(count=cfg["num_classes"]),
        f"- Images unlike those of {_escape(dataset)} (another place, camera, weather, scale) were not evaluated; "
        "expect lower scores. Do not use the predictions for decisions that can harm people.",
    ]
    iou = zip(cfg.get("class_names", ()), cfg.get("metrics", {}).get("iou", ()))
    weak = [f"{_escape(name)} ({100 * value:.0f} %)" for name, value in iou if value is not None and value < _WEAK_IOU]
    if weak:
        lines.append(f"- Classes with a low IoU: {', '.join(weak)}.")
    return lines


def _escape(text: str) -> str:
    """Return text without characters that start markup."""
    return re.sub(r"[<>\[\]`|\r\n]", " ", str(text))
