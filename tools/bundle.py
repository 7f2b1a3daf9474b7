"""Bundle a trained checkpoint: half precision into the package, measured, and written into the manifest.

    python tools/publish.py output/dignet/best.safetensors --tag camvid --data CAMVID/val \
        --train-data "CamVid, 367 images" --protocol "CamVid val, 101 images" \
        --license CC-BY-NC-4.0 --data-license "CC BY-NC 4.0" --command "gatezoo train ..."

The metrics are those of the bundled file, read back as a user's would be. --data is a folder of images/ and labels/, or
the root of a data set that --dataset, --split and --data-kwargs tell how to read.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo import pretrained
from gatezoo.cli.options import parse_kwargs
from gatezoo.data import FolderDataset, create_dataset, dataset_for_task
from gatezoo.evaluation.semantic import evaluate_passes
from gatezoo.segmenters.depth import DepthGated
from gatezoo.segmenters.recurrent import IterativeSegmenter
from gatezoo.utils.files import atomic_write
from gatezoo.weights.checkpoint_files import read_checkpoint
from gatezoo.weights.integrity import keys_sha256, sha256_of

ROOT = Path(__file__).resolve().parent.parent
MANIFEST, GOLDEN = ROOT / pretrained.MANIFEST, ROOT / "tests/golden/pretrained.json"
PROBE = ROOT / "tests/golden/probe.png"
DISTRIBUTIONS = ("torch", "torchvision", "timm")


def write_json(path: Path, value: object) -> None:
    atomic_write(path, lambda beside: beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n"))


def bundle(checkpoint: Path, tag: str) -> tuple[str, dict, Path]:
    """Write the weights in half precision; returns (name.tag, facts of the training, file)."""
    tensors, facts = read_checkpoint(checkpoint)
    if facts.get("model_kwargs"):
        raise ValueError(f"only rows as registered can be bundled; {checkpoint} has keywords {facts['model_kwargs']}")
    name = f"{facts['model']}.{tag}"
    path = pretrained.BUNDLED / f"{name}.safetensors"
    half = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    atomic_write(path, lambda beside: save_file(half, beside))
    path.chmod(0o644)
    return name, facts, path


def measure_objects(model, data, args: argparse.Namespace) -> dict:
    """COCO's average precision of masks and boxes."""
    figures = gatezoo.evaluate_instances(model, data)
    kept = {key: round(figures[key], 4) for key in ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "box_ap50")}
    return kept | {"protocol": f"{args.protocol}, COCO's evaluator, whole images, float32"}


def measure(model, data, args: argparse.Namespace) -> dict:
    """Figures of the network at its own number of passes, and the mIoU at 1 .. 4; of its depth, if it predicts one."""
    gated = isinstance(model, IterativeSegmenter)
    passes = evaluate_passes(model, data, iterations=4 if gated else None)
    scores = passes[model.iterations - 1] if gated else passes[0]
    figures = {
        "miou": round(scores.miou, 4),
        "pixel_accuracy": round(scores.pixel_accuracy, 4),
        "mean_accuracy": round(scores.mean_accuracy, 4),
        "iou": [round(value, 4) for value in scores.iou],
        "protocol": f"{args.protocol}, single scale, whole images, float32",
    }
    if gated:
        figures["miou_by_iterations"] = [round(of_pass.miou, 4) for of_pass in passes]
    if model.predicts_depth and (depth := gatezoo.evaluate(model, data).depth):
        figures |= {key: round(value, 4) for key, value in depth.to_dict().items()}
    return figures


def shares(model) -> dict:
    """Share of each class in the probe image."""
    classes = gatezoo.predict(model, PROBE)
    counts = np.bincount(classes.ravel(), minlength=model.num_classes) / classes.size
    return {"shares": [round(float(share), 6) for share in counts]}


def scores(model) -> dict:
    """Scores of the objects of the probe image, however sure the network is of them."""
    found = gatezoo.predict_instances(model, PROBE, score_threshold=0.0, max_detections=5)
    return {"scores": [round(float(score), 4) for score in found["scores"]]}


# Of each task: the figures of the manifest, and what tests compare.
BY_TASK = {"semantic": (measure, shares), "instance": (measure_objects, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    for option in ("tag", "data", "train-data", "protocol", "license", "data-license", "command"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--dataset", default="folder", help="layout of the data")
    parser.add_argument("--split", default="val", help="part of the data, but of a folder")
    parser.add_argument("--data-kwargs", action="append", default=[], help="KEY=VALUE for the reader")
    args = parser.parse_args()

    name, facts, path = bundle(args.checkpoint, args.tag)
    shapes = {key: tuple(value.shape) for key, value in load_file(path).items()}
    entry = {
        "num_classes": facts["num_classes"],
        "mean": facts["mean"],
        "std": facts["std"],
        "class_names": facts["class_names"],
        "palette": facts["palette"],
        "in_chans": facts["in_chans"],
        "interpolation": "bilinear",
        "ignore_index": facts["ignore_index"],
        "file": path.name,
        "size": path.stat().st_size,
        "sha256": sha256_of(path),
        "keys_sha256": keys_sha256(shapes),
        "sources": [f"bundled:{path.name}"],
        "train_data": args.train_data,
        "recipe": {**facts["recipe"], "step": facts["step"]},
        "command": args.command,
        "metrics": {},
        "versions": {dist: importlib.metadata.version(dist).split("+")[0] for dist in DISTRIBUTIONS},
        "license": args.license,
        "data_license": args.data_license,
        "format_version": facts.get("format_version", 1),
    }
    manifest = json.loads(MANIFEST.read_text())
    manifest["weights"][name] = entry
    write_json(MANIFEST, manifest)
    pretrained.manifest.cache_clear()

    model = gatezoo.create_model(name, pretrained=True)
    figures, known = BY_TASK[model.task]
    if args.dataset == "folder":
        data = FolderDataset(args.data, facts["num_classes"], facts["ignore_index"])
    else:
        options = parse_kwargs(args.data_kwargs)
        data = create_dataset(dataset_for_task(args.dataset, model.task), args.data, args.split, **options)
    entry["metrics"] = figures(model, data, args)
    if isinstance(model, DepthGated):
        entry["recipe"]["thresholds"] = [round(depth, 4) for depth in model.thresholds.tolist()]
    write_json(MANIFEST, manifest)

    golden = json.loads(GOLDEN.read_text())
    golden[name] = known(model)
    write_json(GOLDEN, golden)
    print(f"{name}: {path.stat().st_size / 1e6:.2f} MB, {entry['metrics']}")


if __name__ == "__main__":
    main()
