"""Render the model card of a network and its weights: the README.md that the Hub shows."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.label_format import LabelFormat
from ..metrics.names import METRICS, format_metric, headline_key, metric_info
from .card_header import card_header, dataset_of


@dataclass(frozen=True)
class _TaskText:
    """Text of a card that depends on the task.

    Attributes:
        title: name of the task.
        tag: of the Hub.
        usage: lines of Python that predict.
        limit: line about classes beyond those of the training.
        first_class: index of the first class that can be predicted.
        figure: description of the figure.
    """

    title: str
    tag: str
    usage: str
    limit: str
    first_class: int
    figure: str


_TASK_TEXTS = {
    "semantic": _TaskText(
        title="Semantic segmentation",
        tag="semantic-segmentation",
        usage="""\
classes = gatezoo.predict(model, "image.jpg")  # (H, W) class indices, at the image's own size
transforms = model.pretrained_cfg.transforms()  # a torchvision pipeline: image -> input of the network
logits = model(transforms("image.jpg").unsqueeze(0))  # (1, K, H, W)""",
        limit="- Every pixel gets one of {count} classes, even if it shows none of them.",
        first_class=0,
        figure="An image, its predicted classes and, if the network has some, its gates",
    ),
    "instance": _TaskText(
        title="Instance segmentation",
        tag="instance-segmentation",
        usage='instances = gatezoo.predict_instances(model, "image.jpg")  # boxes, labels, names, scores, masks',
        limit="- Instances of other classes than these are predicted as one of them, or missed.",
        first_class=1,
        figure="An image with the predicted instances",
    ),
}
# Classes with an IoU below this are listed among the limits.
_WEAK_IOU = 0.3


def render_model_card(
    config: Mapping[str, Any], name: str, source: str, task: str = "semantic", figure: str | None = None
) -> str:
    """Return the text of README.md.

    Args:
        config: content of ``config.json``; fields that it lacks are shown as "unknown".
        name: of the weights.
        source: argument of ``create_model``: ``hf-hub:org/repo`` or ``local-dir:FOLDER``.
        task: of the network.
        figure: file of a figure of a prediction, beside the card; None for none.
    """
    cfg, text = config["pretrained_cfg"], _TASK_TEXTS[task]
    classes = ", ".join(cfg.get("class_names", ())[text.first_class :]) or f"{cfg['num_classes']} classes"
    sections = [
        ("", [f"# {escape(name)}", f"{text.title} of: {escape(classes)}."]),
        ("", [f"![{text.figure}]({figure})"] if figure else []),
        ("Usage", _usage(source, text)),
        ("Results", _results(cfg)),
        ("Training", _training(cfg)),
        ("Intended use and limits", ["\n".join(_limits(cfg, text))]),
        ("License", _license(cfg)),
        ("Files", _files(cfg)),
    ]
    paragraphs = [f"---\n{card_header(config, name, text.title, text.tag)}\n---"]
    for title, content in sections:
        paragraphs += [f"## {title}"] * bool(title) + content
    return "\n\n".join(paragraphs) + "\n"


def _usage(source: str, text: _TaskText) -> list[str]:
    arguments = f'"{source}", pretrained=True'
    code = f"import gatezoo\n\nmodel = gatezoo.create_model({arguments}).eval()\n{text.usage}"
    loaded = f'model = torch.hub.load("OWNER/gatezoo", "create_model", {arguments}, trust_repo=True)'
    return [_block(code, "python"), "With `torch.hub`, without an installation:", _block(loaded, "py")]


def _results(cfg: Mapping[str, Any]) -> list[str]:
    metrics = cfg.get("metrics", {})
    if headline_key(metrics) is None:
        return ["Not measured."]
    rows = [
        (escape(metric_info(key).title), format_metric(key, value))
        for key, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    by_pass = enumerate(metrics.get("miou_by_iterations", ()), start=1)
    rows += [
        (f"{METRICS['miou'].title} after pass {number}", format_metric("miou", value)) for number, value in by_pass
    ]
    by_class = [
        (escape(name), format_metric("iou", value))
        for name, value in zip(cfg.get("class_names", ()), metrics.get("iou", ()))
    ]
    tables = [_table("metric", "value", rows)]
    if by_class:
        tables.append(_table("class", METRICS["iou"].title, by_class))
    return [f"Protocol: {escape(metrics.get('protocol', 'unknown'))}.", *tables]


def _training(cfg: Mapping[str, Any]) -> list[str]:
    """Return the training data, how it was encoded if not in the usual way, the weights before, and the command."""
    lines = [f"Training data: {escape(cfg.get('train_data') or 'unknown')}."]
    if stored := cfg.get("label_format"):
        text = LabelFormat.from_dict(stored).describe(cfg.get("class_names", ()), cfg.get("ignore_index", 255))
        lines.append(f"Labels: {escape(text)}.")
    if cfg.get("image_max"):
        lines.append(f"Images: {cfg['image_max']:g} is full brightness.")
    if cfg.get("base_model"):
        lines.append(f"Base model: {escape(cfg['base_model'])}.")
    if cfg.get("command"):
        lines.append(_block(cfg["command"]))
    return lines


def _limits(cfg: Mapping[str, Any], text: _TaskText) -> list[str]:
    dataset = dataset_of(cfg) or "the training data"
    lines = [
        "- For research on gated segmentation networks, and to start fine-tuning from.",
        text.limit.format(count=cfg["num_classes"]),
        f"- Images unlike those of {escape(dataset)} (another place, camera, weather, scale) were not evaluated; "
        "expect lower scores. Do not use the predictions for decisions that can harm people.",
    ]
    iou = zip(cfg.get("class_names", ()), cfg.get("metrics", {}).get("iou", ()))
    weak = [f"{escape(name)} ({100 * value:.0f} %)" for name, value in iou if value is not None and value < _WEAK_IOU]
    if weak:
        lines.append(f"- Classes with a low IoU: {', '.join(weak)}.")
    return lines


def _license(cfg: Mapping[str, Any]) -> list[str]:
    weights, data = (escape(cfg.get(key) or "unknown") for key in ("license", "data_license"))
    return [f"Weights: {weights}.\nTraining data: {data}."]


def _files(cfg: Mapping[str, Any]) -> list[str]:
    lines = [f"`model.safetensors`: {cfg['size']} bytes, sha256 `{cfg['sha256']}`."]
    if versions := ", ".join(f"{key} {value}" for key, value in cfg.get("versions", {}).items()):
        lines.append(f"Made with {escape(versions)}.")
    return ["\n".join(lines)]


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {first} | {second} |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


def _block(text: str, language: str = "") -> str:
    """Return a block of code whose fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def escape(text: str) -> str:
    """Return text as one line in which no character is markup: those that could be are entities.

    Underscores within a word are none. A dollar could start a formula on the Hub.
    """
    line = html.escape(" ".join(str(text).splitlines()), quote=False)
    return re.sub(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)", lambda match: f"&#{ord(match[0])};", line)
