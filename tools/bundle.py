r"""Bundle a trained checkpoint: half precision into the package, its metrics into the manifest.

    python tools/bundle.py output/dignet/best.safetensors --tag camvid --data-dir CAMVID/val \
        --train-data "CamVid, 367 images" --protocol "CamVid val, 101 images" \
        --license CC-BY-NC-4.0 --data-license "CC BY-NC 4.0" --command "gatezoo train ..."
    python tools/bundle.py rignet_mobilenetv2_32s_pf.camvid --data-dir CAMVID/val --protocol "CamVid val, 101 images"

The second command measures bundled weights again. The metrics are those of the bundled file, loaded as a user would.
--data-dir is a folder of images/ and labels/, or the root of a data set that is read as --dataset, --split and
--data-kwargs specify.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

import gatezoo
from gatezoo import pretrained
from gatezoo.cli.options import parse_kwargs
from gatezoo.data import FolderDataset, create_dataset, dataset_for_task
from gatezoo.evaluation.loop import default_metrics
from gatezoo.inference.passes import MAX_ITERATIONS
from gatezoo.metrics import CalibrationMetric, ComponentMetric
from gatezoo.pretrained import PretrainedCfg
from gatezoo.segmenters.depth import DepthGated
from gatezoo.utils.environment import versions
from gatezoo.utils.files import atomic_write, write_json
from gatezoo.weights.checkpoint_files import read_checkpoint
from gatezoo.weights.integrity import keys_sha256, sha256_of

OF_CHECKPOINT = ("tag", "train-data", "license", "data-license", "command")
ROOT = Path(__file__).resolve().parent.parent
MANIFEST, GOLDEN = ROOT / pretrained.MANIFEST, ROOT / "tests/golden/pretrained.json"
PROBE = ROOT / "tests/golden/probe.png"


def bundle(args: argparse.Namespace) -> PretrainedCfg:
    """Write the weights in half precision and their entry, without metrics, and return it."""
    tensors, metadata = read_checkpoint(args.checkpoint)
    if model_kwargs := metadata.get("model_kwargs"):
        raise ValueError(
            f"a bundled network must be a registered model; {args.checkpoint} has other keywords: {model_kwargs}"
        )
    cfg = PretrainedCfg.from_checkpoint(args.checkpoint, metadata)
    file = f"{cfg.architecture}.{args.tag}.safetensors"
    path = pretrained.BUNDLED / file
    half = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    atomic_write(path, lambda tmp_path: save_file(half, tmp_path))
    path.chmod(0o644)
    cfg = dataclasses.replace(
        cfg,
        tag=args.tag,
        file=file,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        keys_sha256=keys_sha256({key: tuple(value.shape) for key, value in half.items()}),
        sources=(f"bundled:{file}",),
        recipe={**cfg.recipe, "step": metadata["step"]},
        versions=versions(),
        **{key: getattr(args, key) for key in ("train_data", "license", "data_license", "command")},
    )
    pretrained.replace_entry(MANIFEST, cfg)
    return cfg


def measure_instances(model, data, args: argparse.Namespace) -> dict:
    """Return COCO's average precision of masks and boxes."""
    scores = gatezoo.evaluate_instances(model, data)
    metrics = {key: round(scores[key], 4) for key in ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "box_ap50")}
    return metrics | {"protocol": f"{args.protocol}, COCO's evaluator, whole images, float32"}


def measure(model, data, args: argparse.Namespace) -> dict:
    """Return the metrics at the default number of iterations, those of 1 .. 4 iterations, and those of "auto"."""
    recurrent = "iterations" in model.capabilities
    extra = [*default_metrics(model, data), CalibrationMetric()]
    if args.components:
        extra.append(ComponentMetric.from_names(args.components, model.class_names))
    iterations = MAX_ITERATIONS if recurrent else None
    passes = gatezoo.evaluate(model, data, metrics=extra, iterations=iterations, all_iterations=True).by_iteration
    scores = passes[model.iterations - 1] if recurrent else passes[0]
    metrics = {
        "miou": round(scores.miou, 4),
        "pixel_accuracy": round(scores.pixel_accuracy, 4),
        "mean_accuracy": round(scores.mean_accuracy, 4),
        "iou": [round(value, 4) for value in scores.iou],
        "ece": round(scores.ece, 4),
        "protocol": f"{args.protocol}, single scale, whole images, float32",
    }
    if args.components:
        metrics |= {key: round(scores[key], 4) for key in ("mask_ap", "mask_ap50", "mask_ap75", "count_error")}
    if recurrent:
        metrics |= {
            f"{key}_by_iterations": [round(of_pass[key], 4) for of_pass in passes[:4]] for key in ("miou", "ece")
        }
    if "anytime" in model.capabilities:
        auto = gatezoo.evaluate(model, data, iterations="auto")
        metrics["auto"] = {
            "iterations": round(auto.protocol["mean_iterations"], 2),
            "miou": round(auto.miou, 4),
            "max_iterations": MAX_ITERATIONS,
            "miou_at_max_iterations": round(passes[-1].miou, 4),
        }
    if depth := scores.get("depth"):
        metrics |= {key: round(value, 4) for key, value in depth.to_dict().items()}
    return metrics


def shares(model) -> dict:
    """Return the share of each class in the probe image."""
    classes = gatezoo.predict(model, PROBE)
    counts = np.bincount(classes.ravel(), minlength=model.num_classes) / classes.size
    return {"shares": [round(float(share), 6) for share in counts]}


def scores(model) -> dict:
    """Return the scores of the five most certain instances in the probe image."""
    instances = gatezoo.predict_instances(model, PROBE, score_threshold=0.0, max_detections=5)
    return {"scores": [round(float(score), 4) for score in instances["scores"]]}


# By task: the metrics of the manifest, and the golden values that tests compare.
BY_TASK = {"semantic": (measure, shares), "instance": (measure_instances, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint, or the name of bundled weights to measure again")
    parser.add_argument("--data-dir", "--data", type=Path, required=True, help="folder of the data to evaluate on")
    parser.add_argument("--protocol", required=True, help="what the data are, for the table")
    for option in OF_CHECKPOINT:
        parser.add_argument(f"--{option}", help="of a checkpoint, required")
    parser.add_argument("--components", help="CLASS+OTHER, as in gatezoo eval")
    parser.add_argument("--dataset", default="folder", help="reader of the data set")
    parser.add_argument("--split", default="val", help="split to evaluate on, unless the data set is a folder")
    parser.add_argument("--data-kwargs", action="append", default=[], help="KEY=VALUE for the reader")
    args = parser.parse_args()
    cfg = pretrained.manifest().get(args.checkpoint)
    if cfg is None:
        if missing := [f"--{option}" for option in OF_CHECKPOINT if vars(args)[option.replace("-", "_")] is None]:
            parser.error(f"{args.checkpoint} is not bundled yet: pass {', '.join(missing)}")
        cfg = bundle(args)
    model = gatezoo.create_model(cfg.name, pretrained=True)
    measure_metrics, golden_values = BY_TASK[model.task]
    if args.dataset == "folder":
        data = FolderDataset(args.data_dir, cfg.num_classes, cfg.ignore_index)
    else:
        options = parse_kwargs(args.data_kwargs)
        data = create_dataset(dataset_for_task(args.dataset, model.task), args.data_dir, args.split, **options)
    recipe, metrics = cfg.recipe, measure_metrics(model, data, args)
    if isinstance(model, DepthGated):
        recipe = {**recipe, "thresholds": [round(depth, 4) for depth in model.thresholds.tolist()]}
    pretrained.replace_entry(MANIFEST, dataclasses.replace(cfg, recipe=recipe, metrics=metrics))

    golden = json.loads(GOLDEN.read_text())
    golden[cfg.name] = golden_values(model)
    write_json(GOLDEN, golden)
    print(f"{cfg.name}: {cfg.size / 1e6:.2f} MB, {metrics}")


if __name__ == "__main__":
    main()
