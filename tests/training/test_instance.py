"""Instance segmentation from end to end: training, evaluation, prediction and their commands."""

import json
import sys

import numpy as np
import pytest
import torch
from helpers import trees
from PIL import Image

import gatezoo
from gatezoo.cli import app as cli
from gatezoo.data import CocoInstances, create_dataset, dataset_for_task
from gatezoo.data.splits import create_splits
from gatezoo.evaluation.instance import evaluate_instances
from gatezoo.inference.instance import InstancePredictor
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import tasks
from gatezoo.training.launch import train_model
from gatezoo.training.options import ModelSource, RunOptions

QUICK = dict(
    batch_size=4, crop_size=64, scale_range=(0.9, 1.1), lr=0.05, head_lr_mult=1, warmup=5, amp_dtype="none", opt="sgd"
)


@pytest.fixture
def discs(tmp_path):
    """Write 12 images of 64 x 72 with up to three bright discs each, in the layout of the nuclei; one has none."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :72]
    for split in ("train", "val"):
        for folder in ("images", "instances"):
            (tmp_path / "discs" / split / folder).mkdir(parents=True)
        for number in range(12):
            instances = np.zeros((64, 72), np.uint16)
            for k in range(number % 4):
                centre, radius = random.uniform((10, 12 + 20 * k), (54, 16 + 20 * k)), random.uniform(6, 9)
                instances[np.hypot(y - centre[0], x - centre[1]) < radius] = k + 1
            image = random.normal(60, 10, (64, 72, 3)) + 120 * (instances[..., None] > 0)
            root = tmp_path / "discs" / split
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number:02}.png")
            Image.fromarray(instances).save(root / "instances" / f"{number:02}.png")
    return tmp_path / "discs"


def run(discs, out, resume=False, **changes):
    recipe = Recipe(**{**QUICK, "steps": 4, "eval_interval": 2, **changes})
    data = create_splits(discs, "nuclei", task="instance")
    options = RunOptions(out, workers=0, resume=resume)
    return train_model(ModelSource("test_zigzag_maskrcnn", freeze_bn=False), *data, recipe, options)


@pytest.mark.slow
def test_training_learns_discs_and_the_checkpoint_describes_itself(discs, tmp_path):
    metadata = run(discs, tmp_path / "out", steps=130, eval_interval=130, opt="adamw", lr=0.005)
    assert metadata["history"][-1]["mask_ap50"] > 0.3
    model = gatezoo.create_model("test_zigzag_maskrcnn", checkpoint_path=tmp_path / "out/best.safetensors")
    assert model.num_classes == 2
    assert list(model.pretrained_cfg.class_names) == ["background", "nucleus"]
    data = create_dataset("nuclei_instances", discs, "val")
    scores = gatezoo.evaluate_instances(model, data, workers=1)
    assert scores["mask_ap"] == pytest.approx(metadata["history"][-1]["mask_ap"], abs=1e-6)
    assert scores["mask_by_class"] == {"nucleus": scores["mask_ap"]}
    found = gatezoo.predict_instances(model, data.images[3], score_threshold=0.05)
    assert set(found["names"]) == {"nucleus"}
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    truth, best = data[3]["masks"].as_subclass(torch.Tensor), found["masks"][0][0] >= 0.5
    assert max(((mask & best).sum() / (mask | best).sum()).item() for mask in truth) > 0.5


def test_training_moves_what_is_deformable(discs, tmp_path):
    """Offsets are trained with the rest, at the rates of backbone and heads, and are in the checkpoint."""
    recipe = Recipe(**{**QUICK, "steps": 2, "eval_interval": 2, "head_lr_mult": 5, "layer_decay": 0.9})
    data = create_splits(discs, "nuclei", task="instance")
    source = ModelSource("test_deformable_maskrcnn", freeze_bn=False)
    train_model(source, *data, recipe, RunOptions(tmp_path / "out", workers=0))
    model = gatezoo.create_model("test_deformable_maskrcnn", checkpoint_path=tmp_path / "out/last.safetensors")
    offsets = {
        name: parameter for name, parameter in model.named_parameters() if ".offset" in name and name.endswith("weight")
    }
    assert len(offsets) == 5 + 4
    moved = {name for name, parameter in offsets.items() if (parameter != 0).any()}
    assert "roi_heads.box_roi_pool.offsets.0.0.weight" in moved
    assert any(name.startswith("backbone.net.layer4.") for name in moved)
    assert len(gatezoo.predict_instances(model, data[1].images[3], max_detections=3)["boxes"]) <= 3


def test_resume_is_exact(discs, tmp_path, monkeypatch):
    changes = dict(amp_dtype="bf16", ema_decay=0.9, grad_accum_steps=2, batch_size=2)
    whole = run(discs, tmp_path / "whole", **changes)

    real, calls = tasks.evaluate, []

    def evaluate_once(*arguments, **options):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "evaluate", evaluate_once)
        with pytest.raises(KeyboardInterrupt):
            run(discs, tmp_path / "two", **changes)
    resumed = run(discs, tmp_path / "two", resume=True, **changes)
    assert resumed["history"] == whole["history"]
    states = [torch.load(tmp_path / name / "trainer_state.pt", weights_only=True)["model"] for name in ("whole", "two")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    header = (tmp_path / "two/summary.csv").read_text().splitlines()[0]
    assert header == "step,loss,lr,images_per_s,mask_ap,mask_ap50,box_ap"


@pytest.fixture
def folder(tmp_path):
    """Save an untrained network as a folder."""
    torch.manual_seed(3)
    model = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=2)
    return gatezoo.save_pretrained(model, tmp_path / "model", ["background", "nucleus"])


def command(monkeypatch, *arguments):
    """Run a command and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["gatezoo", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_predict_draws_instances_and_writes_the_coco_format(discs, folder, tmp_path, monkeypatch, capsys):
    out, images = tmp_path / "out", discs / "train/images"
    limits = ("--score-threshold", 0.01, "--max-detections", 5)
    assert command(monkeypatch, "predict", f"local-dir:{folder}", images, "--out", out, *limits) == 0
    assert "00.png: 5 nucleus -> " in capsys.readouterr().out
    coco = json.loads((out / "instances.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"{k:02}.png" for k in range(12)]
    assert coco["categories"] == [{"id": 1, "name": "nucleus"}]
    assert len(coco["annotations"]) == 60
    model = gatezoo.from_pretrained(folder)
    found = gatezoo.predict_instances(model, images / "03.png", score_threshold=0.01, max_detections=5)
    # Our reader, which uses pycocotools, reads the predictions back.
    sample = CocoInstances(out / "instances.json", images)[3]
    drawn = (found["masks"] >= 0.5)[:, 0]
    assert torch.equal(sample["masks"].as_subclass(torch.Tensor), drawn[drawn.flatten(1).any(1)])
    torch.testing.assert_close(
        sample["boxes"].as_subclass(torch.Tensor), found["boxes"][drawn.flatten(1).any(1)], atol=0.02, rtol=0
    )
    annotations = [a for a in coco["annotations"] if a["image_id"] == 4]
    assert [a["score"] for a in annotations] == pytest.approx(found["scores"].tolist(), abs=1e-4)
    image, plain = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (out / "03_instances.jpg", images / "03.png")
    )
    zoom = 1000 // max(plain.shape)
    height, width = zoom * plain.shape[0], zoom * plain.shape[1]
    assert image.shape[0] > height  # the legend
    changed = np.abs(image[zoom // 2 : height : zoom, zoom // 2 : width : zoom] - plain).sum(2) > 60
    assert changed[drawn.any(0).numpy()].mean() > 0.5


def test_limits_of_detections_hold_for_one_call(folder, discs):
    model = gatezoo.from_pretrained(folder)
    before = model.score_threshold, model.max_detections
    image = discs / "train/images/03.png"
    assert len(gatezoo.predict_instances(model, image, score_threshold=0.0, max_detections=3)["boxes"]) == 3
    assert len(gatezoo.predict_instances(model, image, score_threshold=0.99)["boxes"]) == 0
    assert (model.score_threshold, model.max_detections) == before
    several = gatezoo.predict_instances(model, [image, image])
    assert len(several) == 2


def test_eval_prints_average_precision(discs, folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "report"
    code = command(monkeypatch, "eval", f"local-dir:{folder}", "--data", discs, "--dataset", "nuclei", "--out", out)
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    scores = json.loads((out / "scores.json").read_text())["scores"]
    assert f"{'mask AP':30} {scores['mask_ap']:.4f}" in lines
    assert f"{'box AP50':30} {scores['box_ap50']:.4f}" in lines
    assert any(line.startswith("mask AP of nucleus") for line in lines)
    model, data = gatezoo.from_pretrained(folder), create_dataset("nuclei_instances", discs, "val")
    assert scores == evaluate_instances(model, data) == gatezoo.evaluate(model, data).scores


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "predict {instance} {image} --out {out} --iterations 2",
            "--iterations is only supported for semantic segmentation",
        ),
        ("predict {instance} {image} --out {out} --flip", "segmentation; this model's task is 'instance'"),
        ("predict {semantic} {image} --out {out} --score-threshold 0.5", "only supported for instance segmentation"),
        ("predict {instance} {image} --out {out} --score-threshold 2", "score_threshold must be in 0 .. 1"),
        ("predict {instance} {image} --out {out} --max-detections 0", "max_detections must be at least 1; got 0"),
        (
            "eval {instance} --data {data} --dataset nuclei --boundary",
            "--boundary is only supported for semantic segmentation",
        ),
        (
            "eval {instance} --data {data}/val --format plain",
            "instances must come from a data set that has them; a folder",
        ),
        (
            "train test_zigzag_maskrcnn --data {data} --format plain --output {out}",
            "instances must come from a data set that has",
        ),
        (
            "train test_zigzag_maskrcnn --data {data} --dataset nuclei --loss ohem --amp none --output {out}",
            "loss is only supported for semantic segmentation; got 'ohem': leave it out",
        ),
    ],
)
def test_options_of_the_other_task_are_refused_in_one_line(discs, folder, tmp_path, monkeypatch, capsys, line, text):
    gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "semantic", ["a", "b"])
    places = {"instance": f"local-dir:{folder}", "semantic": f"local-dir:{tmp_path / 'semantic'}", "data": discs}
    places |= {"image": discs / "val/images/01.png", "out": tmp_path / "out"}
    assert command(monkeypatch, *line.format(**places).split()) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert text in error


def test_functions_of_the_other_task_are_refused(discs, tmp_path):
    instance, semantic = (gatezoo.create_model(name, num_classes=2) for name in ("test_zigzag_maskrcnn", "test_fcn"))
    data, image = create_dataset("nuclei_instances", discs, "val"), discs / "val/images/01.png"
    cases = [
        (
            lambda: gatezoo.predict(instance, image),
            "got test_zigzag_maskrcnn of task 'instance': use gatezoo.predict_inst",
        ),
        (
            lambda: gatezoo.evaluate(instance, data, iterations=2),
            "iterations is only supported for semantic segmentation; got 2 for test_zigzag_maskrcnn: leave it out",
        ),
        (lambda: gatezoo.predict_instances(semantic, image), "got test_fcn of task 'semantic': use gatezoo.predict"),
        (lambda: gatezoo.evaluate_instances(semantic, data), "got test_fcn of task 'semantic': use gatezoo.evaluate"),
        (lambda: InstancePredictor(semantic), "got test_fcn of task 'semantic': use gatezoo.predict"),
    ]
    for call, text in cases:
        with pytest.raises(ValueError, match=text):
            call()


def test_evaluation_does_not_count_what_is_found_in_a_crowd(tmp_path, monkeypatch):
    """Everything is found, and two parts of the crowd with higher scores."""
    trees.coco_semantic(tmp_path)
    data = create_dataset("coco", tmp_path, "val2017").subset([0])
    item = {key: torch.as_tensor(value) for key, value in data[0].items()}
    single = item["iscrowd"] == 0
    parts = torch.tensor([[4.0, 40, 30, 46], [31, 40, 60, 46]])
    masks = torch.zeros(2, *trees.SIZE, dtype=torch.bool)
    masks[0, 40:46, 4:30] = masks[1, 40:46, 31:60] = True
    found = {
        "boxes": torch.cat([parts, item["boxes"][single]]),
        "labels": torch.cat([torch.tensor([2, 2]), item["labels"][single]]),
        "masks": torch.cat([masks, item["masks"][single]]),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
    }
    monkeypatch.setattr(InstancePredictor, "run", lambda self, image: found)
    scores = evaluate_instances(gatezoo.create_model("test_zigzag_maskrcnn", num_classes=4), data)
    assert scores.mask_ap == scores.box_ap == pytest.approx(1.0)
    assert scores.mask_by_class == {"car": pytest.approx(1.0), "train": None, "toothbrush": pytest.approx(1.0)}


def test_evaluation_refuses_unfit_data(discs):
    model, data = (
        gatezoo.create_model("test_zigzag_maskrcnn", num_classes=3),
        create_dataset("nuclei_instances", discs, "val"),
    )
    with pytest.raises(
        ValueError, match="the data must have the network's 3 classes, the background among them; got 2"
    ):
        evaluate_instances(model, data)
    with pytest.raises(ValueError, match="a data set to evaluate on must hold images; it holds none"):
        evaluate_instances(model, data.subset([]))
    model = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=2)
    with pytest.raises(ValueError, match="a data set to evaluate on must hold instances; it holds none"):
        evaluate_instances(model, data.subset([0]))
    semantic = create_dataset("nuclei", discs, "val")
    with pytest.raises(
        ValueError, match=r"a sample must be a dict with image, boxes, labels and masks; got \['image', 'm"
    ):
        evaluate_instances(model, semantic)


def test_fine_tuning_of_instances_in_one_command(discs, folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    arguments = ("--dataset", "nuclei", "--data", discs, "--out", out, "-j", 0, "--steps", 4, "-b", 4, "--crop", 64)
    assert command(monkeypatch, "finetune", f"local-dir:{folder}", *arguments, "--data-license", "CC0 1.0") == 0
    printed = capsys.readouterr().out
    assert "12 images to train on, 12 held out" in printed
    model = gatezoo.from_pretrained(out / "model")
    cfg = model.pretrained_cfg
    scores = gatezoo.evaluate(model, create_dataset("nuclei_instances", discs, "val")).scores
    assert "mask AP on the held-out images: " in printed
    assert f"before, {scores.mask_ap:.4f} after" in printed
    assert cfg.metrics["mask_ap"] == pytest.approx(scores.mask_ap)
    assert cfg.metrics["protocol"].startswith("nuclei, held-out images; mode whole images, COCO's evaluator")
    assert (cfg.train_data, cfg.data_license) == ("nuclei, 12 images, 12 more held out", "CC0 1.0")
    assert (cfg.recipe["opt"], cfg.recipe["lr"], cfg.recipe["head_lr_mult"]) == ("adamw", 1e-4, 5.0)
    assert command(monkeypatch, "predict", f"local-dir:{out / 'model'}", discs / "val/images", "--out", out / "p") == 0
    release = ("--repo", "org/zigzag.discs", "--folder", tmp_path / "release", "--license", "CC0-1.0")
    assert command(monkeypatch, "publish", out / "model", *release) == 0
    assert "nothing was uploaded; pass --yes to upload to org/zigzag.discs" in capsys.readouterr().out
    again = gatezoo.from_pretrained(tmp_path / "release")
    assert (again.architecture, again.class_names) == ("test_zigzag_maskrcnn", ["background", "nucleus"])
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_fine_tuning_on_objects_of_coco(folder, tmp_path, monkeypatch, capsys):
    """The categories become the classes, by their names."""
    trees.coco_semantic(tmp_path / "coco")
    out = tmp_path / "out"
    arguments = ("--dataset", "coco", "--data", tmp_path / "coco", "--out", out, "-j", 0, "--steps", 2, "-b", 2)
    code = command(
        monkeypatch, "finetune", f"local-dir:{folder}", *arguments, "--crop", 64, "--data-license", "CC BY 4.0"
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "3 images to train on, 2 held out" in printed.out
    model = gatezoo.from_pretrained(out / "model")
    assert model.class_names == ["background", "car", "train", "toothbrush"]
    scores = gatezoo.evaluate(model, create_dataset("coco", tmp_path / "coco", "val2017")).scores
    assert model.pretrained_cfg.metrics["mask_ap"] == pytest.approx(scores.mask_ap)


def test_data_set_readers_by_task():
    assert dataset_for_task("nuclei", "instance") == "nuclei_instances"
    assert dataset_for_task("nuclei", "semantic") == "nuclei"
    assert dataset_for_task("coco", "instance") == "coco"
    assert dataset_for_task("coco", "semantic") == "coco_semantic"
    assert dataset_for_task("camvid", "instance") == "camvid"
