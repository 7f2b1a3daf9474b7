"""Submissions: the files that evaluation servers take hold what the network predicts."""

import fnmatch
import re

import numpy as np
import pytest
import torch
from helpers import trees
from helpers.commands import run
from PIL import Image

import gatezoo
from gatezoo.data import create_dataset
from gatezoo.data.datasets import cityscapes, voc
from gatezoo.inference import MultiScale, Predictor, SlidingWindow, write_submission
from gatezoo.utils.palette import voc_palette

CLASSES = {"cityscapes": cityscapes.CLASSES, "voc12": voc.CLASSES}
FOLDERS = {"cityscapes": "", "voc12": "results/VOC2012/Segmentation/comp6_{}_cls"}
# Options of the command line, and the mode of the same prediction.
MODES = {
    "plain": ([], None),
    "scales": (["--scales", "0.75,1", "--flip"], MultiScale((0.75, 1.0), True)),
    "windows": (["--window-size", 40, "--window-overlap", 0.25], SlidingWindow(40, 0.25)),
}


@torch.no_grad()
def network(number, name="test_fcn", **keywords):
    """Create a network that does not predict one class everywhere."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=number, **keywords).eval()
    classify = model.get_classifier()
    torch.nn.init.normal_(classify.weight)
    # Gray blocks, as the images of the drawn data sets: no class has a head start.
    image = model.make_normalize()(torch.randint(256, (1, 1, 6, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3))
    image = image.expand(-1, 3, -1, -1)
    logits = model(image, **model.extra_inputs({"depth": torch.full((1, 48, 64), 20.0)}))
    classify.bias -= logits.mean((0, 2, 3))
    return model


@pytest.fixture(params=CLASSES)
def place(request, tmp_path):
    """(name of the data set, its folder, network, local-dir of the network)."""
    trees.DRAWERS[request.param](tmp_path / "root")
    model = network(len(CLASSES[request.param]), "test_depthgate", gate="attention", loops=0)
    gatezoo.save_pretrained(model, tmp_path / "model")
    return request.param, tmp_path / "root", model, f"local-dir:{tmp_path / 'model'}"


def classes_in(path, name):
    """Read a file of a submission as its server does, as classes."""
    image = Image.open(path)
    if name == "voc12":
        assert image.mode == "P"
        assert np.array(image.getpalette()).reshape(-1, 3)[:21].tolist() == [list(color) for color in voc_palette(21)]
        return np.array(image)
    assert image.mode == "L"
    class_of = {label_id: k for k, label_id in trees.CITY.items()}
    return np.vectorize(class_of.__getitem__)(np.array(image))


@pytest.mark.parametrize("kind", MODES)
def test_files_hold_the_prediction(place, tmp_path, monkeypatch, capsys, kind):
    name, root, model, source = place
    options, mode = MODES[kind]
    out = tmp_path / "out"
    arguments = ["--submission", name, "--data-dir", root, "--out", out, "--device", "cpu", *options]
    code, text, err = run(monkeypatch, capsys, "predict", source, *arguments)
    assert code == 0, err
    folder = out / FOLDERS[name].format("test")
    assert text.splitlines()[-1] == f"2 label maps of {name} test -> {folder}"
    images = create_dataset(name, root, "test").images
    files = sorted(path for path in out.rglob("*") if path.is_file())
    assert files == sorted(folder / f"{image.stem}.png" for image in images)
    for image in images:
        expected = gatezoo.predict(model, image, mode=mode)
        assert len(np.unique(expected)) > 2
        assert np.array_equal(classes_in(folder / f"{image.stem}.png", name), expected)


def test_names_are_those_that_the_cityscapes_server_looks_for(tmp_path):
    """As in getPrediction of the publishers' evaluation script: one CITY_123456_123456*.png for each label map."""
    trees.cityscapes(tmp_path / "root")
    list(write_submission(Predictor(network(19)), "cityscapes", tmp_path / "root", tmp_path / "out", split="val"))
    names = [path.name for path in (tmp_path / "out").iterdir()]
    labels = list((tmp_path / "root/gtFine/val").rglob("*_gtFine_labelIds.png"))
    assert len(labels) == len(names) == 2
    for path in labels:
        city, sequence, frame = path.name.split("_")[:3]
        assert len(fnmatch.filter(names, f"{city}_{sequence}_{frame}*.png")) == 1


def test_images_are_written_in_the_order_of_the_list(tmp_path):
    trees.voc12(tmp_path / "root")
    writing = write_submission(Predictor(network(21)), "voc12", tmp_path / "root", tmp_path / "out")
    pairs = list(writing)
    assert [image.stem for image, _ in pairs] == [file.stem for _, file in pairs] == list(trees.TEST)
    validation = write_submission(Predictor(network(21)), "voc12", tmp_path / "root", tmp_path / "out", split="val")
    assert next(iter(validation))[1].parent.name == "comp6_val_cls"


def test_depth_of_the_data_set_is_given_to_a_network_that_takes_it(tmp_path):
    trees.cityscapes(tmp_path / "root")
    model = network(19, "test_depthgate_given", loops=0, thresholds=(10.0, 20.0, 40.0, 80.0))
    data = create_dataset("cityscapes", tmp_path / "root", "test", depth=True)
    for number, (image, file) in enumerate(
        write_submission(Predictor(model), "cityscapes", tmp_path / "root", tmp_path / "out")
    ):
        depth = data.layers["depth"].read(data.layers["depth"].files[number])
        expected, reversed_depth = (gatezoo.predict(model, image, depth_map=d) for d in (depth, depth[:, ::-1].copy()))
        assert np.array_equal(classes_in(file, "cityscapes"), expected)
        assert (expected != reversed_depth).any()


def test_files_are_never_replaced(place, tmp_path):
    name, root, model, _ = place
    out, predictor = tmp_path / "out", Predictor(model)
    files = [file for _, file in write_submission(predictor, name, root, out)]
    before = [file.read_bytes() for file in files]
    with pytest.raises(ValueError, match=r"a submission must not replace files; .* exists: choose another folder"):
        next(write_submission(predictor, name, root, out))
    assert [file.read_bytes() for file in files] == before
    # The last of them alone is enough, before anything is predicted.
    files[0].unlink()
    with pytest.raises(ValueError, match=f"must not replace files; .*{files[1].name} exists"):
        next(write_submission(predictor, name, root, out))
    assert not files[0].exists()


def test_a_submission_does_not_replace_the_images(tmp_path):
    trees.cityscapes(tmp_path)
    folder = tmp_path / "leftImg8bit/test/aachen"
    with pytest.raises(ValueError, match="an output must not replace an input"):
        next(write_submission(Predictor(network(19)), "cityscapes", tmp_path, folder))


CASES = {
    "classes": (["--data-dir", "ROOT"], "the data must have the network's 4 classes; got 21"),
    "layout": (["--data-dir", "nowhere"], "PASCAL VOC 2012 must be laid out as ROOT/VOCdevkit"),
    "split": (["--data-dir", "ROOT", "--split", "tset"], "one of train, val, .*; got 'tset'. Did you mean test"),
    "no folder": ([], "--submission takes the images of a data set; got no --data-dir"),
    "images": (["a.jpg", "--data-dir", "ROOT"], "takes the images of a data set; got image a.jpg"),
    "overlays": (["--data-dir", "ROOT", "--show-iterations"], "label maps alone; got --show-iterations"),
    "labels": (["--data-dir", "ROOT", "--labels", "x"], "label maps alone; got --labels"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals_are_one_line(tmp_path, monkeypatch, capsys, case):
    options, message = CASES[case]
    trees.voc12(tmp_path / "root")
    gatezoo.save_pretrained(network(4 if case == "classes" else 21, "test_dignet"), tmp_path / "model")
    arguments = [tmp_path / "root" if option == "ROOT" else option for option in options]
    source, out = f"local-dir:{tmp_path / 'model'}", tmp_path / "out"
    code, _, err = run(
        monkeypatch, capsys, "predict", source, *arguments, "--submission", "voc12", "--out", out, "--device", "cpu"
    )
    assert code == 2
    assert re.search(message, err.splitlines()[-1]), err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--submission", "vco12", "--data-dir", "x"], "a submission must be one of cityscapes, voc12; got 'vco12'"),
        (["a.jpg", "--split", "test"], "--split is an option of a submission: pass --submission too"),
        (["a.jpg", "--data-dir", "x"], "--data-dir is an option of a submission"),
        ([], "there must be images to predict; got none"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, monkeypatch, capsys, arguments, message):
    gatezoo.save_pretrained(network(21), tmp_path / "model")
    source, out = f"local-dir:{tmp_path / 'model'}", tmp_path / "out"
    code, _, err = run(monkeypatch, capsys, "predict", source, *arguments, "--out", out)
    assert code == 2
    assert message in err.splitlines()[-1]


def test_classes_of_another_name_are_refused(tmp_path):
    trees.voc12(tmp_path / "root")
    names = [*voc.CLASSES[:7], voc.CLASSES[8], voc.CLASSES[7], *voc.CLASSES[9:]]
    gatezoo.save_pretrained(network(21), tmp_path / "model", class_names=names)
    predictor = Predictor(gatezoo.from_pretrained(tmp_path / "model"))
    with pytest.raises(ValueError, match="class 7 is 'cat' in the network and 'car' in the data"):
        next(write_submission(predictor, "voc12", tmp_path / "root", tmp_path / "out"))
