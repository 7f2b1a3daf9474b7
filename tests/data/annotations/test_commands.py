"""Commands on annotations: check, convert, fine-tune and evaluate, without an option that names the format."""

import json

import pytest
import torch
from helpers import annotations
from helpers.annotations import WRITERS
from helpers.commands import run

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.annotated import open_evaluated
from gatezoo.data.annotations.formats import open_source
from gatezoo.data.annotations.source import ReadOptions
from gatezoo.data.convert import convert_folder
from gatezoo.data.label_format import LabelFormat
from gatezoo.data.splits import FolderOptions, create_splits
from gatezoo.pretrained import PretrainedCfg
from gatezoo.publishing.model_folder import save_pretrained


@pytest.mark.parametrize("name", WRITERS)
def test_check_names_the_format_and_the_classes(name, tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "data", "check", WRITERS[name](tmp_path))
    assert code == 0
    assert out.startswith(f"format: {name}, ")
    assert "6 images with labels; suggested: num_classes 3" in " ".join(out.split())
    for label in ("background", "cell", "wall"):
        assert f"│ {label}" in out


def test_check_lists_all_errors(tmp_path, monkeypatch, capsys):
    root = annotations.labelme(tmp_path)
    (root / "0.json").write_text("{")
    (root / "1.png").unlink()
    content = json.loads((root / "2.json").read_text())
    content["shapes"][0]["points"] = [[1, 1], [2, 2]]
    (root / "2.json").write_text(json.dumps(content))
    annotations.image(root / "more.png")
    code, out, _ = run(monkeypatch, capsys, "data", "check", root)
    assert code == 2
    for text in (
        f"error: {root}/0.json: labelme annotations must be in JSON",
        f"error: {root}/1.json: its image {root}/1.png does not exist",
        f"error: {root}/2.json: this file, shape 1 ('cell'): a region must have at least 3 points; it has 2",
        f"warning: {root}/more.png: has no annotations and is left out",
        "3 errors,",
    ):
        assert text in out


def test_check_says_which_format_to_pass(tmp_path, monkeypatch, capsys):
    root = annotations.labelme(annotations.cvat(tmp_path) / "more").parent
    code, _, err = run(monkeypatch, capsys, "data", "check", root)
    assert code == 2
    assert err.count("\n") == 1
    assert "could be labelme (6 files) or cvat (annotations.xml): pass --format labelme or another of them" in err
    code, out, _ = run(monkeypatch, capsys, "data", "check", root, "--format", "cvat")
    assert code == 0, out
    code, _, err = run(monkeypatch, capsys, "data", "check", root, "--format", "cvta")
    assert "the format must be one of plain, labelme, yolo, coco, cvat, voc, numbered, hf; got 'cvta'" in err


def test_options_of_other_formats_are_refused(tmp_path, shapes, monkeypatch, capsys):
    root = annotations.labelme(tmp_path)
    code, _, err = run(monkeypatch, capsys, "data", "check", root, "--reduce-zero-label")
    assert code == 2
    assert "are for label maps" in err
    code, _, err = run(monkeypatch, capsys, "data", "check", shapes, "--unlabeled", "ignore")
    assert code == 2
    assert "--unlabeled is for annotated regions" in err
    with pytest.raises(ValueError, match="classes of annotations must be names; got 3"):
        create_splits(root, classes="3")


@pytest.mark.parametrize("name", WRITERS)
def test_converted_folder_has_the_same_labels(name, tmp_path):
    root, out = WRITERS[name](tmp_path / "data"), tmp_path / "out"
    counts = convert_folder(root, out, FolderOptions(), instances=True)
    assert counts == ({"train": 4, "val": 2} if name == "yolo" else {"": 6})
    part = out / ("train" if name == "yolo" else "")
    source = open_source(root, name).semantic("train" if name == "yolo" else None, ReadOptions())
    data = FolderDataset(part, 3)
    assert [path.name for path in data.images] == [path.name for path in source.images]
    assert all(torch.equal(data.labels(i), source.labels(i)) for i in range(len(data)))
    assert (out / "classes.txt").read_text().split()[::4] == ["background", "cell", "wall"]
    # Instances of the folder are those of the annotations but for overlaps.
    numbered = open_source(out, "numbered").instances("train" if name == "yolo" else None, ReadOptions())
    assert numbered.classes == ("background", "cell", "wall")
    assert numbered[0]["labels"].tolist() == [1, 2]


def test_conversion_leaves_nothing_half_written(tmp_path):
    root, out = annotations.labelme(tmp_path / "data"), tmp_path / "out"
    (root / "5.png").write_bytes((root / "5.png").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"5\.png"):
        convert_folder(root, out, FolderOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(ValueError, match=r"must be new or empty; .*out is not"):
        convert_folder(root, out, FolderOptions())


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for part in ("x", "y"):
        annotations.labelme(tmp_path / "data" / part, 2)
    convert_folder(tmp_path / "data", tmp_path / "out", FolderOptions())
    names = sorted(path.name for path in (tmp_path / "out/labels").iterdir())
    assert names == ["x_0.png", "x_1.png", "y_0.png", "y_1.png"]


def test_splits_of_the_format_are_taken_and_others_are_drawn(tmp_path):
    train_data, val_data = create_splits(annotations.yolo(tmp_path / "yolo"))
    assert [path.stem for path in train_data.images] == ["0", "1", "3", "4"]
    assert [path.stem for path in val_data.images] == ["2", "5"]
    train_data, val_data = create_splits(annotations.cvat(tmp_path / "cvat"), folder=FolderOptions(val_fraction=0.5))
    assert (len(train_data), len(val_data)) == (3, 3)
    assert train_data.classes == val_data.classes
    with pytest.raises(ValueError, match=r"has train, val, got 'dev'"):
        create_splits(tmp_path / "yolo", val_split="dev")


def test_another_folder_is_read_with_the_classes_of_the_first(tmp_path):
    root, other = annotations.labelme(tmp_path / "a"), annotations.labelme(tmp_path / "b", 2)
    for file in other.glob("*.json"):
        content = json.loads(file.read_text())
        del content["shapes"][0]  # no cell
        file.write_text(json.dumps(content))
    train_data, val_data = create_splits(root, val=other)
    assert (len(train_data), len(val_data)) == (6, 2)
    assert val_data.classes == train_data.classes == ("background", "cell", "wall")
    assert set(val_data.labels(0).unique().tolist()) == {0, 2}


def test_evaluation_reads_the_data_as_the_training_did(tmp_path):
    root = annotations.yolo(tmp_path)
    remembered = FolderOptions(label_format=LabelFormat(reduce_zero_label=True))  # of label maps, before
    data = open_evaluated(root, None, remembered, ("cell", "wall"), "semantic", False)
    assert [path.stem for path in data.images] == ["2", "5"]  # the split "val"
    assert (data.classes, set(data.labels(0).unique().tolist())) == (("cell", "wall"), {0, 1, 255})
    data = open_evaluated(root, "train", remembered, ("background", "wall", "cell"), "semantic", False)
    assert len(data) == 4
    assert (data.labels(0)[8:24, 8:24] == 2).all()
    with pytest.raises(ValueError, match="are for label maps"):
        open_evaluated(root, None, remembered, ("cell", "wall"), "semantic", True)


def weights(tmp_path, architecture, **options):
    """A folder of weights that nobody trained."""
    model = gatezoo.create_model(architecture, num_classes=5, **options)
    model.pretrained_cfg = PretrainedCfg(architecture, "camvid", 5, (0.4,) * 3, (0.2,) * 3)
    return save_pretrained(model, tmp_path / "weights")


def finetune(monkeypatch, capsys, source, root, out, *options):
    arguments = ("--data", root, "--out", out, "--steps", 2, "-b", 2, "--amp", "none", "-j", 0, *options)
    code, printed, err = run(monkeypatch, capsys, "finetune", f"local-dir:{source}", *arguments)
    assert code == 0, err
    return printed


@pytest.mark.parametrize(
    ("name", "unlabeled"), [("labelme", None), pytest.param("coco", "ignore", marks=pytest.mark.slow)]
)
def test_fine_tuning_needs_no_option_and_the_model_reads_the_same_data(name, unlabeled, tmp_path, monkeypatch, capsys):
    root = WRITERS[name](tmp_path / "data")
    options = ("--unlabeled", unlabeled) if unlabeled else ()
    source = weights(tmp_path, "test_dignet")
    printed = finetune(monkeypatch, capsys, source, root, tmp_path / "out", "--crop", 32, *options)
    assert printed.startswith(f"format: {name}, ")
    assert "5 images to train on, 1 held out" in printed
    folder = f"local-dir:{tmp_path / 'out/model'}"
    model = gatezoo.create_model(folder, pretrained=True)
    assert list(model.class_names) == [*(() if unlabeled else ("background",)), "cell", "wall"]
    # What was not labeled does not count in an evaluation either, without the option.
    arguments = ("--data", root, "-j", 0, "--out", tmp_path / "scores")
    code, _, err = run(monkeypatch, capsys, "eval", folder, *arguments)
    assert code == 0, err
    scores = json.loads((tmp_path / "scores/scores.json").read_text())["scores"]
    expected = open_source(root, name).semantic(None, ReadOptions(unlabeled=unlabeled or "background"))
    assert scores["miou"] == pytest.approx(gatezoo.evaluate(model, expected).scores.miou)
    image = root / ("images/0.png" if name == "coco" else "0.png")
    code, _, err = run(monkeypatch, capsys, "predict", folder, image, "--out", tmp_path / "predicted")
    assert code == 0, err


@pytest.mark.parametrize("name", [*WRITERS, "numbered"])
def test_instances_of_all_formats(name, tmp_path):
    root = annotations.numbered(tmp_path) if name == "numbered" else WRITERS[name](tmp_path)
    train_data, val_data = create_splits(root, task="instance", folder=FolderOptions(check=True))
    assert len(train_data) + len(val_data) == 6
    item = train_data[0]
    crowd = item.get("iscrowd", torch.zeros_like(item["labels"]))
    assert item["labels"][crowd == 0].tolist() == ([1, 1] if name == "numbered" else [1, 2])
    masks = item["masks"][crowd == 0]
    triangle = masks[0] if name == "numbered" else masks[1]
    assert (triangle.numpy() == (annotations.numbers() == 2)).mean() > 0.98
    square = masks[1] if name == "numbered" else masks[0]
    assert (square.numpy() == (annotations.numbers() == 300)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["labelme", "yolo", "coco", "numbered"])
def test_instances_are_fine_tuned_evaluated_and_predicted(name, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    annotations.numbered(root) if name == "numbered" else WRITERS[name](root)
    source = weights(tmp_path, "test_zigzag_maskrcnn")
    printed = finetune(monkeypatch, capsys, source, root, tmp_path / "out", "--crop", 64)
    assert printed.startswith(f"format: {name}, ")
    folder = f"local-dir:{tmp_path / 'out/model'}"
    names = ["background", *(["object"] if name == "numbered" else ["cell", "wall"])]
    assert list(gatezoo.create_model(folder, pretrained=True).class_names) == names
    code, out, err = run(monkeypatch, capsys, "eval", folder, "--data", root, "-j", 0)
    assert code == 0, err
    assert "mask AP" in out
    image = next(path for path in sorted(root.rglob("*.png")) if "instances" not in path.parts)
    code, _, err = run(monkeypatch, capsys, "predict", folder, image, "--out", tmp_path / "predicted")
    assert code == 0, err
