"""Data sets of Hugging Face ``datasets``: parquet files, ``save_to_disk`` and the Hub, as a plain folder reads them."""

import json
import pickle
import sys
from pathlib import Path

import datasets
import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from datasets import ClassLabel, DatasetDict, Image, List, Value
from helpers import hf
from helpers.commands import run
from helpers.hf import NAMES
from huggingface_hub import constants
from torch.utils.data import DataLoader

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.annotated import open_evaluated
from gatezoo.data.annotations.formats import guess_format, open_source
from gatezoo.data.annotations.hf_columns import find_columns
from gatezoo.data.annotations.source import ReadOptions
from gatezoo.data.label_format import LabelFormat
from gatezoo.data.splits import FolderOptions, create_splits
from gatezoo.pretrained import PretrainedCfg
from gatezoo.publishing.model_folder import save_pretrained
from gatezoo.utils.images import load_image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of datasets, which it makes when it writes something."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache/datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache/hub"))
    return tmp_path / "cache"


@pytest.fixture
def hub_data(hub, tmp_path, monkeypatch):
    """A plain folder, and a hub with the same data set, org/data."""
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    root, plain = hf.both(tmp_path)
    hub.put("org/data", {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.parquet")})
    return plain


def assert_same_items(data, expected):
    assert len(data) == len(expected) > 0
    assert data.classes == expected.classes
    for item, other in zip(data, expected):
        assert item["image"].dtype == other["image"].dtype
        assert torch.equal(item["image"], other["image"])
        assert torch.equal(item["mask"], other["mask"])


def test_items_are_those_of_the_plain_folder(tmp_path):
    root, plain = hf.both(tmp_path)
    assert str(guess_format(root)) == "format: hf, 2 parquet files"
    for data, expected in zip(create_splits(root, classes=NAMES), create_splits(plain, classes=NAMES)):
        assert_same_items(data, expected)
        assert set(data.labels(0).unique().tolist()) == {0, 1, 2}
        assert data.class_frequencies().equal(expected.class_frequencies())


def test_rows_are_mapped_and_reach_worker_processes(tmp_path):
    root, plain = hf.both(tmp_path)
    data, _ = create_splits(root, classes=NAMES)
    stored = sum(file.stat().st_size for file in plain.rglob("train/*/*.png"))
    packed = pickle.dumps(data)
    assert len(packed) < stored / 10
    assert torch.equal(pickle.loads(packed)[7]["image"], data[7]["image"])
    batches = list(DataLoader(data, 5, num_workers=2, multiprocessing_context="fork"))
    assert torch.equal(torch.cat([batch["image"] for batch in batches]), torch.stack([item["image"] for item in data]))
    # The order of the rows is free, and the check of a resumed training knows the rows by the files in the cache.
    assert torch.equal(data.subset([9, 2])[1]["image"], data[2]["image"])
    assert [file.suffix for file in data.annotation_files] == [".arrow"] * 2


def test_saved_data_sets_are_read_as_they_are(tmp_path, cache):
    root, plain = hf.both(tmp_path)
    train = datasets.Dataset.from_parquet(str(root / "data/train-00000-of-00001.parquet"), cache_dir=tmp_path / "other")
    DatasetDict({"train": train}).save_to_disk(tmp_path / "saved")
    train.save_to_disk(tmp_path / "alone")
    expected = FolderDataset(plain / "train", NAMES.split(","))
    for name in ("saved", "alone"):
        assert str(guess_format(tmp_path / name)) == "format: hf, Arrow files"
        for once in (False, True):
            source = open_source(tmp_path / name, "hf", once)
            assert_same_items(source.semantic("train", ReadOptions(NAMES.split(","))), expected)
    assert not cache.exists()


def test_check_reports_as_of_the_plain_folder(tmp_path, monkeypatch, capsys, cache):
    root, plain = hf.both(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "data", "check", root)
    assert code == 0
    assert out.startswith("format: hf, 2 parquet files\n")
    assert "25 images with labels; suggested: num_classes 3" in " ".join(out.split())
    code, of_train, _ = run(monkeypatch, capsys, "data", "check", plain / "train", "--classes", NAMES)
    code, out, _ = run(monkeypatch, capsys, "data", "check", root, "--classes", NAMES)
    shares = [[line.split("│")[2:4] for line in text.splitlines() if "│" in line] for text in (of_train, out)]
    assert shares[0] == shares[1] != []
    assert not list(cache.rglob("*.arrow"))


def test_conversion_streams_and_copies_the_files(tmp_path, monkeypatch, capsys, cache):
    root, plain = hf.both(tmp_path)
    out = tmp_path / "out"
    code, printed, err = run(monkeypatch, capsys, "data", "convert", root, "--out", out, "--classes", NAMES)
    assert code == 0, err
    assert printed.endswith(f"20 images -> {out / 'train'}\n5 images -> {out / 'val'}\n")
    for file in plain.rglob("images/*"):
        assert (out / file.relative_to(plain)).read_bytes() == file.read_bytes()
    for split in ("train", "val"):
        expected = FolderDataset(plain / split, NAMES.split(","))
        assert_same_items(FolderDataset(out / split, NAMES.split(",")), expected)
    assert not list(cache.rglob("*.arrow"))


def test_streams_hold_few_rows_at_once(tmp_path):
    root, _ = hf.both(tmp_path)
    parts = [(part.entries[0].split, len(part.entries)) for part in open_source(root, "hf", once=True).parts()]
    assert parts == [("train", 16), ("train", 4), ("val", 5)]


def test_converted_images_have_the_suffix_of_their_format(tmp_path, monkeypatch, capsys):
    values = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    label = hf.encoded(np.zeros((40, 40), np.uint8))
    images = [hf.encoded(values, name) for name in ("JPEG", "TIFF", "BMP", "WEBP")]
    columns = {"image": [{"bytes": data} for data in images], "mask": [{"bytes": label}] * 4}
    root = hf.write(tmp_path / "data", {"train": hf.dataset(columns)})
    code, _, err = run(monkeypatch, capsys, "data", "convert", root, "--out", tmp_path / "out", "--classes", "a,b")
    assert code == 0, err
    names = [path.name for path in FolderDataset(tmp_path / "out/train", 2).images]
    assert names == ["row000000.jpg", "row000001.tif", "row000002.bmp", "row000003.webp"]


def write_rows(tmp_path, labels, images=None, name="label"):
    images = images or [hf.encoded(np.full((40, 40, 3), 90, np.uint8))] * len(labels)
    columns = {"image": [{"bytes": data} for data in images], name: [data and {"bytes": data} for data in labels]}
    return hf.write(tmp_path / "data", {"train": hf.dataset(columns)})


def ids(*values, size=(40, 40), dtype=np.uint8):
    """A label map with stripes of some values."""
    return np.resize(np.repeat(np.array(values, dtype), 8), size)


def test_label_maps_have_the_options_of_plain_folders(tmp_path, monkeypatch, capsys):
    many = write_rows(tmp_path / "a", [hf.encoded(ids(0, 300, 7, dtype=np.uint16))] * 4)
    mapping = LabelFormat(ids={0: 0, 300: 1, 7: 255})
    data, _ = create_splits(many, classes="2", folder=FolderOptions(label_format=mapping))
    assert (data.classes, data.labels(0)[0, :24].tolist()) == (("0", "1"), [0] * 8 + [1] * 8 + [255] * 8)
    assert data.label_format == mapping
    code, out, _ = run(monkeypatch, capsys, "data", "check", many, "--label-map", "0=0", "--label-map", "300=1")
    assert code == 2
    assert f"error: {many}/train/row000000/label: holds 7 (" in out
    from_one = write_rows(tmp_path / "b", [hf.encoded(ids(0, 1, 2))] * 4)
    data, _ = create_splits(from_one, classes="a,b", folder=FolderOptions(label_format=LabelFormat(None, True)))
    assert data.labels(0)[0, :24].tolist() == [255] * 8 + [0] * 8 + [1] * 8
    colors = np.array([(255, 0, 0), (0, 0, 9)], np.uint8)[ids(0, 1)]
    (tmp_path / "list.txt").write_text("wall 0 0 9\nred 255 0 0\n")
    arguments = ("--rgb", "--classes", tmp_path / "list.txt")
    colored = write_rows(tmp_path / "c", [hf.encoded(colors)] * 4)
    code, out, _ = run(monkeypatch, capsys, "data", "check", colored, *arguments)
    assert code == 0, out
    code, _, err = run(monkeypatch, capsys, "data", "check", from_one, "--unlabeled", "ignore")
    assert code == 2
    assert "--unlabeled is for annotated regions" in err


def test_images_of_many_bits_are_read_as_from_files(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65535, (40, 40, 3), dtype=np.uint16)
    files = [tmp_path / "gray.png", tmp_path / "color.png", tmp_path / "color.tif"]
    files[0].write_bytes(hf.encoded(deep[..., 0]))
    files[1].write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(files[2], deep)
    root = write_rows(tmp_path, [hf.encoded(ids(0, 1))] * 3, [file.read_bytes() for file in files])
    data = open_source(root, "hf").semantic("train", ReadOptions(["a", "b"]))
    for item, file in zip(data, files):
        assert item["image"].dtype == torch.float32
        assert torch.equal(item["image"], load_image(file))
    assert torch.equal(data[1]["image"], data[2]["image"])


def test_evaluation_reads_labels_as_the_training_did(tmp_path):
    root = write_rows(tmp_path, [hf.encoded(ids(0, 1, 2))] * 4)
    remembered = FolderOptions(label_format=LabelFormat(reduce_zero_label=True))
    data = open_evaluated(root, "train", remembered, ("a", "b"), "semantic", False)
    assert data.labels(0)[0, :24].tolist() == [255] * 8 + [0] * 8 + [1] * 8


def test_errors_name_the_split_and_the_row(tmp_path, monkeypatch, capsys):
    good, small = hf.encoded(ids(0, 1)), hf.encoded(ids(0, 1, size=(20, 30)))
    images = [hf.encoded(np.full((40, 40, 3), 90, np.uint8))] * 3 + [b"GIF, or not"]
    root = write_rows(tmp_path, [good, small, None, good], images)
    data = open_source(root, "hf").semantic("train", ReadOptions(["a", "b"]))  # which decodes nothing
    row = f"{root}/train/row00000"
    with pytest.raises(ValueError, match=rf"{row}1/label is \(20, 30\), row000001 \(40, 40\)"):
        data[1]
    with pytest.raises(ValueError, match=f"rows must hold the content of image and label map; {row}2/label has none"):
        data[2]
    with pytest.raises(ValueError, match=f"{row}3 is not"):
        data[3]
    code, out, _ = run(monkeypatch, capsys, "data", "check", root)
    assert code == 2
    for text in (f"error: {row}1/label: ", f"error: {row}2/label: ", f"error: {row}3: ", "3 errors,"):
        assert text in out
    with pytest.raises(ValueError, match=r"row000001/label: .*\(3 errors in all"):
        create_splits(root, classes="a,b", folder=FolderOptions(check=True))
    code, _, err = run(monkeypatch, capsys, "data", "convert", root, "--out", tmp_path / "out", "--classes", "a,b")
    assert code == 2
    assert (f"{row}1/label" in err, err.count("\n")) == (True, 1)
    assert not (tmp_path / "out").exists()


def test_paths_in_a_table_are_not_followed(tmp_path):
    _, plain = hf.both(tmp_path)
    columns = {"image": [{"path": str(plain / "train/images/row000000.png")}], "label": [{"bytes": b"x"}]}
    features = {name: {"bytes": Value("binary"), "path": Value("string")} for name in columns}
    data = datasets.Dataset.from_dict(columns, datasets.Features(features)).cast(
        datasets.Features({name: Image(decode=False) for name in columns})
    )
    DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    source = open_source(tmp_path / "saved", "hf")
    source.rows["train"] = data  # save_to_disk has put the file into the table
    with pytest.raises(ValueError, match="rows must hold the content"):
        source.semantic("train", ReadOptions(["a"]))[0]


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (("image", "label"), (None, None), ("image", "label")),
        (("pixel_values", "annotation"), (None, None), ("pixel_values", "annotation")),
        (("image", "depth", "Mask"), (None, None), ("image", "Mask")),
        (("photo", "gt"), ("photo", "gt"), ("photo", "gt")),
        (("image", "gt"), (None, "gt"), ("image", "gt")),
        (("image", "mask", "label"), (None, "mask"), ("image", "mask")),
        (("label", "mask"), ("label", "mask"), ("label", "mask")),
        (("image",), (None, None), None),
        (("image", "gt"), (None, None), None),
        (("image", "mask", "label"), (None, None), None),
        (("a", "b", "mask"), (None, None), None),
        (("image", "mask"), (None, "masks"), None),
        ((), (None, None), None),
    ],
)
def test_columns_are_found_by_type_and_name(names, given, expected):
    features = {**{name: Image() for name in names}, "scene": ClassLabel(names=["x"]), "labels": Value("int64")}
    if expected:
        assert find_columns(Path("data"), features, given) == expected
        return
    with pytest.raises(ValueError, match="must have one column of the type Image for images and one for") as error:
        find_columns(Path("data"), features, given)
    assert "scene (ClassLabel), labels (Value): pass --format hf --images COLUMN --labels COLUMN" in str(error.value)
    assert all(f"{name} (Image)" in str(error.value) for name in names)


def test_columns_can_be_given(tmp_path, monkeypatch, capsys):
    root = write_rows(tmp_path, [hf.encoded(ids(0, 1))] * 2, name="gt")
    code, _, err = run(monkeypatch, capsys, "data", "check", root)
    assert (code, err.count("\n")) == (2, 1)
    assert "has image (Image), gt (Image): pass --format hf --images COLUMN --labels COLUMN" in err
    code, _, err = run(monkeypatch, capsys, "data", "check", root, "--format", "hf", "--labels", "gt")
    assert code == 0, err


def test_class_names_come_from_the_option_a_file_or_a_column(tmp_path):
    def names(root, classes=None):
        return open_source(root, "hf").class_names(ReadOptions(classes))

    label = [{"bytes": hf.encoded(ids(0, 1))}]
    columns = {"image": [{"bytes": hf.encoded(np.zeros((40, 40, 3), np.uint8))}], "label": label, "shown": [[0]]}
    listed = {"shown": List(ClassLabel(names=["sky", "road"]))}
    root = hf.write(tmp_path / "a", {"train": hf.dataset(columns, **listed)})
    assert names(root) == ("sky", "road")
    both = hf.dataset(columns | {"other": [[0]]}, **listed, other=List(ClassLabel(names=["p", "q"])))
    with pytest.raises(ValueError, match=r"the classes of label maps must be known; .*two names none"):
        names(hf.write(tmp_path / "two", {"train": both}))
    (root / "id2label.json").write_text(json.dumps({"1": "tree", "0": "house"}))
    assert names(root) == ("house", "tree")
    (root / "classes.txt").write_text("x 1 2 3\ny 4 5 6\n")
    assert names(root) == ("x", "y")
    assert open_source(root, "hf").semantic("train", ReadOptions()).palette == ((1, 2, 3), (4, 5, 6))
    assert names(root, ("p", "q")) == ("p", "q")
    # The class of the whole image is none of its pixels.
    columns["shown"] = [0]
    root = hf.write(tmp_path / "b", {"train": hf.dataset(columns, shown=ClassLabel(names=["beach", "street"]))})
    with pytest.raises(ValueError, match=r"the classes of label maps must be known; .*b names none: pass --classes"):
        names(root)
    (root / "id2label.json").write_text(json.dumps({"1": "tree", "3": "house"}))
    with pytest.raises(ValueError, match=r"names of classes must be by number from 0, without gaps; .*id2label\.json"):
        names(root)


def test_empty_splits(tmp_path, monkeypatch, capsys):
    full = hf.dataset(hf.rows(tmp_path / "plain", 6))
    root = hf.write(tmp_path / "a", {"train": full, "validation": full.select([])})
    train_data, val_data = create_splits(root, classes=NAMES)
    assert (len(train_data), len(val_data)) == (5, 1)  # held out
    code, out, _ = run(monkeypatch, capsys, "data", "check", root)
    assert code == 0
    assert f"warning: {root}/validation: has no rows" in out
    root = hf.write(tmp_path / "b", {"train": full.select([]), "validation": full})
    with pytest.raises(ValueError, match="b/train: has no rows"):
        create_splits(root, classes=NAMES)
    for command in (("check", root), ("convert", root, "--out", tmp_path / "out", "--classes", NAMES)):
        code, out, err = run(monkeypatch, capsys, "data", *command)
        assert code == 2
        assert f"{root}/train: has no rows" in out + err
    assert not (tmp_path / "out").exists()


def test_instances_and_damaged_files_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    root, _ = hf.both(tmp_path)
    with pytest.raises(ValueError, match=r"instances must be separate in the annotations; .*parquet \(hf\) has none"):
        create_splits(root, task="instance")
    file = root / "data/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    for opened in (lambda: open_source(root, "hf"), lambda: list(open_source(root, "hf", once=True).parts())):
        with pytest.raises(ValueError, match=r"must be readable by datasets; .*: write its files again") as error:
            opened()
        assert "\n" not in str(error.value)
    code, _, err = run(monkeypatch, capsys, "data", "check", tmp_path / "no/folder", "--format", "hf")
    assert code == 2
    assert "there is no folder" in err  # which datasets would look up on the Hub
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, _, err = run(monkeypatch, capsys, "data", "check", root)
    assert code == 2
    assert 'needs the package datasets: run pip install "gatezoo[hf]"' in err


def test_fine_tuning_and_evaluation_need_no_option(tmp_path, monkeypatch, capsys):
    root, plain = hf.both(tmp_path)
    (root / "classes.txt").write_text(NAMES.replace(",", "\n"))
    model = gatezoo.create_model("test_dignet", num_classes=5)
    model.pretrained_cfg = PretrainedCfg("test_dignet", "camvid", 5, (0.4,) * 3, (0.2,) * 3)
    source = save_pretrained(model, tmp_path / "weights")
    arguments = ("--steps", 2, "-b", 2, "--crop", 32, "--amp", "none", "-j", 2, "--out", tmp_path / "out")
    code, printed, err = run(monkeypatch, capsys, "finetune", f"local-dir:{source}", "--data", root, *arguments)
    assert code == 0, err
    assert printed.startswith("format: hf, 2 parquet files")
    assert "20 images to train on, 5 held out" in printed
    folder = f"local-dir:{tmp_path / 'out/model'}"
    model = gatezoo.create_model(folder, pretrained=True)
    assert list(model.class_names) == NAMES.split(",")
    code, _, err = run(monkeypatch, capsys, "eval", folder, "--data", root, "-j", 0, "--out", tmp_path / "scores")
    assert code == 0, err
    scores = json.loads((tmp_path / "scores/scores.json").read_text())["scores"]
    expected = gatezoo.evaluate(model, FolderDataset(plain / "val", NAMES.split(","))).scores.miou
    assert scores["miou"] == pytest.approx(expected)


def test_check_and_conversion_of_the_hub_stream(hub_data, hub, tmp_path, monkeypatch, capsys, cache):
    code, out, err = run(monkeypatch, capsys, "data", "check", "hf:org/data", "--classes", NAMES)
    assert code == 0, err
    assert out.startswith("format: hf, a data set of the Hub\n")
    assert "25 images with labels" in out
    arguments = ("hf:org/data", "--out", tmp_path / "out", "--classes", NAMES)
    code, _, err = run(monkeypatch, capsys, "data", "convert", *arguments)
    assert code == 0, err
    for split in ("train", "val"):
        expected = FolderDataset(hub_data / split, NAMES.split(","))
        assert_same_items(FolderDataset(tmp_path / "out" / split, NAMES.split(",")), expected)
    assert not [file for file in cache.rglob("*") if file.suffix in (".arrow", ".parquet")]


def test_training_from_the_hub_downloads_once_and_then_needs_no_network(hub_data, hub, monkeypatch, caplog):
    options = FolderOptions(check=True)
    for data, expected in zip(
        create_splits("hf:org/data", classes=NAMES, folder=options), create_splits(hub_data, classes=NAMES)
    ):
        assert_same_items(data, expected)
    assert str(data.images[0]) == "hf:org/data/validation/row000000"
    commit = hub.repos["org/data"].refs["main"]
    assert len(create_splits(Path(f"hf:org/data@{commit}"), classes=NAMES)[0]) == 20
    assert len(create_splits("hf:org/data:default@main", classes=NAMES)[0]) == 20
    assert len([request for request in hub.counted("GET") if request.endswith(".parquet")]) == 2
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert len(create_splits("hf:org/data", classes=NAMES)[0]) == 20
    assert len(create_splits(f"hf:org/data@{commit}", classes=NAMES)[0]) == 20
    other = f"hf:org/data@{'0' * 40}"
    with pytest.raises(ValueError, match=f"the revision must be in the cache .*; {other} is there as {commit}"):
        create_splits(other, classes=NAMES)
    assert hub.requests == []


def test_a_revision_is_the_one_that_is_read(hub_data, hub, tmp_path):
    first = hub.repos["org/data"].refs["main"]
    root = hf.write(tmp_path / "new", {"train": hf.dataset(hf.rows(tmp_path / "more", 7))})
    hub.put("org/data", {"data/train-00000-of-00001.parquet": next(root.glob("data/*")).read_bytes()})
    for name, count in (("hf:org/data", 7), (f"hf:org/data@{first}", 20)):
        for once in (True, False):
            parts = list(open_source(Path(name), "hf", once).parts())
            assert sum(entry.split == "train" for part in parts for entry in part.entries) == count


def test_what_the_hub_lacks_is_named_in_one_line(hub_data, hub, monkeypatch, capsys):
    for name, text in {
        "hf:org/none": "hf:org/none is not: Dataset 'org/none' doesn't exist on the Hub or cannot be accessed",
        "hf:org/data:large": "BuilderConfig 'large' not found. Available: ['default']",
        "hf:org/data@v9": "hf:org/data@v9 is not: ",
        "hf:data": "a repository must be org/name; got 'data': give both",
        "hf:": "a repository must be org/name",
    }.items():
        code, _, err = run(monkeypatch, capsys, "data", "check", name)
        assert (code, err.count("\n")) == (2, 1), err
        assert text in err
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = run(monkeypatch, capsys, "data", "check", "hf:org/data")
    assert (code, err.count("\n")) == (2, 1), err
    assert "hf:org/data is not: Couldn't reach 'org/data' on the Hub (OfflineModeIsEnabled): check its name" in err
