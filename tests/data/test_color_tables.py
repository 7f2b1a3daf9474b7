"""Class lists whose colors are several a class, hexadecimal, ignored or not exact."""

import json

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

from gatezoo.cli.option_groups import LabelOptions
from gatezoo.data import FolderDataset
from gatezoo.data.classes import read_classes, read_color_table
from gatezoo.data.files.labels import ColorTable
from gatezoo.data.label_format import LabelFormat

LIST = "# name and colors\nground 0 0 0\ndisc #FF0000 #00ff00\nignore 255 255 255\nground 40 40 40\n"


@pytest.fixture
def colored(shapes):
    """The discs in two reds and a green, the ground in two grays, the rim white."""
    for path in (shapes / "labels").iterdir():
        labels = np.array(Image.open(path))
        colors = np.zeros((*labels.shape, 3), np.uint8)
        colors[labels == 1] = 255, 0, 0
        colors[:, ::2][labels[:, ::2] == 1] = 0, 255, 0
        colors[:20][labels[:20] == 0] = 40, 40, 40
        colors[labels == 255] = 255
        path.with_suffix(".npy").write_bytes(labels.tobytes())
        Image.fromarray(colors).save(path)
    (shapes / "list.txt").write_text(LIST)
    return shapes


def stray(root, color=(248, 6, 0)):
    """Change a red pixel a little."""
    path = root / "labels/00.png"
    colors = np.array(Image.open(path))
    y, x = np.argwhere((colors == (255, 0, 0)).all(-1))[0]
    colors[y, x] = color
    Image.fromarray(colors).save(path)
    return y, x


def opened(root, **options):
    folder = LabelOptions(classes=str(root / "list.txt"), rgb=True, **options).folder_options()
    return FolderDataset(root, read_classes(root / "list.txt")[0], **folder.folder_kwargs())


def test_names_and_first_colors(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text(LIST)
    assert read_classes(file) == (("ground", "disc"), ((0, 0, 0), (255, 0, 0)))
    table = read_color_table(file, 255)
    assert table == {(0, 0, 0): 0, (40, 40, 40): 0, (255, 0, 0): 1, (0, 255, 0): 1, (255, 255, 255): 255}
    file.write_text("a 1 2 3\nb #040506\n")
    assert read_color_table(file, 255) == ((1, 2, 3), (4, 5, 6))  # as without the new forms
    file.write_text("ignore\nother\n")
    assert read_classes(file) == (("ignore", "other"), None)  # without colors a class like any other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2 3\na\n", "'a' has none"),
        ("a #ff0000\nb 255 0 0\n", r"'a' has \(255, 0, 0\)"),
        ("a #ff00\nb 1 2 3\n", "has none"),
        ("ignore 1 2 3\n", "names none"),
        ("a\na\n", "class names must differ"),
    ],
)
def test_wrong_lists(text, message, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"list\.txt.*{message}|{message}"):
        read_classes(tmp_path / "list.txt")


def test_several_colors_are_one_class_and_ignored_ones_do_not_count(colored):
    data = opened(colored)
    for index in range(3):
        expected = np.frombuffer((colored / f"labels/{index:02}.npy").read_bytes(), np.uint8).reshape(64, 80)
        assert (data.labels(index).numpy() == expected).all()
    other = opened(colored, ignore_index=9)
    assert set(other.labels(0).unique().tolist()) == {0, 1, 9}


def test_stray_pixels_need_a_tolerance(colored):
    exact = opened(colored).labels(0)
    y, x = stray(colored)
    with pytest.raises(ValueError, match=r"00\.png holds \(248, 6, 0\) \(1 pixels of unknown colors\)"):
        opened(colored).labels(0)
    with pytest.raises(ValueError, match="unknown colors"):
        opened(colored, color_tolerance=6).labels(0)
    found = opened(colored, color_tolerance=7).labels(0)
    assert (found == exact).all()
    assert found[y, x] == 1


def test_check_and_checkpoints_know_the_tolerance(colored, monkeypatch, capsys):
    stray(colored)
    arguments = ("data", "check", colored, "--classes", colored / "list.txt", "--rgb")
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "00.png: holds colors that the table has not: (248, 6, 0) (1 pixels)" in out
    code, out, err = run(monkeypatch, capsys, *arguments, "--color-tolerance", 10)
    assert code == 0, out + err
    label_format = opened(colored, color_tolerance=10).label_format
    content = json.loads(json.dumps(label_format.to_dict()))
    assert content["tolerance"] == 10
    again = LabelFormat.from_dict(content)
    assert again.color_table == label_format.color_table
    assert again.color_table.tolerance == 10
    for wrong in ({"tolerance": 300}, {"tolerance": 0}, {"color_ids": None}):
        with pytest.raises(ValueError, match="label_format must"):
            LabelFormat.from_dict({key: value for key, value in (content | wrong).items() if value is not None})
    code, _, err = run(monkeypatch, capsys, *arguments[:-1], "--color-tolerance", 10)
    assert "pass --rgb too" in err
    with pytest.raises(ValueError, match=r"must be a whole number in 0 \.\. 255; got -1"):
        ColorTable({(0, 0, 0): 0}, -1)
