"""Publishing weights: rebuild, compare, write a folder, upload it, read it back, and enter it into the manifest."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from .. import hub, pretrained
from ..factory import create_model, load_model
from ..metrics.names import HEADLINES, headline
from ..pretrained import PretrainedCfg
from ..registry import get_model_spec, get_pretrained_cfg
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..utils.files import atomic_write
from ..weights.config import CARD, WEIGHTS
from ..weights.integrity import sha256_of
from ..weights.sources import resolve_weights
from .golden import FP16_TOLERANCE, FP32_TOLERANCE, GOLDEN, check_golden, golden_image, golden_logits, logit_error
from .model_folder import make_pretrained_cfg, save_pretrained, write_model_folder


@dataclass
class Release:
    """A folder that is ready to go, and what is said about it.

    Attributes:
        cfg: the entry of the manifest, its hub source still missing.
        off: how far the folder's logits are from the trained network's, as a share of their spread.
    """

    cfg: PretrainedCfg
    folder: Path
    off: float

    def lines(self) -> list[str]:
        """For whoever decides whether to publish it."""
        files = [f"{path.name} {path.stat().st_size} bytes" for path in sorted(self.folder.iterdir())]
        cfg = self.cfg
        return [
            f"{cfg.name}: {cfg.num_classes} classes, sha256 {cfg.sha256}",
            f"logits off by {self.off:.2g} of their spread; {headline(cfg.metrics)}",
            f"licence {cfg.license}; data: {cfg.data_license}",
            f"files: {', '.join(files)}",
        ]


def build_release(
    source: str,
    folder: str | os.PathLike,
    repo: str,
    tag: str | None = None,
    told: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Release:
    """Write the folder of a repository and see that the network it gives is the trained one. Nothing is sent.

    Args:
        source: a file that ``gatezoo train`` wrote, or ``name.tag`` of the manifest, whose file is taken as it is.
        folder: an empty or missing one.
        repo: where it will go, for the card.
        tag: of the new entry; of a name.tag its own.
        told: fields of :class:`PretrainedCfg` that a training does not know: train_data, license, data_license,
            command, metrics.
        half: round the weights to half precision.

    Raises:
        ValueError: no licence of weights or data, no class names, metrics without protocol or command, a network
            whose keywords are not its row's, or a folder whose logits are not those of the source.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"the folder to publish from must be empty; {folder} is not")
    if source.endswith(".safetensors"):
        trained, cfg, blob = _from_training(source, tag, told or {}, half)
    else:
        trained, cfg, blob = _from_manifest(source, tag, told or {})
    _check(cfg)
    args = {**trained.model_kwargs, "num_classes": cfg.num_classes}
    write_model_folder(folder, cfg.architecture, args, cfg.to_dict(), blob, f"hf-hub:{repo}", cfg.name)
    cfg = dataclasses.replace(cfg, size=len(blob), sha256=sha256_of(folder / WEIGHTS))
    force_download = create_model(f"local-dir:{folder}", pretrained=True)
    expected, found = golden_logits(trained), golden_logits(force_download)
    off = logit_error(expected, found)
    if off > (FP16_TOLERANCE if half else FP32_TOLERANCE):
        raise ValueError(f"a published network must give the trained one's logits; these are off by {off:.2g}")
    image = golden_image(force_download.in_chans)
    atomic_write(folder / GOLDEN, lambda path: path.write_bytes(save({"image": image, "logits": found})))
    return Release(cfg, folder, off)


def publish(
    publication: Release, repo: str, private: bool = False, manifest: str | os.PathLike | None = None
) -> PretrainedCfg:
    """Upload, read back into an empty cache, check every byte and the logits, then write the manifest's entry.

    Args:
        manifest: default: the one that is in use.

    Returns:
        The entry, with the source ``hf-hub:REPO@COMMIT/model.safetensors``.

    Raises:
        ValueError: the hub refuses, or gives back something else than it was given. Then no entry is written.
    """
    cfg, folder = publication.cfg, publication.folder
    commit = hub.upload(folder, repo, f"{cfg.name}, sha256 {cfg.sha256[:12]}", private)
    with tempfile.TemporaryDirectory() as empty:
        for path in sorted(folder.iterdir()):
            given = hub.fetch(repo, commit, path.name, empty)
            if sha256_of(given) != sha256_of(path):
                raise ValueError(
                    f"{path.name} of {repo}@{commit} must be what was sent; it has other bytes: send it again"
                )
        check_golden(create_model(f"hf-hub:{repo}@{commit}", pretrained=True, cache_dir=empty), folder / GOLDEN)
    source = f"hf-hub:{repo}@{commit}/{WEIGHTS}"
    kept = [held for held in cfg.sources if not held.startswith("hf-hub:")]
    entry = dataclasses.replace(cfg, file=cfg.file or f"{cfg.name}.safetensors", sources=(*kept, source))
    pretrained.replace_entry(Path(manifest) if manifest else pretrained.manifest_path(), entry)
    return entry


def push_to_hub(
    model: BaseSegmenter,
    repo: str,
    license: str | None = None,
    private: bool = False,
    message: str = "A network of gatezoo",
) -> str:
    """Write a network as a folder and upload it, for ``create_model("hf-hub:ORG/REPO", pretrained=True)``.

    Args:
        license: of the weights; default: that of those it was made from.

    Returns:
        The 40-hex commit.

    Raises:
        ValueError: no licence, no token that may write there, or no hub.
    """
    license = license or (model.pretrained_cfg.license if model.pretrained_cfg else "")
    if not license:
        raise ValueError(
            f"what is published must have a licence; {repo} would have none: give license='cc-by-4.0', say"
        )
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, license=license)
        card = Path(folder) / CARD
        card.write_text(
            card.read_text(encoding="utf-8").replace("local-dir:THIS_FOLDER", f"hf-hub:{repo}"), encoding="utf-8"
        )
        return hub.upload(Path(folder), repo, message, private)


def _from_training(
    path: str, tag: str | None, told: Mapping[str, Any], half: bool
) -> tuple[BaseSegmenter, PretrainedCfg, bytes]:
    """The network as trained, its entry, and the bytes of the file to publish."""
    if not tag or not tag.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"new weights must have a tag of letters, digits, - and _; got {tag!r}: --tag camvid, say")
    model = load_model(path)
    if odd := sorted(get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs)):
        raise ValueError(f"only rows as registered are published; {path} has other keywords: {', '.join(odd)}")
    tensors = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    told = dict(told)
    if metrics := told.get("metrics"):
        measured = metrics.pop("weights", {}).get("sha256")
        if measured != sha256_of(Path(path)):
            raise ValueError(
                f"scores must be of the file that is published; these are of another than {path}: 'gatezoo eval'"
            )
        if half:
            metrics["protocol"] += "; measured before the weights were rounded to half precision"
    about = make_pretrained_cfg(model) | {"tag": tag, "file": "", "sources": (), "versions": versions(), **told}
    known = {field.name for field in dataclasses.fields(PretrainedCfg)}
    return model, PretrainedCfg(**{key: value for key, value in about.items() if key in known}), save(tensors)


def _from_manifest(name: str, tag: str | None, told: Mapping[str, Any]) -> tuple[BaseSegmenter, PretrainedCfg, bytes]:
    cfg = get_pretrained_cfg(name)
    if cfg is None:
        raise ValueError(f"{name} has no weights to publish: give a file that 'gatezoo train' wrote")
    if tag not in (None, cfg.tag) or told:
        raise ValueError(f"weights {cfg.name} are published as the manifest tells; leave out the tag and facts")
    model = create_model(cfg.name, pretrained=True)
    return model, cfg, resolve_weights(cfg).read_bytes()


def _check(cfg: PretrainedCfg) -> None:
    for field, what in (("license", "the weights"), ("data_license", "the data"), ("train_data", "training data")):
        if not getattr(cfg, field):
            told = "a name" if field == "train_data" else "a licence"
            raise ValueError(
                f"{what} of what is published must have {told}; {cfg.name} tells none: --{field.replace('_', '-')}"
            )
    if len(cfg.class_names) != cfg.num_classes or len(cfg.palette) != cfg.num_classes:
        raise ValueError(f"published weights must have {cfg.num_classes} class names and colours; {cfg.name} has not")
    if cfg.metrics and not (cfg.metrics.get("protocol") and cfg.command):
        raise ValueError(
            f"figures must have a protocol and the command of the training; {cfg.name} lacks one: --command"
        )


def load_scores(path: str | os.PathLike) -> dict[str, Any]:
    """Metrics of an entry from the scores.json that ``gatezoo eval --out`` wrote.

    Raises:
        ValueError: another kind of file.
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        scores, protocol = told["scores"], told["protocol"]
        kept = {key: scores[key] for key in HEADLINES if key in scores}
        if not kept:
            raise KeyError(" or ".join(HEADLINES))
        figures = {key: round(float(value), 4) for key, value in kept.items()}
        if "iou" in scores:
            figures["iou"] = [None if value is None else round(float(value), 4) for value in scores["iou"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"scores must be the scores.json of 'gatezoo eval --out'; {path} is not: {error!r}") from None
    data = told.get("data", {})
    where = " ".join(str(data[key]) for key in ("dataset", "split") if data.get(key))
    return {**figures, "protocol": f"{where}; {format_protocol(protocol)}", "weights": told.get("weights") or {}}


def format_protocol(protocol: Any) -> str:
    if isinstance(protocol, dict):
        return ", ".join(f"{key} {value}" for key, value in protocol.items() if value not in (None, False, ""))
    return str(protocol)
