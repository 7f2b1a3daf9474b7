"""Networks of objects from end to end: training, evaluation, prediction and their commands."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import gatezoo
from gatezoo.cli import app as cli
from gatezoo.data import CocoInstances, create_dataset, dataset_for_task
from gatezoo.data.splits import create_splits
from gatezoo.evaluation.instance import evaluate_instances
from gatezoo.inference.writers import predict_instance_files
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import tasks as jobs
from gatezoo.training.finetune import finetune
from gatezoo.training.launch import train_model
from gatezoo.utils.palette import voc_palette
from gatezoo.visualization.figures import draw_instances

QUICK = dict(
    batch_size=4, crop_size=64, scale_range=(0.9, 1.1), lr=0.05, head_lr_mult=1, warmup=5, amp_dtype="none", opt="sgd"
)


@pytest.fixture
def discs(tmp_path):
    """12 images of 64 x 72 with up to three bright discs each, laid out as the nuclei; one shows none."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :72]
    for split in ("train", "val"):
        for folder in ("images", "instances"):
            (tmp_path / "discs" / split / folder).mkdir(parents=True)
        for number in range(12):
            objects = np.zeros((64, 72), np.uint16)
            for k in range(number % 4):
                centre, radius = random.uniform((10, 12 + 20 * k), (54, 16 + 20 * k)), random.uniform(6, 9)
                objects[np.hypot(y - centre[0], x - centre[1]) < radius] = k + 1
            image = random.normal(60, 10, (64, 72, 3)) + 120 * (objects[..., None] > 0)
            root = tmp_path / "discs" / split
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number:02}.png")
            Image.fromarray(objects).save(root / "instances" / f"{number:02}.png")
    return tmp_path / "discs"


def run(discs, out, resume=False, **changes):
    recipe = Recipe(**{**QUICK, "steps": 4, "eval_interval": 2, **changes})
    data = create_splits(discs, "nuclei", task="instance")
    return train_model("test_zigzag_maskrcnn", *data, out, recipe, freeze_bn=False, workers=0, resume=resume)


def test_training_learns_discs_and_the_checkpoint_says_how(discs, tmp_path):
    facts = run(discs, tmp_path / "out", steps=130, eval_interval=130, opt="adamw", lr=0.005)
    assert facts["record"][-1]["mask_ap50"] > 0.3
    model = gatezoo.create_model("test_zigzag_maskrcnn", checkpoint_path=tmp_path / "out/best.safetensors")
    assert model.num_classes == 2
    assert list(model.pretrained_cfg.class_names) == ["background", "nucleus"]
    data = create_dataset("nuclei_instances", discs, "val")
    figures = gatezoo.evaluate_instances(model, data, workers=1)
    assert figures["mask_ap"] == pytest.approx(facts["record"][-1]["mask_ap"], abs=1e-6)
    assert figures["mask_by_class"] == {"nucleus": figures["mask_ap"]}
    found = gatezoo.predict_instances(model, data.images[3], score_threshold=0.05)
    assert set(found["names"]) == {"nucleus"}
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    truth, best = data[3]["masks"].as_subclass(torch.Tensor), found["masks"][0][0] >= 0.5
    assert max(((mask & best).sum() / (mask | best).sum()).item() for mask in truth) > 0.5


def test_resume_is_exact(discs, tmp_path, monkeypatch):
    changes = dict(amp_dtype="bf16", ema_decay=0.9, grad_accum_steps=2, batch_size=2)
    whole = run(discs, tmp_path / "whole", **changes)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        real, calls = jobs.evaluate_instances, []
        patch.setattr(jobs, "evaluate_instances", lambda *a: stop() if calls else (calls.append(1), real(*a))[1])
        with pytest.raises(KeyboardInterrupt):
            run(discs, tmp_path / "two", **changes)
    resumed = run(discs, tmp_path / "two", resume=True, **changes)
    assert resumed["record"] == whole["record"]
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True)["model"] for name in ("whole", "two")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    header = (tmp_path / "two/summary.csv").read_text().splitlines()[0]
    assert header == "step,loss,lr,images_per_s,mask_ap,mask_ap50,box_ap"


@pytest.fixture
def folder(tmp_path):
    """A network without training, as a folder."""
    torch.manual_seed(3)
    model = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=2)
    return gatezoo.save_pretrained(model, tmp_path / "model", ["background", "nucleus"])


def command(monkeypatch, *arguments):
    """Run a command; the exit code."""
    monkeypatch.setattr(sys, "argv", ["gatezoo", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_predict_draws_objects_and_writes_coco_s_format(discs, folder, tmp_path, monkeypatch, capsys):
    out, images = tmp_path / "out", discs / "train/images"
    limits = ("--score-threshold", 0.01, "--max-detections", 5)
    assert command(monkeypatch, "predict", f"local-dir:{folder}", images, "--out", out, *limits) == 0
    assert "00.png: 5 nucleus -> " in capsys.readouterr().out
    told = json.loads((out / "objects.json").read_text())
    assert [image["file_name"] for image in told["images"]] == [f"{k:02}.png" for k in range(12)]
    assert told["categories"] == [{"id": 1, "name": "nucleus"}]
    assert len(told["annotations"]) == 60
    model = gatezoo.from_pretrained(folder)
    found = gatezoo.predict_instances(model, images / "03.png", score_threshold=0.01, max_detections=5)
    # Our reader, and with it pycocotools, reads back what was found.
    sample = CocoInstances(out / "objects.json", images)[3]
    drawn = (found["masks"] >= 0.5)[:, 0]
    assert torch.equal(sample["masks"].as_subclass(torch.Tensor), drawn[drawn.flatten(1).any(1)])
    torch.testing.assert_close(
        sample["boxes"].as_subclass(torch.Tensor), found["boxes"][drawn.flatten(1).any(1)], atol=0.02, rtol=0
    )
    own = [a for a in told["annotations"] if a["image_id"] == 4]
    assert [a["score"] for a in own] == pytest.approx(found["scores"].tolist(), abs=1e-4)
    image, plain = (
        np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (out / "03_objects.jpg", images / "03.png")
    )
    zoom = 1000 // max(plain.shape)
    assert image.shape == (zoom * plain.shape[0], zoom * plain.shape[1], 3)
    changed = np.abs(image[zoom // 2 :: zoom, zoom // 2 :: zoom] - plain).sum(2) > 60
    assert changed[drawn.any(0).numpy()].mean() > 0.5


@pytest.mark.parametrize(("side", "zoom"), [(200, 5), (501, 1)])
def test_small_images_are_enlarged_with_their_boxes(side, zoom):
    mask = torch.ones(20, 30, dtype=torch.bool)
    figure = draw_instances(
        torch.zeros(3, 40, side, dtype=torch.uint8), [(10, 60, mask)], [[60.0, 10.0, 90.0, 30.0]], [""]
    )
    drawn = np.asarray(figure)
    assert drawn.shape == (40 * zoom, side * zoom, 3)
    colour = tuple(voc_palette(2)[1])
    edges = [(10, 75), (30, 75), (20, 60), (20, 90)]
    assert {tuple(drawn[row * zoom, column * zoom].tolist()) for row, column in edges} == {colour}
    inside = drawn[11 * zoom + 1 : 29 * zoom, 61 * zoom + 1 : 89 * zoom]
    assert (inside == np.array(colour) // 2).all()
    assert drawn.sum(2)[: 10 * zoom].sum() == 0


def test_limits_hold_for_one_call(folder, discs):
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
    figures = json.loads((out / "scores.json").read_text())["scores"]
    assert f"{'mask AP':30} {figures['mask_ap']:.4f}" in lines
    assert f"{'box AP50':30} {figures['box_ap50']:.4f}" in lines
    assert any(line.startswith("mask AP of nucleus") for line in lines)
    expected = evaluate_instances(gatezoo.from_pretrained(folder), create_dataset("nuclei_instances", discs, "val"))
    assert figures == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("predict {objects} {image} --out {out} --iterations 2", "--iterations is of semantic networks; this one"),
        ("predict {objects} {image} --out {out} --flip", "--flip is of semantic networks; this one is of the task"),
        ("predict {classes} {image} --out {out} --score-threshold 0.5", "--score-threshold is of instance networks"),
        ("predict {objects} {image} --out {out} --score-threshold 2", "score_threshold must be in 0 .. 1"),
        ("predict {objects} {image} --out {out} --max-detections 0", "max_detections must be at least 1; got 0"),
        ("eval {objects} --data {data} --dataset nuclei --boundary", "--boundary is of semantic networks"),
        ("eval {objects} --data {data}/val", "objects must come from a data set of instances; a folder has none"),
        ("train test_zigzag_maskrcnn --data {data} --output {out}", "objects must come from a data set of instances"),
        ("train test_zigzag_maskrcnn --data {data} --dataset nuclei --loss ohem --output {out}", "loss is of networks"),
    ],
)
def test_what_does_not_fit_the_task_is_one_line(discs, folder, tmp_path, monkeypatch, capsys, line, text):
    gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "classes", ["a", "b"])
    places = {"objects": f"local-dir:{folder}", "classes": f"local-dir:{tmp_path / 'classes'}", "data": discs}
    places |= {"image": discs / "val/images/01.png", "out": tmp_path / "out"}
    assert command(monkeypatch, *line.format(**places).split()) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert text in told


def test_functions_of_the_other_task_are_refused(discs, tmp_path):
    objects, classes = (gatezoo.create_model(name, num_classes=2) for name in ("test_zigzag_maskrcnn", "test_fcn"))
    data, image = create_dataset("nuclei_instances", discs, "val"), discs / "val/images/01.png"
    cases = [
        (lambda: gatezoo.predict(objects, image), "test_zigzag_maskrcnn is of 'instance': use gatezoo.predict_inst"),
        (lambda: gatezoo.evaluate(objects, data), "test_zigzag_maskrcnn is of 'instance': use gatezoo.evaluate_inst"),
        (lambda: gatezoo.predict_instances(classes, image), "test_fcn is of 'semantic': use gatezoo.predict"),
        (lambda: gatezoo.evaluate_instances(classes, data), "test_fcn is of 'semantic': use gatezoo.evaluate"),
        (
            lambda: next(predict_instance_files(classes, [image], tmp_path)),
            "test_fcn is of 'semantic': use predict_fi",
        ),
    ]
    for call, text in cases:
        with pytest.raises(ValueError, match=text):
            call()


def test_refusals_of_evaluation(discs):
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
    with pytest.raises(ValueError, match="a data set to evaluate objects on must hold some; it holds none"):
        evaluate_instances(model, data.subset([0]))
    classes = create_dataset("nuclei", discs, "val")
    with pytest.raises(
        ValueError, match=r"a sample must be a dict with image, boxes, labels and masks; got \['image', 'm"
    ):
        evaluate_instances(model, classes)


def test_fine_tuning_is_of_classes(discs, folder, tmp_path):
    data = create_splits(discs, "nuclei", task="instance")
    with pytest.raises(ValueError, match="is of 'instance': train objects with 'gatezoo train --pretrained'"):
        finetune(f"local-dir:{folder}", *data, tmp_path / "out")


def test_readers_by_task():
    assert dataset_for_task("nuclei", "instance") == "nuclei_instances"
    assert dataset_for_task("nuclei", "semantic") == "nuclei"
    assert dataset_for_task("coco", "instance") == "coco"
    assert dataset_for_task("coco", "semantic") == "coco_semantic"
    assert dataset_for_task("camvid", "instance") == "camvid"
