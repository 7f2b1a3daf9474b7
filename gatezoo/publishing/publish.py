"""Publish weights: rebuild, compare, write a folder, upload it, read it back, and add it to the manifest."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from .. import hub, pretrained
from ..factory import create_model, load_model
from ..pretrained import PretrainedCfg
from ..registry import get_model_spec, get_pretrained_cfg
from ..segmenters.base import BaseSegmenter
from ..utils.files import atomic_write, ensure_dir, write_bytes, write_text
from ..utils.images import read_pixels
from ..weights.config import CARD, CONFIG, WEIGHTS
from ..weights.integrity import sha256_of
from ..weights.sources import resolve_weights
from .benchmarks import EVAL_RESULTS, Benchmark, eval_results_file
from .card_figure import FIGURE, draw_card_figure
from .golden import FP16_TOLERANCE, FP32_TOLERANCE, GOLDEN, golden_image, golden_logits, logit_error
from .manifest import check_manifest
from .model_folder import make_pretrained_cfg, save_pretrained, write_model_folder
from .release import Release


def build_release(
    source: str,
    folder: str | os.PathLike,
    repo: str,
    tag: str | None = None,
    fields: Mapping[str, Any] | None = None,
    fp16: bool = False,
    image: Path | None = None,
    benchmark: Benchmark | None = None,
) -> Release:
    """Write the folder of a repository and check that it gives the logits of the trained network.

    Nothing is uploaded. If a check fails, the folder is left as it was.

    Args:
        source: a checkpoint of ``gatezoo train``, a model folder (``local-dir:FOLDER`` or its path), or ``name.tag``
            of the manifest, whose file is copied.
        folder: an empty or missing one.
        repo: where it will be uploaded to, for the card.
        tag: of the new entry; default: the end of the repository's name, TAG of ORG/NAME.TAG. Weights of the manifest
            keep theirs.
        fields: fields of :class:`PretrainedCfg` in place of those that the checkpoint or folder has: train_data,
            license, data_license, command, metrics.
        fp16: round the weights to half precision.
        image: file of an image whose prediction the card shows.
        benchmark: leaderboard of the Hub that the main score is for, see :func:`.benchmarks.eval_results_file`.

    Raises:
        ValueError: no license of weights or data, no class names, metrics without protocol or command, a network
            whose keywords are not the registered ones, a folder whose logits are not those of the source, no readable
            image, or a benchmark for weights that were not measured.
    """
    folder = Path(folder)
    if os.path.isdir(folder) and any(folder.iterdir()):
        raise ValueError(f"the folder to publish must be empty; {folder} is not: choose another")
    if image:
        read_pixels(image)
    file = _trained_file(source)
    if file:
        trained, cfg, weights_bytes = _from_training(file, tag or _tag_of(repo), fields or {}, fp16)
    else:
        trained, cfg, weights_bytes = _from_manifest(source, tag, fields or {})
    _check_cfg(cfg)
    results = eval_results_file(cfg.to_dict(), benchmark) if benchmark else None
    model_kwargs = {**trained.model_kwargs, "num_classes": cfg.num_classes}
    ensure_dir(folder.parent)
    # Beside the folder, so that it gets all files or none.
    with tempfile.TemporaryDirectory(prefix=".part", dir=folder.parent) as temporary:
        built = Path(temporary) / "release"
        figure = FIGURE if image else None
        cfg = write_model_folder(built, model_kwargs, cfg, weights_bytes, f"hf-hub:{repo}", cfg.name, figure)
        rebuilt = create_model(f"local-dir:{built}", pretrained=True)
        logits = golden_logits(rebuilt)
        error = logit_error(golden_logits(trained), logits)
        if error > (FP16_TOLERANCE if fp16 else FP32_TOLERANCE):
            raise ValueError(
                f"a published network must give the trained one's logits; their error is {error:.2g} of their spread: "
                "publish the checkpoint without --fp16, or report a bug"
            )
        write_bytes(built / GOLDEN, save({"image": golden_image(rebuilt.in_chans), "logits": logits}))
        if image:
            drawn = draw_card_figure(rebuilt, image)
            atomic_write(built / FIGURE, lambda path: drawn.save(path, optimize=True))
        if results:
            ensure_dir(built / EVAL_RESULTS)
            write_text(built / results[0], results[1])
        if folder.is_dir():  # an empty one
            for path in built.iterdir():
                shutil.move(path, folder)
        else:
            os.replace(built, folder)
    return Release(cfg, folder, error)


def publish(
    release: Release, repo: str, private: bool = False, manifest: str | os.PathLike | None = None
) -> PretrainedCfg:
    """Upload a release, read it back into an empty cache, check all bytes and the logits, and write the entry.

    Args:
        release: the folder.
        repo: ``org/name``.
        private: make a new repository private.
        manifest: file to write the entry to; default: the manifest that is in use.

    Returns:
        The entry, with the source ``hf-hub:REPO@COMMIT/model.safetensors``.

    Raises:
        ValueError: a manifest that cannot be read, before the upload; the Hub refuses, or returns other bytes than
            were uploaded. Then no entry is written.
    """
    cfg, folder = release.cfg, release.folder
    target = Path(manifest) if manifest else pretrained.manifest_path()
    check_manifest(target)
    commit = hub.upload(folder, repo, f"{cfg.name}, sha256 {cfg.sha256[:12]}", private)
    release.check_uploaded(repo, commit)
    kept = [source for source in cfg.sources if not source.startswith("hf-hub:")]
    entry = dataclasses.replace(
        cfg, file=cfg.file or f"{cfg.name}.safetensors", sources=(*kept, f"hf-hub:{repo}@{commit}/{WEIGHTS}")
    )
    pretrained.replace_entry(target, entry)
    return entry


def push_to_hub(
    model: BaseSegmenter,
    repo: str,
    license: str | None = None,
    private: bool = False,
    message: str = "A network of gatezoo",
) -> str:
    """Save a network as a folder and upload it, for ``create_model("hf-hub:ORG/REPO", pretrained=True)``.

    Args:
        model: a network that ``create_model`` made.
        repo: ``org/name``.
        license: of the weights; default: that of the weights it was made from.
        private: make a new repository private.
        message: of the commit.

    Returns:
        The 40-hex commit.

    Raises:
        ValueError: no license, no token that may write there, or an unreachable Hub.
    """
    license = license or (model.pretrained_cfg.license if model.pretrained_cfg else "")
    if not license:
        raise ValueError(f"published weights must have a license; {repo} has none: pass license='cc-by-4.0'")
    hub.require_token(repo)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, license=license)
        card = Path(folder) / CARD
        text = card.read_text(encoding="utf-8").replace("local-dir:THIS_FOLDER", f"hf-hub:{repo}")
        card.write_text(text, encoding="utf-8")
        return hub.upload(Path(folder), repo, message, private)


def _trained_file(source: str) -> Path | None:
    """Return the weights file of a checkpoint or of a model folder; None for a name of the manifest."""
    if source.endswith(".safetensors"):
        return Path(source)
    folder = source.removeprefix("local-dir:")
    return Path(folder) / WEIGHTS if folder != source or os.path.isdir(folder) else None


def _tag_of(repo: str) -> str:
    """Return the tag that a repository is named after: "eyes" of "org/dignet_lite0_8s.eyes" and "org/eyes"."""
    return repo.rpartition("/")[2].rpartition(".")[2]


def _from_training(
    path: Path, tag: str, fields: Mapping[str, Any], fp16: bool
) -> tuple[BaseSegmenter, PretrainedCfg, bytes]:
    """Return the trained network, its entry, and the bytes of the file to publish."""
    if not tag.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"tag must consist of letters, digits, - and _; got {tag!r}: pass --tag, such as camvid")
    is_folder = path.name == WEIGHTS and (path.parent / CONFIG).is_file()
    model = create_model(f"local-dir:{path.parent}", pretrained=True) if is_folder else load_model(str(path))
    assert model.architecture is not None
    if changed := sorted(get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs)):
        raise ValueError(
            f"a published network must be a registered model; {path} has other keywords, {', '.join(changed)}: "
            "register a model with these"
        )
    tensors = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    if fp16:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    # Of another file than the trained one, which has no source yet.
    cfg = dataclasses.replace(make_pretrained_cfg(model), tag=tag, file="", sources=())
    if metrics := dict(fields.get("metrics") or cfg.metrics):  # of a model folder, its own
        if "metrics" in fields and metrics.pop("weights", {}).get("sha256") != sha256_of(path):
            raise ValueError(
                f"scores must be of the published file; these are not of {path}: evaluate it with 'gatezoo eval'"
            )
        if fp16:
            metrics["protocol"] += "; measured before the weights were rounded to half precision"
    return model, dataclasses.replace(cfg, **{**fields, "metrics": metrics}), save(tensors)


def _from_manifest(name: str, tag: str | None, fields: Mapping[str, Any]) -> tuple[BaseSegmenter, PretrainedCfg, bytes]:
    """Return the network of a manifest entry, the entry, and the bytes of its file."""
    cfg = get_pretrained_cfg(name)
    if cfg is None:
        raise ValueError(
            f"the source must have weights; {name} has none: give a checkpoint of 'gatezoo train' or a model folder"
        )
    if tag not in (None, cfg.tag) or fields:
        raise ValueError(f"weights {cfg.name} must be published as in the manifest: leave out the tag and the fields")
    model = create_model(cfg.name, pretrained=True)
    return model, cfg, resolve_weights(cfg).read_bytes()


def _check_cfg(cfg: PretrainedCfg) -> None:
    """Raise ValueError unless everything that a published entry must have is there."""
    for field in ("license", "data_license", "train_data"):
        if not getattr(cfg, field):
            raise ValueError(
                f"{field} of published weights must be given; {cfg.name} has none: pass --{field.replace('_', '-')}"
            )
    if len(cfg.class_names) != cfg.num_classes or len(cfg.palette) != cfg.num_classes:
        raise ValueError(
            f"published weights must have {cfg.num_classes} class names and colors; {cfg.name} has "
            f"{len(cfg.class_names)} and {len(cfg.palette)}: train with --classes"
        )
    if cfg.metrics and not (cfg.metrics.get("protocol") and cfg.command):
        raise ValueError(
            f"metrics must have a protocol and the command of the training; {cfg.name} lacks one: pass --command"
        )
