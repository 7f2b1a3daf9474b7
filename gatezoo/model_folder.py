"""A network as a folder that needs nothing else: ``config.json``, ``model.safetensors`` and a card."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from . import weights
from .files import write_whole
from .segmenter import SegmentationModel
from .transforms import statistics_of
from .weights import PretrainedCfg

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_pretrained(
    model: SegmentationModel, folder: str | os.PathLike, class_names: Sequence[str] | None = None
) -> Path:
    """Write a network that ``create_model`` made, trained or not, for ``create_model("local-dir:FOLDER")``.

    The folder tells the row, all keywords of its builder and what the weights expect; reading it back fetches
    nothing. Files that are there are replaced, each as a whole.

    Args:
        class_names: default: those of the weights, unless the network was given another number of classes.

    Raises:
        ValueError: a network that is no row of the registry, names that are not one a class, or a folder that cannot
            be written.
    """
    if model.architecture is None:
        raise ValueError("a model folder must name a model of the registry; build this one with gatezoo.create_model")
    if class_names is not None and len(class_names) != model.num_classes:
        raise ValueError(f"class_names must be one for each of {model.num_classes} classes; got {len(class_names)}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"a model folder must be writable; {folder}: {error.strerror}") from error
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    blob = save(tensors)
    write_whole(folder / WEIGHTS, lambda path: path.write_bytes(blob))
    cfg, expected = model.pretrained_cfg, statistics_of(model)
    # What is known of weights whose classifier was made anew is no longer known of these.
    about = cfg.to_dict() if cfg and cfg.num_classes == model.num_classes else {}
    about |= {"mean": expected.mean, "std": expected.std}
    if class_names is not None:
        about["class_names"] = list(class_names)
    about |= {"num_classes": model.num_classes, "in_chans": model.in_chans}
    about |= {"size": len(blob), "sha256": weights.sha256_of(folder / WEIGHTS)}
    about = {key: value for key, value in about.items() if key not in ("architecture", "tag", "sources", "file")}
    config = {"architecture": model.architecture, "model_args": model.model_args, "pretrained_cfg": about}
    write_whole(folder / CONFIG, lambda path: path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n"))
    write_whole(folder / CARD, lambda path: path.write_text(_card(config), encoding="utf-8"))
    return folder


def read_model_folder(folder: str | os.PathLike) -> tuple[str, dict[str, Any], PretrainedCfg]:
    """What a model folder holds: the name of its row, keywords of the builder, and the entry of its weights.

    Raises:
        ValueError: no such folder, or a configuration that is damaged or of another program.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"a model folder must hold {CONFIG} and {WEIGHTS}; {folder} has no {CONFIG}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture, args, about = config["architecture"], dict(config["model_args"]), dict(config["pretrained_cfg"])
        cfg = PretrainedCfg.from_config(architecture, about, f"local-dir:{folder / WEIGHTS}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a model's configuration as save_pretrained writes it: {error}") from error
    return architecture, args, cfg


def _card(config: dict[str, Any]) -> str:
    about = config["pretrained_cfg"]
    names = ", ".join(about.get("class_names", ())) or f"{about['num_classes']} classes"
    lines = [
        "---",
        "library_name: gatezoo",
        "pipeline_tag: image-segmentation",
        "---",
        "",
        f"# {config['architecture']}",
        "",
        f"Semantic segmentation of: {names}.",
        "",
        "```python",
        "import gatezoo",
        "",
        'model = gatezoo.create_model("local-dir:THIS_FOLDER", pretrained=True)',
        'classes = gatezoo.predict(model, "picture.jpg")',
        "```",
        "",
        f"Trained on: {about.get('train_data') or 'not told'}.",
        f"Licence of the weights: {about.get('license') or 'not told'}.",
    ]
    if miou := about.get("metrics", {}).get("miou"):
        lines.append(f"mIoU {100 * miou:.1f} on {about['metrics'].get('protocol', 'its validation pictures')}.")
    return "\n".join(lines) + "\n"
