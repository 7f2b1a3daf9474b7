import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from helpers.commands import run
from helpers.headers import header
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import Dataset

import gatezoo
from gatezoo.evaluation import check_class_names, default_metrics, runs
from gatezoo.inference import predictor
from gatezoo.inference.modes import MultiScale, SlidingWindow
from gatezoo.metrics import (
    BoundaryMetric,
    CalibrationMetric,
    DepthMetric,
    InstanceMetric,
    InstanceWeightedMetric,
    Scores,
    SegmentationMetric,
    scores_from_confusion,
)
from gatezoo.utils.progress import track


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
    metrics = [BoundaryMetric(0.02), *default_metrics(model, data)]
    found = gatezoo.evaluate(model.train(), data, metrics=metrics, iterations=iterations, workers=workers)
    assert model.training  # as it was
    matrix = matrix_by_loops(maps, data)
    assert (matrix[:2] > 0).all()
    assert torch.equal(found.confusion_matrix, matrix)
    contours, instances = BoundaryMetric(0.02).start(3), InstanceWeightedMetric().start(3)
    for drawn, sample in zip(maps, map(data.__getitem__, range(3))):
        contours.update(SimpleNamespace(classes=drawn), sample)
        instances.update(SimpleNamespace(classes=drawn), sample)
    expected = scores_from_confusion(matrix)
    assert found.miou == found.scores.miou == expected.miou
    assert found.scores.boundary_f == contours.compute()["boundary_f"]
    assert found.scores.iiou == instances.compute()["iiou"]
    assert found.scores.iiou_by_class[1] == found.scores.iiou
    assert found.by_iteration == []
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
    plain = gatezoo.evaluate(model, Images(3), iterations=iterations).scores
    assert plain.miou == expected.miou
    assert not plain.keys() & {"boundary_f", "iiou"}


def test_mean_instance_sizes_of_the_data_are_used():
    model, data = network(), Images(2, instances=True)
    own = gatezoo.evaluate(model, data).scores.iiou
    data.instance_sizes = {1: 50.0}
    assert gatezoo.evaluate(model, data).scores.iiou != own


@pytest.mark.parametrize("mode", [SlidingWindow(36), MultiScale((1.0, 1.5))], ids=str)
def test_evaluation_in_a_mode_matches_predict(mode):
    model, data = network(), Images(2)
    found = gatezoo.evaluate(model, data, mode=mode, iterations=1)
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
    found = gatezoo.evaluate(model, data, progress=progress)
    assert calls == [3, 3, 3]
    assert found.scores.to_dict() == gatezoo.evaluate(model, data).scores.to_dict()


def test_track_draws_on_stderr_and_yields_the_items(capsys):
    assert list(track(iter("abc"), 3, "evaluating")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""


def test_track_tells_the_time_left_from_the_first_item_on(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    times = iter([0.0, 7.0, 14.0])
    monkeypatch.setattr("gatezoo.utils.progress.time.monotonic", lambda: next(times))
    seen = track(iter("ab"), 2, "evaluating")
    assert next(seen) == "a"
    assert next(seen) == "b"  # the first is done, in 7 s
    seen.close()
    assert "0:00:07 left" in capsys.readouterr().err


def test_all_iterations_match_evaluations_of_each_number_of_iterations():
    model, data, calls = network(), Images(2), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    model.head.register_forward_pre_hook(lambda *_: calls.append(1))
    options = {"metrics": [BoundaryMetric(), CalibrationMetric()]}
    found = gatezoo.evaluate(model, data, iterations=3, workers=1, all_iterations=True, **options)
    assert len(calls) == 2 * 3  # each pass of each image runs once
    expected = [gatezoo.evaluate(model, data, iterations=t, **options).scores.to_dict() for t in (1, 2, 3)]
    assert [scores.to_dict() for scores in found.by_iteration] == expected
    assert found.scores.to_dict() == expected[2] != expected[0]
    plain = network("test_fcn")
    found = gatezoo.evaluate(plain, data, all_iterations=True)
    assert found.by_iteration == [found.scores]
    with pytest.raises(ValueError, match="all_iterations requires one number of iterations for all images; got"):
        gatezoo.evaluate(model, data, iterations="auto", all_iterations=True)


def test_evaluate_tells_the_passes_that_auto_runs():
    model, data = network("test_dignet"), Images(3)
    predict = predictor.Predictor(model, iterations="auto").predict
    passes = [predict(data[index]["image"]).iterations for index in range(3)]
    found = gatezoo.evaluate(model, data, iterations="auto")
    assert [image.iterations for image in found.images] == passes
    assert found.protocol["mean_iterations"] == pytest.approx(sum(passes) / 3)
    assert found.protocol["tolerance"] == 0.005
    assert "mean_iterations" not in gatezoo.evaluate(model, data, iterations=2).protocol


@torch.no_grad()
@pytest.mark.parametrize("merge", ["max", "mean"])
def test_merged_passes_are_scored_beside_the_passes(merge):
    model, data = network(), Images(2)
    maps, calibration = [], CalibrationMetric(5).start(3)
    for index in range(2):
        sample = data[index]
        logits = model.outputs(model.make_normalize()(sample["image"][None].float()), iterations=3).iterations
        passes = torch.stack([one.softmax(1)[0] for one in logits])
        merged = passes.amax(0) if merge == "max" else passes.mean(0)
        maps.append(merged.argmax(0))
        calibration.update(SimpleNamespace(classes=maps[-1], probabilities=merged / merged.sum(0)), sample)
    options = {"iterations": 3, "merge": merge, "metrics": [CalibrationMetric(5)]}
    found = gatezoo.evaluate(model, data, all_iterations=True, **options)
    assert torch.equal(found.confusion_matrix, matrix_by_loops(maps, data))
    assert found.scores.ece == pytest.approx(calibration.compute()["ece"], abs=1e-6)
    assert found.protocol["merge"] == merge
    assert found.protocol["calibration_bins"] == 5
    last = gatezoo.evaluate(model, data, iterations=3)
    assert len(found.by_iteration) == 3
    assert found.by_iteration[2].miou == last.miou
    assert not torch.equal(found.confusion_matrix, last.confusion_matrix)
    assert found.images != last.images
    alone = gatezoo.evaluate(model, data, **options)
    assert alone.scores.to_dict() == found.scores.to_dict()
    assert alone.by_iteration == []


@pytest.mark.parametrize("device", ["cpu:0", None])
def test_a_network_can_be_trained_after_an_evaluation(device):
    model = network().train()
    before = {key: value.data_ptr() for key, value in model.state_dict().items()}
    gatezoo.evaluate(model, Images(1), device=device, metrics=[CalibrationMetric()])
    assert model.training
    assert {key: value.data_ptr() for key, value in model.state_dict().items()} == before
    model(torch.randn(2, 3, 40, 40)).mean().backward()
    assert model.head.weight.grad is not None


def test_metrics_must_fit_the_data():
    with pytest.raises(ValueError, match="InstanceWeightedMetric needs instance, a sample has image, mask: leave the"):
        gatezoo.evaluate(network(), Images(1), metrics=[InstanceWeightedMetric()])
    with pytest.raises(ValueError, match="model must be a network of the zoo; got Linear"):
        gatezoo.evaluate(torch.nn.Linear(1, 1), Images(1))


def test_the_protocol_tells_that_large_images_were_cut_into_windows(monkeypatch):
    for module in (predictor, runs):
        monkeypatch.setattr(module, "MAX_WHOLE_PIXELS", 40 * 60)
        monkeypatch.setattr(module, "LARGE_IMAGE_MODE", SlidingWindow(36))
    model = network("test_fcn")
    assert gatezoo.evaluate(model, Images(1)).protocol["mode"] == "whole images"
    found = gatezoo.evaluate(model, Images(2))
    assert found.protocol["mode"] == f"whole images; above 0.0024 megapixels {SlidingWindow(36)}"


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
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True)
    names = list(model.pretrained_cfg.class_names)
    with pytest.raises(ValueError, match=r"class 0 is 'sky' in the network and 'building' in the data: fine-tune"):
        check_class_names(model, Changed(num_classes=11, classes=(names[1], names[0], *names[2:])))
    for same in ([name.title() for name in names], [str(k) for k in range(11)], None):
        check_class_names(model, Changed(num_classes=11, classes=same))


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_cannot_be_read_gives_one_line(workers):
    class Cut(Images):
        def __getitem__(self, index):
            if index == 1:
                raise ValueError("an image must be intact; 1.png is cut: copy it again")
            return super().__getitem__(index)

    with pytest.raises(ValueError, match=r"^an image must be intact; 1.png is cut: copy it again$"):
        gatezoo.evaluate(network(), Cut(2), workers=workers)


def test_workers_must_not_be_negative():
    with pytest.raises(ValueError, match="workers must be 0 or a number of processes; got -1"):
        gatezoo.evaluate(network(), Images(1), workers=-1)


# ---- several processes


def shared_scores(model):
    """Compute scores in each of several processes together, or in a single one."""
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    data = Images(5, instances=True)
    metrics = [BoundaryMetric(0.02), CalibrationMetric(), *default_metrics(model, data)]
    found = gatezoo.evaluate(model, data, metrics=metrics)
    single = gatezoo.evaluate(model, Images(1), metrics=[CalibrationMetric()])  # fewer images than processes
    passes = gatezoo.evaluate(
        model, Images(3), iterations=2, all_iterations=True, merge="mean", metrics=[CalibrationMetric()]
    )
    depth, boxes = DepthMetric().start(3), InstanceMetric().start(3)
    for number in range(rank, 5, count):
        random = torch.Generator().manual_seed(number)
        measured = torch.rand(7, 5 + number, generator=random)
        predicted = measured * (0.5 + torch.rand(measured.shape, generator=random))
        depth.update(SimpleNamespace(depth=predicted), {"depth": measured})
        corners = (torch.rand(3, 4, generator=random) * 20).round()
        corners[:, 2:] += corners[:, :2] + 5
        masks = torch.zeros(3, 60, 60, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, corners.long().tolist()):
            mask[y0:y1, x0:x1] = True
        truth = {"boxes": corners, "labels": torch.tensor([1, 2, 1]), "masks": masks}
        truth["iscrowd"] = torch.tensor([0, 0, number % 2])
        moved = {"boxes": corners + 2, "labels": torch.tensor([1, 1, 1]), "masks": masks.roll(2, 2)}
        scores = torch.tensor([0.5, 0.7, 0.5])  # ties: their order matters
        # Numbers of instances differ, too: an image has number + 1 of them, up to 3.
        boxes.update(
            {key: value[: number + 1] for key, value in (moved | {"scores": scores}).items()},
            {key: value[: number + 1] for key, value in truth.items()},
        )
    return {
        "scores": found.scores.to_dict(),
        "matrix": found.confusion_matrix.tolist(),
        "images": [image.name for image in found.images] + [image.miou for image in found.images],
        "single": single.scores.to_dict(),
        "passes": [scores.to_dict() for scores in (*passes.by_iteration, passes.scores)],
        "depth": depth.compute()["depth"].to_dict(),
        "boxes": json.loads(json.dumps(boxes.compute())),
    }


def work(rank, count, folder):
    torch.set_num_threads(1)  # the threads of the parent were not forked
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    Path(folder, f"{rank}.json").write_text(json.dumps(shared_scores(network())))
    dist.destroy_process_group()


def test_two_processes_match_one(tmp_path):
    torch.multiprocessing.start_processes(work, (2, str(tmp_path)), nprocs=2, start_method="fork")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: the rounding of a convolution depends on it
    try:
        expected = shared_scores(network())
    finally:
        torch.set_num_threads(threads)
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for key, value in expected.items():
            if key == "depth":
                assert found[key] == pytest.approx(value, rel=1e-12)  # float64 sums, added in another order
            else:
                assert found[key] == value, key
    assert 0 < expected["boxes"]["mask_ap"] < 1
    assert 0 < expected["scores"]["ece"] < 1


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
        "--flip", "--window", 48, "--overlap", 0.25, "--iterations", 1, "--boundary", "--calibration", "--out", out,
        "-j", 0, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    first, *lines = text.splitlines()
    assert first.startswith("running on cpu (")
    printed = dict(line.rsplit("(", 1)[0].rsplit(maxsplit=1) for line in lines)
    assert list(printed)[:3] == ["ground", "disc", "mIoU"]
    report = json.loads((out / "scores.json").read_text())
    mode = MultiScale((0.75, 1), True, SlidingWindow(48, 0.25))
    model = gatezoo.create_model("test_dignet", checkpoint_path=checkpoint)
    data = gatezoo.data.FolderDataset(shapes, 2)
    metrics = [BoundaryMetric(0.0075), CalibrationMetric()]
    expected = gatezoo.evaluate(model, data, iterations=1, mode=mode, metrics=metrics)
    assert report["scores"] == expected.scores.to_dict()
    titles = {"mIoU": "miou", "pixel accuracy": "pixel_accuracy", "boundary F-score": "boundary_f"}
    for name, key in (titles | {"calibration error": "ece"}).items():
        assert float(printed[name]) == pytest.approx(report["scores"][key], abs=1e-4)
    assert report["model"] == "test_dignet"
    assert report["classes"] == ["ground", "disc"]
    assert report["confusion_matrix"] == expected.confusion_matrix.tolist()
    assert report["protocol"]["mode"] == str(mode)
    assert report["protocol"]["iterations"] == 1
    assert "by_iteration" not in report
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
    assert sorted(os.listdir(out)) == ["confusion.png", "images.csv", "reliability.png", "scores.json"]
    # NAME with --checkpoint is the same; and so is predict with the file.
    code, again, _ = run(
        monkeypatch, capsys, "eval", "test_dignet", "--checkpoint", checkpoint, "--data", shapes, "--iterations", 1
    )
    assert code == 0
    code, plain, _ = run(monkeypatch, capsys, "eval", checkpoint, "--data", shapes, "--iterations", 1)
    assert plain == again != text
    auto = gatezoo.evaluate(model, data, iterations="auto").scores
    code, text, _ = run(monkeypatch, capsys, "eval", checkpoint, "--data", shapes, "--iterations", "auto")
    assert f"{auto.miou:.4f}" in text
    assert auto.miou != gatezoo.evaluate(model, data, iterations=1).scores.miou
    code, _, err = run(monkeypatch, capsys, "eval", checkpoint, "--data", shapes, "--iterations", "all")
    assert (code, "iterations must be a number of passes or 'auto'; got 'all'" in err) == (2, True)
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
    code, text, err = run(monkeypatch, capsys, "eval", "dignet_lite0_8s", *arguments)
    assert code == 0, err
    same = run(monkeypatch, capsys, "eval", "dignet_lite0_8s", "--data", tmp_path / "camvid/val", "-j", 0)
    assert same[1] == text
    # Weights of 11 classes with other names.
    save_file(network("test_fcn", 11).state_dict(), tmp_path / "other.safetensors", header(classes="abcdefghijk"))
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
        (["--device", "cuda:99"], "device must be one of this machine's: cpu"),
        (["--merge", "median"], "merge must be"),
        (["--ids", "0=0", "--ids", "1=7"], "1 maps to 7"),
        (["--classes", "a,b,c"], "the data must have the network's 2 classes; got 3"),
        (["--data-kwargs", "colour=1"], "the options of a folder are depth; got 'colour'"),
        (["--depth-map", "{file}.d"], "depth maps (--depth-map) must be a folder for 24 images; got"),
        (["--dataset", "camvid", "--rgb"], "--rgb is only supported for folders; got --dataset camvid: leave it out"),
        (["--iiou"], "--iiou and --components need data with instances, such as cityscapes; a folder has none"),
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


def masks_of(shapes, folder, values):
    """Copy a few images, with the values of their labels exchanged."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(3):
        name = f"{number:02}.png"
        (folder / "images" / name).write_bytes((shapes / "images" / name).read_bytes())
        labels = np.array(Image.open(shapes / "labels" / name)) == 1
        Image.fromarray(values[labels.astype(int)]).save(folder / "labels" / name)
    return folder


def test_eval_command_takes_label_options(monkeypatch, capsys, shapes, checkpoint, tmp_path):
    plain = masks_of(shapes, tmp_path / "plain", np.array([0, 1], np.uint8))
    binary = masks_of(shapes, tmp_path / "binary", np.array([0, 255], np.uint8))
    shifted = masks_of(shapes, tmp_path / "shifted", np.array([1, 2], np.uint8))
    start, end = ("eval", checkpoint, "--data"), ("--device", "cpu", "-j", 0, "--iterations", 1)
    expected = run(monkeypatch, capsys, *start, plain, *end)
    assert expected[0] == 0
    assert run(monkeypatch, capsys, *start, binary, "--ids", "0=0", "--ids", "255=1", *end) == expected
    assert run(monkeypatch, capsys, *start, shifted, "--reduce-zero-label", *end) == expected
    # Without them both are refused, in the words of the data check.
    for folder, text in ((binary, "labels are 0 or 255, and 255 is ignored"), (shifted, "00.png: holds 2 (")):
        code, out, err = run(monkeypatch, capsys, *start, folder, *end)
        assert (code, out) == (2, "")
        assert text in err
        checked = run(monkeypatch, capsys, "data", "check", folder, "--classes", "ground,disc")[1]
        assert text.rpartition(": ")[2] in " ".join(checked.split())


def test_eval_command_prints_the_passes_in_one_table(monkeypatch, capsys, shapes, checkpoint, tmp_path):
    folder = masks_of(shapes, tmp_path / "data", np.array([0, 1], np.uint8))
    options = ("--iterations", 3, "--all-iterations", "--merge", "max", "--device", "cpu", "-j", 0)
    code, text, err = run(monkeypatch, capsys, "eval", checkpoint, "--data", folder, "--out", tmp_path / "o", *options)
    assert code == 0, err
    report = json.loads((tmp_path / "o/scores.json").read_text())
    rows = [line.split() for line in text.splitlines()]
    assert any(row[:2] == ["pass", "mIoU"] for row in rows)
    table = {row[0]: row for row in rows if row and row[0] in ("1", "2", "3", "max")}
    for number, scores in enumerate(report["by_iteration"], start=1):
        assert float(table[str(number)][1]) == pytest.approx(scores["miou"], abs=1e-4)
    assert table["max"][:3] == ["max", "of", "3"]
    assert float(table["max"][3]) == pytest.approx(report["scores"]["miou"], abs=1e-4)
    assert len(report["by_iteration"]) == 3
    assert report["protocol"]["merge"] == "max"


def test_eval_command_reads_depth_from_a_folder(monkeypatch, capsys, shapes, tmp_path):
    """A network that is gated by the depth of the image needs it, in millimetres."""
    folder = masks_of(shapes, tmp_path / "data", np.array([0, 1], np.uint8))
    model = gatezoo.create_model("test_depthgate_given", num_classes=2)
    gatezoo.save_pretrained(model, tmp_path / "model", ["ground", "disc"])
    command = ("eval", f"local-dir:{tmp_path / 'model'}", "--data", folder, "--device", "cpu", "-j", 0)
    code, _, err = run(monkeypatch, capsys, *command)
    assert code == 2
    assert "test_depthgate_given needs the depth of each image; got none: pass --depth-map FOLDER" in err
    (tmp_path / "far").mkdir()
    for path in (folder / "images").iterdir():
        size = Image.open(path).size
        if path.stem == "01":
            np.save(tmp_path / "far/01.npy", np.full(size[::-1], 2.5, np.float32))
        else:
            name = f"{path.stem}_depth.PNG" if path.stem == "00" else f"{path.stem}.png"
            Image.fromarray(np.full(size[::-1], 2500, np.uint16)).save(tmp_path / "far" / name)
    out = tmp_path / "out"
    code, _, err = run(monkeypatch, capsys, *command, "--depth-map", tmp_path / "far", "--out", out)
    assert code == 0, err
    data = gatezoo.data.FolderDataset(folder, 2)
    metres = []
    for sample in map(data.__getitem__, range(3)):
        depth = np.full(sample["mask"].shape, 2.5, np.float32)
        metres.append(torch.from_numpy(gatezoo.predict(model, sample["image"], depth_map=depth)))
    found = sum(matrix_of(drawn, data[index]["mask"]) for index, drawn in enumerate(metres))
    assert json.loads((out / "scores.json").read_text())["confusion_matrix"] == found.tolist()


def matrix_of(drawn, labels):
    metric = SegmentationMetric().start(2)
    return metric.update(SimpleNamespace(classes=drawn), {"mask": labels.as_subclass(torch.Tensor)})


def test_missing_packages_are_told_before_any_work(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    code, out, err = run(monkeypatch, capsys, "eval", "no_such_model", "--data", "nowhere")
    assert (code, out) == (2, "")
    assert err == 'gatezoo: an evaluation needs the package torchmetrics: run pip install "gatezoo[train]"\n'


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
    assert Scores(miou=scores.miou).to_dict() == {"miou": None}
