import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from helpers.commands import run
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import Dataset

import gatezoo
from gatezoo.evaluation.semantic import check_class_names, evaluate_in_detail, evaluate_passes
from gatezoo.inference.modes import MultiScale, SlidingWindow
from gatezoo.metrics import BoundaryMetric, DepthMetric, InstanceMetric, InstanceWeightedMetric, scores_from_confusion
from gatezoo.utils.progress import track
from gatezoo.visualization import figures as visualize


class Images(Dataset):
    """Random images of different sizes, labeled 0, 1 or 255, with numbered instances of class 1."""

    num_classes, ignore_index, classes = 3, 255, ("ground", "disc", "sky")

    def __init__(self, count, instances=False):
        self.instances = instances
        self.images = [Path(f"street/{number}.png") for number in range(count)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        size = (40 + 5 * index, 60 - 3 * index)
        mask = random.choice([0, 1, 1, 255], (4, 4)).repeat(20, 0).repeat(20, 1)[: size[0], : size[1]]
        sample = {"image": torch.from_numpy(random.integers(0, 256, (3, *size), dtype=np.uint8))}
        sample["mask"] = torch.from_numpy(mask.astype(np.uint8))
        if self.instances:
            sample["instance"] = torch.from_numpy(np.where(mask == 1, random.integers(1, 4, size), 0))
        return sample


def network(name="test_dignet", classes=3):
    """Create a small network that predicts all of its classes in nearly every image."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=classes).eval()
    torch.nn.init.normal_(model.head.weight)
    with torch.no_grad():
        logits = model(model.make_normalize()(Images(1)[0]["image"][None].float()))
        model.head.bias -= logits.mean((0, 2, 3))
    return model


@torch.no_grad()
def class_maps(model, data, **call):
    """Predict the label map of each image by a plain call of the network."""
    normalize = model.make_normalize()
    return [
        model(normalize(sample["image"][None].float()), **call).argmax(1)[0]
        for sample in map(data.__getitem__, range(len(data)))
    ]


def matrix_by_loops(maps, data):
    matrix = torch.zeros(3, 3, dtype=torch.long)
    for drawn, sample in zip(maps, map(data.__getitem__, range(len(data)))):
        for label, found in zip(sample["mask"].flatten().tolist(), drawn.flatten().tolist()):
            if label != 255:
                matrix[label, found] += 1
    return matrix


@pytest.mark.parametrize(("workers", "iterations"), [(0, None), (2, 3)])
def test_evaluation_matches_plain_predictions_and_metrics(workers, iterations):
    model, data = network(), Images(3, instances=True)
    call = {} if iterations is None else {"iterations": iterations}
    maps = class_maps(model, data, **call)
    found = evaluate_in_detail(model.train(), data, iterations=iterations, boundary=0.02, workers=workers)
    assert model.training  # as it was
    matrix = matrix_by_loops(maps, data)
    assert (matrix[:2] > 0).all()
    assert torch.equal(found.confusion_matrix, matrix)
    contours, instances = BoundaryMetric(3, 0.02), InstanceWeightedMetric(3)
    for drawn, sample in zip(maps, map(data.__getitem__, range(3))):
        contours.update(drawn, sample["mask"])
        instances.update(drawn, sample["mask"], sample["instance"])
    expected = scores_from_confusion(matrix)
    assert found.scores.miou == expected.miou
    assert found.scores.boundary_f == contours.compute()[0]
    assert found.scores.iiou == instances.compute()[0]
    assert found.scores.iiou_by_class[1] == found.scores.iiou
    assert found.protocol == {
        "mode": "whole images",
        "iterations": iterations or model.iterations,
        "images": 3,
        "precision": "float32",
        "boundary_tolerance": 0.02,
    }
    # One result per image, in order, of its own pixels alone.
    for number, (image, drawn) in enumerate(zip(found.images, maps)):
        labels = data[number]["mask"]
        counts = labels != 255
        assert (image.name, image.height, image.width) == (f"{number}.png", *labels.shape)
        assert image.pixel_accuracy == pytest.approx((drawn == labels)[counts].float().mean().item())
        assert image.labeled == pytest.approx([(labels[counts] == k).float().mean().item() for k in range(3)])
        assert image.predicted == pytest.approx([(drawn[counts] == k).float().mean().item() for k in range(3)])
        ious = [
            ((drawn == k) & (labels == k)).sum() / (((drawn == k) & counts) | (labels == k)).sum() for k in range(3)
        ]
        assert image.miou == pytest.approx(np.nanmean(ious))
    again = gatezoo.evaluate(model, data, iterations=iterations, boundary=0.02)
    assert again.to_dict() == found.scores.to_dict()
    plain = gatezoo.evaluate(model, Images(3), iterations=iterations)
    assert (plain.boundary_f, plain.iiou, plain.miou) == (None, None, expected.miou)


def test_mean_instance_sizes_of_the_data_are_used():
    model, data = network(), Images(2, instances=True)
    own = gatezoo.evaluate(model, data).iiou
    data.instance_sizes = {1: 50.0}
    assert gatezoo.evaluate(model, data).iiou != own


@pytest.mark.parametrize("mode", [SlidingWindow(36), MultiScale((1.0, 1.5))], ids=str)
def test_evaluation_in_a_mode_matches_predict(mode):
    model, data = network(), Images(2)
    found = evaluate_in_detail(model, data, mode=mode, iterations=1)
    maps = [torch.from_numpy(gatezoo.predict(model, data[k]["image"], iterations=1, mode=mode)) for k in range(2)]
    assert torch.equal(found.confusion_matrix, matrix_by_loops(maps, data))
    assert not torch.equal(found.confusion_matrix, matrix_by_loops(class_maps(model, data, iterations=1), data))
    assert found.protocol["mode"] == str(mode)


def test_progress_is_called_with_the_images_and_their_number():
    calls = []

    def progress(items, total):
        for item in items:
            calls.append(total)
            yield item

    model, data = network(), Images(3)
    found = evaluate_in_detail(model, data, progress=progress)
    assert calls == [3, 3, 3]
    assert found.scores.to_dict() == gatezoo.evaluate(model, data).to_dict()


def test_track_draws_on_stderr_and_yields_the_items(capsys):
    assert list(track(iter("abc"), 3, "evaluating")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""


def test_evaluate_passes_matches_evaluations_of_each_number_of_iterations():
    model, data = network(), Images(2)
    each = evaluate_passes(model, data, iterations=3, workers=1)
    expected = [gatezoo.evaluate(model, data, iterations=t).to_dict() for t in (1, 2, 3)]
    assert [scores.to_dict() for scores in each] == expected
    assert expected[0] != expected[2]
    plain = network("test_fcn")
    (scores,) = evaluate_passes(plain, data)
    assert scores.to_dict() == gatezoo.evaluate(plain, data).to_dict()


class Changed(Images):
    """Images with other items or attributes."""

    def __init__(self, count=2, change=None, **attributes):
        super().__init__(count)
        self.count, self.change = count, change
        self.__dict__ |= attributes

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return self.change(sample) if self.change else sample


def labeled(value):
    return lambda sample: sample | {"mask": torch.full_like(sample["mask"], value)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Changed(0), "a data set to evaluate on must hold images; it holds none"),
        (Changed(num_classes=4), "the data must have the network's 3 classes; got 4: fine-tune"),
        (Changed(change=lambda sample: (sample["image"], sample["mask"])), "a dict with image and mask; got tuple"),
        (Changed(change=lambda sample: {"image": sample["image"]}), r"image and mask; got \['image'\]"),
        (Changed(change=labeled(255)), r"must hold a pixel that counts; all are 255 \(ignored\)"),
        (Changed(change=labeled(9), images=None), "^image 0: labels must be 0"),
        (Changed(change=labeled(9)), r"^0\.png: labels must be 0 \.\. 2 or 255 \(ignored\); got 9"),
        (
            Changed(change=lambda s: s | {"mask": s["mask"][1:]}),
            r"^0\.png: labels must have the size of the prediction",
        ),
        (Changed(change=lambda s: s | {"image": s["image"][:, :20]}), r"^0\.png: images must be at least 32 pixels"),
    ],
)
def test_unsuitable_data_are_rejected(data, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.evaluate(network(), data)


def test_class_names_must_match_the_weights():
    model = gatezoo.create_model("dignet_mobilenetv2_8s", pretrained=True)
    names = list(model.pretrained_cfg.class_names)
    with pytest.raises(ValueError, match=r"class 0 is 'sky' in the network and 'building' in the data: fine-tune"):
        check_class_names(model, Changed(num_classes=11, classes=(names[1], names[0], *names[2:])))
    for same in ([name.title() for name in names], [str(k) for k in range(11)], None):
        check_class_names(model, Changed(num_classes=11, classes=same))


def test_workers_must_not_be_negative():
    with pytest.raises(ValueError, match="workers must be 0 or a number of processes; got -1"):
        gatezoo.evaluate(network(), Images(1), workers=-1)


# ---- several processes


def shared_scores(model):
    """Compute scores in each of several processes together, or in a single one."""
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    found = evaluate_in_detail(model, Images(5, instances=True), boundary=0.02)
    single = evaluate_in_detail(model, Images(1))  # fewer images than processes
    passes = evaluate_passes(model, Images(3), iterations=2)
    depth, boxes = DepthMetric(), InstanceMetric()
    for number in range(rank, 5, count):
        random = torch.Generator().manual_seed(number)
        measured = torch.rand(7, 5 + number, generator=random)
        depth.update(measured * (0.5 + torch.rand(measured.shape, generator=random)), measured)
        corners = (torch.rand(3, 4, generator=random) * 20).round()
        corners[:, 2:] += corners[:, :2] + 5
        masks = torch.zeros(3, 60, 60, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, corners.long().tolist()):
            mask[y0:y1, x0:x1] = True
        truth = {"boxes": corners, "labels": torch.tensor([1, 2, 1]), "masks": masks}
        moved = {"boxes": corners + 2, "labels": torch.tensor([1, 1, 1]), "masks": masks.roll(2, 2)}
        scores = torch.tensor([0.5, 0.7, 0.5])  # ties: their order matters
        # Numbers of instances differ, too: an image has number + 1 of them, up to 3.
        boxes.update(
            [{key: value[: number + 1] for key, value in (moved | {"scores": scores}).items()}],
            [{key: value[: number + 1] for key, value in truth.items()}],
        )
    return {
        "scores": found.scores.to_dict(),
        "matrix": found.confusion_matrix.tolist(),
        "images": [image.name for image in found.images] + [image.miou for image in found.images],
        "single": single.scores.to_dict(),
        "passes": [scores.to_dict() for scores in passes],
        "depth": depth.compute().to_dict(),
        "boxes": json.loads(json.dumps(boxes.compute())),
    }


def work(rank, count, folder):
    torch.set_num_threads(1)  # the threads of the parent were not forked
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    Path(folder, f"{rank}.json").write_text(json.dumps(shared_scores(network())))
    dist.destroy_process_group()


def test_two_processes_match_one(tmp_path):
    torch.multiprocessing.start_processes(work, (2, str(tmp_path)), nprocs=2, start_method="fork")
    expected = shared_scores(network())
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for key, value in expected.items():
            if key == "depth":
                assert found[key] == pytest.approx(value, rel=1e-12)  # float64 sums, added in another order
            else:
                assert found[key] == value, key
    assert expected["boxes"]["segm"]["ap"] < 1


@pytest.mark.slow
def test_torchrun_evaluation_matches_a_single_process(shapes, tmp_path):
    gatezoo.save_pretrained(network(classes=2), tmp_path / "model", ["ground", "disc"])
    arguments = ["gatezoo", "eval", f"local-dir:{tmp_path / 'model'}", "--data", str(shapes), "-j", "0"]
    several = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone, shared = (
        subprocess.run(
            [sys.executable, "-m", *start, *arguments, "--out", str(tmp_path / out)],
            cwd=Path(gatezoo.__file__).parent.parent, env=environment, check=True, capture_output=True, text=True,
        )
        for start, out in (((), "alone"), (several, "shared"))
    )  # fmt: skip
    assert shared.stdout == alone.stdout
    assert "mIoU" in alone.stdout
    assert (tmp_path / "shared/images.csv").read_text() == (tmp_path / "alone/images.csv").read_text()


# ---- reports and the command line


def test_confusion_figure_has_labels_in_rows():
    matrix = np.array([[0, 10, 0], [0, 0, 0], [3, 0, 1]])
    pixels = np.array(visualize.confusion_figure(matrix, ["ground", "disc", "sky"]).convert("RGB")).astype(int)
    full = np.argwhere(np.abs(pixels - (8, 48, 107)).sum(-1) < 10)  # the color of 100 %: label 0 taken for class 1
    most = np.argwhere(np.abs(pixels - (28, 108, 177)).sum(-1) < 30)  # of 75 %: label 2 taken for class 0
    assert len(full) > 500
    assert len(most) > 500
    assert full[:, 0].mean() < most[:, 0].mean()
    assert full[:, 1].mean() > most[:, 1].mean()
    assert visualize.confusion_figure(np.eye(40), [str(k) for k in range(40)]).size[0] < 1200


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as training writes it, of an untrained network with two classes."""
    metadata = {"architecture": "test_dignet", "num_classes": 2, "class_names": ["ground", "disc"], "ignore_index": 255}
    metadata |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    save_file(network(classes=2).state_dict(), tmp_path / "best.safetensors", {"gatezoo": json.dumps(metadata)})
    return tmp_path / "best.safetensors"


def test_eval_command_prints_and_writes_the_scores(monkeypatch, capsys, shapes, checkpoint, tmp_path):
    out = tmp_path / "a/b"
    code, text, err = run(
        monkeypatch, capsys, "eval", checkpoint, "--data", shapes.parent, "--split", "shapes", "--scales", "0.75,1",
        "--flip", "--window", 48, "--overlap", 0.25, "--iterations", 1, "--boundary", "--out", out, "-j", 0,
    )  # fmt: skip
    assert code == 0, err
    printed = dict(line.rsplit("(", 1)[0].rsplit(maxsplit=1) for line in text.splitlines())
    assert list(printed)[:3] == ["ground", "disc", "mIoU"]
    report = json.loads((out / "scores.json").read_text())
    mode = MultiScale((0.75, 1), True, SlidingWindow(48, 0.25))
    model = gatezoo.create_model("test_dignet", checkpoint_path=checkpoint)
    data = gatezoo.data.FolderDataset(shapes, 2)
    expected = evaluate_in_detail(model, data, iterations=1, mode=mode, boundary=0.0075)
    assert report["scores"] == expected.scores.to_dict()
    for name, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"), ("boundary F-score", "boundary_f")):
        assert float(printed[name]) == pytest.approx(report["scores"][key], abs=1e-4)
    assert report["model"] == "test_dignet"
    assert report["classes"] == ["ground", "disc"]
    assert report["confusion_matrix"] == expected.confusion_matrix.tolist()
    assert report["protocol"]["mode"] == str(mode)
    assert report["protocol"]["iterations"] == 1
    assert report["data"] == {"folder": str(shapes.parent), "dataset": "folder", "split": "shapes"}
    assert report["weights"]["file"] == str(checkpoint)
    assert len(report["weights"]["sha256"]) == 64
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"{number:02}.png" for number in range(24)]
    for row, image in zip(rows, expected.images):
        assert float(row["miou"]) == pytest.approx(image.miou, abs=1e-6)
        assert float(row["labeled disc"]) == pytest.approx(image.labeled[1], abs=1e-6)
        assert float(row["predicted ground"]) == pytest.approx(image.predicted[0], abs=1e-6)
    assert Image.open(out / "confusion.png").size[0] > 100
    assert sorted(os.listdir(out)) == ["confusion.png", "images.csv", "scores.json"]
    # NAME with --checkpoint is the same; and so is predict with the file.
    code, again, _ = run(
        monkeypatch, capsys, "eval", "test_dignet", "--checkpoint", checkpoint, "--data", shapes, "--iterations", 1
    )
    assert code == 0
    code, plain, _ = run(monkeypatch, capsys, "eval", checkpoint, "--data", shapes, "--iterations", 1)
    assert plain == again != text
    arguments = ("predict", checkpoint, shapes / "images/03.png", "--out", tmp_path / "p", "--window", 40, "--flip")
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 0, err
    drawn = gatezoo.predict(model, shapes / "images/03.png", mode=MultiScale((1.0,), True, SlidingWindow(40)))
    assert np.array_equal(np.array(Image.open(tmp_path / "p/03.png")), drawn)


def test_eval_command_takes_a_data_set_by_name(monkeypatch, capsys, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "camvid/val" / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "camvid/val/images/a.png")
    Image.fromarray(random.integers(0, 11, (40, 50), dtype=np.uint8)).save(tmp_path / "camvid/val/labels/a.png")
    arguments = ("--data", tmp_path / "camvid", "--dataset", "camvid", "-j", 0)
    code, text, err = run(monkeypatch, capsys, "eval", "dignet_mobilenetv2_8s", *arguments)
    assert code == 0, err
    same = run(monkeypatch, capsys, "eval", "dignet_mobilenetv2_8s", "--data", tmp_path / "camvid/val", "-j", 0)
    assert same[1] == text
    # Weights of 11 classes with other names.
    metadata = {
        "architecture": "test_fcn",
        "num_classes": 11,
        "class_names": list("abcdefghijk"),
        "mean": [0] * 3,
        "std": [1] * 3,
    }
    save_file(network("test_fcn", 11).state_dict(), tmp_path / "other.safetensors", {"gatezoo": json.dumps(metadata)})
    code, _, err = run(monkeypatch, capsys, "eval", tmp_path / "other.safetensors", *arguments)
    assert code == 2
    assert "class 0 is 'a' in the network and 'sky' in the data" in err


def test_eval_command_takes_model_kwargs(monkeypatch, capsys, shapes, tmp_path):
    """A variant of trained weights is evaluated and recorded in the report."""
    model = gatezoo.create_model("test_depthgate", num_classes=2).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    metadata = {"architecture": "test_depthgate", "num_classes": 2, "mean": [0.5] * 3, "std": [0.5] * 3}
    save_file(model.state_dict(), tmp_path / "gate.safetensors", {"gatezoo": json.dumps(metadata)})
    arguments = ("eval", tmp_path / "gate.safetensors", "--data", shapes, "-j", 0)
    found = {}
    for hard in (False, True):
        out = tmp_path / str(hard)
        code, _, err = run(monkeypatch, capsys, *arguments, "--out", out, "--model-kwargs", f"hard={hard}")
        assert code == 0, err
        found[hard] = json.loads((out / "scores.json").read_text())
    assert found[True]["protocol"].pop("hard") is True
    assert found[True]["protocol"] == found[False]["protocol"]
    assert found[True]["confusion_matrix"] != found[False]["confusion_matrix"]
    model = gatezoo.create_model("test_depthgate", checkpoint_path=tmp_path / "gate.safetensors", hard=True)
    scores = gatezoo.evaluate(model, gatezoo.data.FolderDataset(shapes, 2, 255))
    assert scores.miou == pytest.approx(found[True]["scores"]["miou"])
    # An option of the command overrides the network's own number.
    options = ("--model-kwargs", "iterations=3", "--iterations", 1, "--out", tmp_path / "one")
    assert run(monkeypatch, capsys, *arguments, *options)[0] == 0
    assert json.loads((tmp_path / "one/scores.json").read_text())["protocol"]["iterations"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scales", "0.5;1"], "scales must be numbers separated by commas; got '0.5;1'"),
        (["--scales", "0"], "scales must be positive numbers"),
        (["--model-kwargs", "hard"], "a keyword must be given as KEY=VALUE; got 'hard'"),
        (["--window-size", "32"], "larger than 32; got 32"),
        (["--window-overlap", "0.5"], "overlap requires a window; got overlap 0.5 without one"),
        (["--iiou"], "--iiou needs a data set with instances, such as cityscapes; a folder has none"),
        (["--dataset", "camwid"], "camwid"),
        (["--checkpoint", "other.safetensors"], "weights must come from one file"),
        (["--out", "{file}/x"], "the output folder must be writable"),
    ],
)
def test_user_errors_are_one_line(monkeypatch, capsys, shapes, checkpoint, arguments, message):
    arguments = [argument.format(file=checkpoint) for argument in arguments]
    code, out, err = run(monkeypatch, capsys, "eval", checkpoint, "--data", shapes, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_eval_command_without_an_architecture_in_the_checkpoint(monkeypatch, capsys, shapes, tmp_path):
    save_file(network(classes=2).state_dict(), tmp_path / "bare.safetensors")
    code, _, err = run(monkeypatch, capsys, "eval", tmp_path / "bare.safetensors", "--data", shapes)
    assert code == 2
    assert "the header of a checkpoint must name its model" in err
    # With the name it is evaluated; bare weights contain neither class names nor ignore_index.
    arguments = ("--data", shapes, "--checkpoint", tmp_path / "bare.safetensors", "-j", 0)
    code, _, err = run(monkeypatch, capsys, "eval", "test_dignet", *arguments)
    assert code == 2
    assert "num_classes" in err


def test_scores_without_pixels_are_nan():
    scores = scores_from_confusion(torch.zeros(2, 2, dtype=torch.long))
    assert math.isnan(scores.miou)
    assert scores.to_dict()["miou"] is None
