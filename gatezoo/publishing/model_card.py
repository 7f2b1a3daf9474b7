"""The model card: what the Hub and a reader are told of a network and its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# As the Hub spells the licences that it knows; any other is "other" there, with its own name beside it.
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
# What a network of each task finds, how it is used, and the first of its classes that is something to be found.
_OF_TASK: dict[str, dict[str, Any]] = {
    "semantic": {
        "what": "Semantic segmentation of",
        "tag": "semantic-segmentation",
        "title": "Semantic segmentation",
        "use": 'classes = gatezoo.predict(model, "image.jpg")  # (H, W) class indices',
        "limit": "- Every pixel gets one of {count} classes, whether it shows any of them or not.",
        "first": 0,
    },
    "instance": {
        "what": "Objects",
        "tag": "instance-segmentation",
        "title": "Instance segmentation",
        "use": 'objects = gatezoo.predict_instances(model, "image.jpg")  # boxes, labels, names, scores, masks',
        "limit": "- Objects of other kinds than these are taken for one of them, or not found.",
        "first": 1,
    },
}
# An IoU below this is said to be weak.
_WEAK = 0.3


def license_lines(license: str) -> dict[str, str]:
    """The header's fields for a licence."""
    name = license.strip().lower().replace(" ", "-")
    return {"license": name} if name in _HUB_LICENSES else {"license": "other", "license_name": name}


def dataset_of(about: Mapping[str, Any]) -> str:
    """'CamVid, 367 images' -> 'CamVid'."""
    return re.split(r"[,;(]", about.get("train_data", ""))[0].strip()


def render_model_card(config: Mapping[str, Any], name: str, source: str, task: str = "semantic") -> str:
    """The text of README.md.

    Args:
        config: the network's configuration; what it does not tell is said not to be told.
        name: of the weights.
        source: what ``create_model`` takes: ``hf-hub:org/repo`` or ``local-dir:FOLDER``.
        task: of the network.
    """
    about, of_task = config["pretrained_cfg"], _OF_TASK[task]
    # Every value as JSON, which is YAML too: nothing that a configuration tells can break out of its line.
    facts = _header(config, name, of_task)
    header = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    classes = ", ".join(about.get("class_names", ())[of_task["first"] :]) or f"{about['num_classes']} classes"
    lines = ["---", *header, "---", "", f"# {name}", "", f"{of_task['what']}: {_safe(classes)}.", ""]
    lines += ["## Use", "", "```python", "import gatezoo", ""]
    lines += [f'model = gatezoo.create_model("{source}", pretrained=True).eval()']
    lines += [of_task["use"], "```", ""]
    lines += ["## Results", "", *_results(about), ""]
    lines += ["## Training", "", f"Trained on: {_safe(about.get('train_data') or 'not told')}.", ""]
    if about.get("command"):
        lines += ["```", about["command"].replace("```", ""), "```", ""]
    lines += ["## Intended use and limits", "", *_limits(about, of_task), ""]
    lines += ["## Licence", "", f"Weights: {_safe(about.get('license') or 'not told')}."]
    lines += [f"Data they were trained on: {_safe(about.get('data_license') or 'not told')}.", ""]
    made = ", ".join(f"{key} {value}" for key, value in about.get("versions", {}).items())
    lines += [f"`model.safetensors`: {about['size']} bytes, sha256 `{about['sha256']}`."]
    return "\n".join(lines + ([f"Made with {_safe(made)}."] if made else [])) + "\n"


def _header(config: Mapping[str, Any], name: str, of_task: Mapping[str, Any]) -> dict[str, Any]:
    about = config["pretrained_cfg"]
    header: dict[str, Any] = {"library_name": "gatezoo", "pipeline_tag": "image-segmentation"}
    header["tags"] = ["gatezoo", "image-segmentation", of_task["tag"], config["architecture"]]
    if about.get("license"):
        header |= license_lines(about["license"])
    dataset, metrics = dataset_of(about), about.get("metrics", {})
    slug = re.sub(r"[^a-z0-9._-]+", "-", dataset.lower()).strip("-.")
    if slug:
        header["datasets"] = [slug]
    figures = [
        {"type": kind, "name": title, "value": metrics[key]}
        for key, kind, title in (
            ("miou", "mean_iou", "mIoU"),
            ("pixel_accuracy", "accuracy", "pixel accuracy"),
            ("mean_accuracy", "mean_accuracy", "mean accuracy"),
            ("mask_ap", "mean_average_precision", "mask AP"),
            ("box_ap", "mean_average_precision", "box AP"),
        )
        if key in metrics
    ]
    if figures:
        header["metrics"] = [figure["type"] for figure in figures]
    if figures and slug:
        task = {"type": "image-segmentation", "name": of_task["title"]}
        data = {"type": slug, "name": dataset, "args": {"protocol": metrics.get("protocol", "not told")}}
        header["model-index"] = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": figures}]}]
    return header


def _results(about: Mapping[str, Any]) -> list[str]:
    metrics = about.get("metrics", {})
    if not metrics.keys() & {"miou", "mask_ap"}:
        return ["Not measured."]
    lines = [f"Protocol: {_safe(metrics.get('protocol', 'not told'))}.", "", "| figure | value |", "| --- | --- |"]
    for key, value in metrics.items():
        if isinstance(value, (int, float)):
            lines.append(f"| {_safe(key)} | {100 * value:.1f} % |")
    for name, value in zip(about.get("class_names", ()), metrics.get("iou", ())):
        lines.append(f"| IoU of {_safe(name)} | {100 * value:.1f} % |" if value is not None else f"| {name} | absent |")
    return lines


def _limits(about: Mapping[str, Any], of_task: Mapping[str, Any]) -> list[str]:
    count, dataset = about["num_classes"], dataset_of(about) or "the training data"
    lines = [
        "- For research on gated segmentation networks and as a start for fine-tuning.",
        of_task["limit"].format(count=count),
        f"- Images unlike those of {_safe(dataset)} (another place, camera, weather, scale) were not measured and "
        "will come out worse. Do not let it decide anything that can harm people.",
    ]
    iou = zip(about.get("class_names", ()), about.get("metrics", {}).get("iou", ()))
    weak = [f"{_safe(name)} ({100 * value:.0f} %)" for name, value in iou if value is not None and value < _WEAK]
    if weak:
        lines.append(f"- Hardly learnt: {', '.join(weak)}.")
    return lines


def _safe(text: str) -> str:
    """Text that cannot start markup of its own."""
    return re.sub(r"[<>\[\]`|\r\n]", " ", str(text))
