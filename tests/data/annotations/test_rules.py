"""Order of drawing, memory, and what is wrong with files: one line that names the file."""

import json
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from helpers import annotations
from helpers.annotations import SIZE, SQUARE, WRITERS
from PIL import Image

from gatezoo.data.annotations.formats import guess_format, open_source
from gatezoo.data.annotations.source import ReadOptions, split_of


def labels_of(root, index=0, **options):
    source = open_source(root, guess_format(root).name)
    return source.semantic(None, ReadOptions(**options)).labels(index).numpy()


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_read_the_same(name, tmp_path):
    root = WRITERS[name](tmp_path)
    found = labels_of(root)
    assert (found[8:24, 12:24] == 1).all()
    expected = {0: "background", 300: 1, 2: 2}
    for number, k in ((300, 1), (2, 2)):
        inside = (annotations.numbers() == number) & (np.mgrid[: SIZE[0], : SIZE[1]][1] >= 12)
        assert (found[inside] == k).mean() > 0.95, expected[number]  # but for the edge of the triangle
    crowd = found[:, :12]
    assert set(np.unique(crowd)) == ({1, 255} if name == "coco" else {0, 1})  # the square lies on the crowd


def test_later_shapes_cover_earlier_ones(tmp_path):
    root = annotations.labelme(tmp_path, 1)
    over = [(16, 16), (40, 16), (40, 30), (16, 30)]

    def add(content):
        content["shapes"].append({"label": "wall", "points": over, "shape_type": "polygon"})

    edit_json(root / "0.json", add)
    assert (labels_of(root)[16:30, 16:40] == 2).all()
    edit_json(root / "0.json", lambda content: content["shapes"].reverse())
    assert (labels_of(root)[16:24, 16:24] == 1).all()


def test_order_of_cvat_is_z_order_then_the_file(tmp_path):
    root = annotations.cvat(tmp_path, 1)
    file = root / "annotations.xml"
    box = '<box label="wall" xtl="16" ytl="16" xbr="40" ybr="30" z_order="{}"/><tag'
    text = file.read_text()
    for z, expected in ((-1, 1), (0, 2), (3, 2)):
        file.write_text(text.replace("<tag", box.format(z)))
        assert (labels_of(root)[16:24, 16:24] == expected).all(), z
    assert labels_of(root)[29, 17] == 2


def test_a_background_shape_cuts_a_hole(tmp_path):
    root = annotations.labelme(tmp_path, 1)
    hole = {"label": "_background_", "points": [(10, 10), (20, 20)], "shape_type": "rectangle"}
    edit_json(root / "0.json", lambda content: content["shapes"].append(hole))
    found = labels_of(root)
    assert not found[10:20, 10:20].any()
    assert found[8:24, 8:24].sum() == 256 - 100


def test_colors_of_cvat_are_the_palette(tmp_path):
    data = open_source(annotations.cvat(tmp_path, 1), "cvat").semantic(None, ReadOptions())
    assert data.palette == ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def test_splits_are_told_by_names():
    names = {"instances_train2017": "train", "valid": "val", "Validation": "val", "test": "test", "trainval": ""}
    assert {name: split_of(name) for name in names} == names


def shape(**fields):
    def edit(content):
        content["shapes"][0] |= fields

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            shape(points=[[1, 1], [2, 2]]),
            r"0\.json, shape 1 \('cell'\): a region must have at least 3 points; it has 2",
        ),
        (shape(points=[[1, 1], [2, None], [3, 3]]), r"0\.json, shape 1 .*pairs of finite numbers"),
        (shape(points=[[1, 1], [2e9, 5], [3, 3]]), r"0\.json, shape 1 .*far outside"),
        (shape(shape_type="linestrip"), r"0\.json, shape 1 .*a 'linestrip' has no area: draw it as a polygon"),
        (shape(shape_type="circle"), r"0\.json, shape 1 .*must have 2 points; it has 4"),
        (shape(shape_type="mask", points=[[1, 1], [3, 3]], mask="xx"), r"0\.json, shape 1 .*a PNG in base64"),
        (shape(label=5), r"0\.json: shapes of .* must have label, points and group_id; in this file one is"),
        (lambda content: content.update(shapes={}), r"0\.json: .* a list of shapes .*; this file has others"),
        (lambda content: content.update(imageHeight=50), r"0\.json it is \(50, 64\), that of the image \(48, 64\)"),
        (lambda content: content.update(imagePath="x/no.png"), "other"),
    ],
)
def test_wrong_labelme_files(edit, message, tmp_path):
    root = annotations.labelme(tmp_path, 2)
    edit_json(root / "0.json", edit)
    if message == "other":  # the image beside the file is taken
        assert labels_of(root).any()
        (root / "0.png").unlink()
        message = r"0\.json: its image .*no\.png does not exist"
    with pytest.raises(ValueError, match=message) as error:
        labels_of(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("labelme", "0.json", "{", r"0\.json: labelme annotations must be in JSON; this file does not hold it"),
        ("yolo", "train/labels/0.txt", "0 .1 .1 .5 .5", r"0\.txt, line 1: a line must be a polygon; it is a box"),
        (
            "yolo",
            "train/labels/0.txt",
            "\n0 .1 .1 .5 .5 .2",
            r"0\.txt, line 2: .*three pairs of numbers or more; it has 5",
        ),
        ("yolo", "train/labels/0.txt", "2 .1 .1 .5 .5 .2 .7", r"0\.txt, line 1: a class must be in 0 \.\. 1; it is 2"),
        ("yolo", "train/labels/0.txt", "0 12 8 40 8 40 30", r"0\.txt, line 1: .*far outside"),
        ("yolo", "train/labels/0.txt", "cell .1 .1", r"0\.txt, line 1: a line must be CLASS X1 Y1"),
        (
            "yolo",
            "data.yaml",
            "names: [a, a]\ntrain: train/images",
            r"class names must differ; .*data\.yaml has 'a' 2 times",
        ),
        ("yolo", "data.yaml", "names: [a, b]\ntrain: nowhere", r"data\.yaml has 'nowhere'"),
        ("yolo", "data.yaml", "names: {1: a}\ntrain: train/images", r"names must be numbered 0, 1, 2"),
        ("yolo", "data.yaml", "names: [a\ntrain: x", r"data\.yaml must be YAML; it cannot be read"),
        (
            "yolo",
            "data.yaml",
            "names: [a, b]\nnc: 3\ntrain: x",
            r"nc must be the number of names; in .*data\.yaml it is 3",
        ),
        ("cvat", "annotations.xml", "<annotations><image", r"must be XML; .*annotations\.xml cannot be read"),
        ("cvat", "annotations.xml", "<annotations></annotations>", r"annotations\.xml lists none"),
    ],
)
def test_wrong_files(name, file, content, message, tmp_path):
    root = WRITERS[name](tmp_path)
    (root / file).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        labels_of(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('points="8,8;', 'points="8;', r"annotations\.xml, image '0\.png', polygon \('cell'\): points must be pairs"),
        ("<polygon", "<polyline", r"polyline \('cell'\): a polyline has no area"),
        ('label="cell"', "", r"a shape must have a label"),
        ('label="cell"', 'label="cat"', r"labels must be among the classes background, cell, wall; .* has 'cat'"),
        ('width="64"', 'width="65"', r"it is \(48, 65\), that of the image \(48, 64\)"),
        ('width="64"', 'width="wide"', r"width must be a number"),
        ("<name>wall", "<name>cell", r"labels must differ; .*annotations\.xml has 'cell' twice"),
        ("<image", "<track/><image", r"annotations\.xml has tracks"),
        ('name="0.png"', 'name="9.png"', r"annotations\.xml: its image .*9\.png does not exist"),
        (
            "<tag",
            '<mask label="cell" rle="1, 2" left="0" top="0" width="4" height="4"/><tag',
            r"mask \('cell'\): run lengths must add up",
        ),
    ],
)
def test_wrong_cvat_shapes(old, new, message, tmp_path):
    root = annotations.cvat(tmp_path)
    file = root / "annotations.xml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        labels_of(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.update(segmentation=[[1, 1, 2, 2]]), r"annotation 0: a region must have at least 3 points"),
        (lambda a: a.update(segmentation=[[1, 1, 2, 2, 3, 3, 4]]), r"annotation 0: polygons must be pairs of numbers"),
        (lambda a: a.update(segmentation=[]), r"annotation 0.* cannot be drawn"),
        (lambda a: a.update(segmentation={"size": [9, 9], "counts": [81]}), r"run lengths must have the size of"),
        (lambda a: a.update(category_id=4), r"annotation 0 has category 4"),
    ],
)
def test_wrong_coco_annotations(edit, message, tmp_path):
    root = annotations.coco(tmp_path, 2)
    edit_json(root / "annotations.json", lambda content: edit(content["annotations"][0]))
    with pytest.raises(ValueError, match=message):
        labels_of(root)


def test_files_of_coco_must_agree(tmp_path):
    root = annotations.coco(tmp_path, 2)
    content = json.loads((root / "annotations.json").read_text())
    (root / "annotations.json").rename(root / "train.json")
    (root / "val.json").write_text(
        json.dumps(content | {"categories": [*content["categories"], {"id": 9, "name": "x"}]})
    )
    with pytest.raises(ValueError, match=r"the same categories; .*val\.json has others than .*train\.json"):
        labels_of(root)


def test_unknown_labels_name_file_and_fix(tmp_path):
    root = annotations.labelme(tmp_path)
    with pytest.raises(
        ValueError, match=r"among the classes background, cell; .*0\.json has 'wall': add it to --class"
    ):
        labels_of(root, classes=["cell"])


def test_points_outside_the_image_are_cut_off(tmp_path):
    root = annotations.labelme(tmp_path, 1)
    edit_json(root / "0.json", shape(points=[(-5, -5), (70, -5), (70, 5), (-5, 5)]))
    assert (labels_of(root)[:5] == 1).all()


def test_a_huge_json_is_refused_before_it_is_read(tmp_path, monkeypatch):
    root = annotations.labelme(tmp_path)
    monkeypatch.setattr("gatezoo.data.annotations.labelme.MAX_BYTES", 100)
    with pytest.raises(ValueError, match=r"0\.json: labelme annotations must have at most 0 MiB"):
        open_source(root, "labelme").semantic(None, ReadOptions())


def test_ambiguous_and_unknown_folders(tmp_path):
    root = annotations.yolo(tmp_path)
    assert guess_format(tmp_path / "train") is None
    annotations.labelme(root / "more", 1)
    with pytest.raises(ValueError, match=r"could be labelme \(1 files\) or yolo \(data\.yaml\): pass --format labelme"):
        guess_format(root)
    shutil.rmtree(root / "more")
    assert guess_format(root).name == "yolo"


def test_numbered_masks_are_plain_where_there_are_labels(tmp_path):
    root = annotations.numbered(tmp_path)
    assert guess_format(root).name == guess_format(root, "instance").name == "numbered"
    item = open_source(root, "numbered").instances(None, ReadOptions())[0]
    assert item["labels"].tolist() == [1, 1]
    (root / "labels").mkdir()
    for file in (root / "instances").iterdir():
        classes = 2 * (annotations.numbers() == 2) + (annotations.numbers() == 300)
        Image.fromarray(classes.astype(np.uint8)).save(root / "labels" / file.name)
    (root / "classes.txt").write_text("background\ncell\nwall\n")
    assert (guess_format(root).name, guess_format(root, "instance").name) == ("plain", "numbered")
    data = open_source(root, "numbered").instances(None, ReadOptions())
    assert data.classes == ("background", "cell", "wall")
    assert data[0]["labels"].tolist() == [2, 1]


def many_polygons(name, root, step):
    """Write an image of 1500 x 1500 that squares cover, one every ``step`` pixels."""
    side = 1500
    polygons = [[(x + dx, y + dy) for dx, dy in SQUARE] for x in range(0, side, step) for y in range(0, side, step)]
    WRITERS[name](root, 1)
    Image.new("RGB", (side, side)).save(root / ("0.png" if name == "labelme" else "images/0.png"))
    if name == "labelme":
        shapes = [{"label": "cell", "points": points, "shape_type": "polygon"} for points in polygons]
        edit_json(root / "0.json", lambda content: content.update(shapes=shapes, imageHeight=side, imageWidth=side))
    else:
        fields = {"image_id": 0, "category_id": 3, "bbox": [0, 0, 9, 9]}
        rows = [fields | {"segmentation": [[float(v) for p in points for v in p]]} for points in polygons]
        edit_json(root / "annotations.json", lambda content: content.update(annotations=rows))
        edit_json(root / "annotations.json", lambda content: content["images"][0].update(height=side, width=side))
    return len(polygons)


@pytest.mark.parametrize("name", ["labelme", "coco"])
def test_masks_are_drawn_one_by_one(name, tmp_path):
    count = many_polygons(name, tmp_path, 75)
    tracemalloc.start()
    labels = labels_of(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (labels > 0).sum() == 256 * count
    assert peak < 10 * labels.size < count * labels.size / 10


MEASURE = """
import resource, sys
from pathlib import Path
from gatezoo.data.annotations.formats import open_source
from gatezoo.data.annotations.source import ReadOptions
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    data = open_source(Path(name), name).semantic(None, ReadOptions())
    print(int((data[0]["mask"] > 0).sum()), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_ten_thousand_polygons_take_little_memory(tmp_path):
    names = ["labelme", "coco"]
    assert [many_polygons(name, tmp_path / name, 15) for name in names] == [10_000, 10_000]
    command = [sys.executable, "-c", MEASURE, *names]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    for line in printed.splitlines():
        total, grown = map(int, line.split())  # beyond what importing torch takes
        assert total == (1500 - 8) ** 2
        assert grown < 200
