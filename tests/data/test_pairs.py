import os

import numpy as np
import pytest
from PIL import Image

from gatezoo.cli.option_groups import LabelOptions
from gatezoo.data import FolderDataset
from gatezoo.data.check.check import check_folder
from gatezoo.data.files.depth import depth_files
from gatezoo.data.files.pairs import FolderLayout, find_folder_files
from gatezoo.data.label_format import LabelFormat
from gatezoo.data.splits import FolderOptions, create_splits
from gatezoo.pretrained import PretrainedCfg

EYES = FolderLayout("images/*_training.tif", "1st_manual/*_manual1.gif")


@pytest.fixture
def eyes(tmp_path):
    """Images and 0/255 masks, GIFs with a palette, of one key in two names: class 1 is the left half."""
    root = tmp_path / "eyes"
    for folder in ("images", "1st_manual", "mask"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((40, 48), np.uint8)
    mask[:, :24] = 255
    for number in (21, 22, 23):
        Image.new("RGB", (48, 40), (number, 9, 9)).save(root / f"images/{number}_training.tif")
        Image.fromarray(mask).save(root / f"1st_manual/{number}_manual1.gif")
        Image.fromarray(mask).save(root / f"mask/{number}_training_mask.gif")
    return root


def pairs(root, images, labels):
    found = find_folder_files(root, FolderLayout(images, labels))
    assert found.issues == []
    return {os.path.relpath(a, root): os.path.relpath(b, root) for a, b in zip(found.images, found.labels)}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folder_in_foreign_names_with_gif_masks(eyes):
    data = FolderDataset(eyes, 2, ids={0: 0, 255: 1}, layout=EYES)
    assert [path.name for path in data.images] == ["21_training.tif", "22_training.tif", "23_training.tif"]
    assert [path.name for path in data.label_files] == ["21_manual1.gif", "22_manual1.gif", "23_manual1.gif"]
    assert data[1]["image"][0, 0, 0] == 22
    assert data[2]["mask"].float().mean(0).tolist() == [1] * 24 + [0] * 24
    assert Image.open(data.label_files[0]).mode == "P"
    assert np.array(Image.open(data.label_files[0])).max() == 1  # the index of the gray 255
    table = [(0, 0, 0), (255, 255, 255)]
    assert (FolderDataset(eyes, 2, color_table=table, layout=EYES).labels(2) == data.labels(2)).all()
    assert check_folder(eyes, 2, color_table=table, layout=EYES).issues == []
    report = check_folder(eyes, 2, ids={0: 0, 255: 1}, layout=EYES)
    assert (report.issues, report.pairs, report.class_frequencies.tolist()) == ([], 3, [0.5, 0.5])


@pytest.mark.parametrize(
    ("files", "images", "labels"),
    [
        (["a/x.png", "b/x.png"], "a/*", "b/*"),
        (["a/x.PNG", "b/x.TIF"], "a/*.png", "b/*.tif"),
        (["a/x.v2.JPG", "b/x.v2.gif"], "a/*.*", "b/*.*"),
        (["one/image.png", "one/mask.png"], "*/image.png", "*/mask.png"),
        (["one/a/x.png", "two/b/x_m.png"], "**/a/*.png", "**/b/*_m.png"),
        (["in/x_t.png", "in/deep/er/y_t.png", "out/x_m.gif", "out/y_m.gif"], "in/**/*_t.png", "out/*_m.gif"),
        # The same name in two folders: what tells them apart is in the place of **.
        (["p/1.png", "q/1.png", "m/p/1.png", "m/q/1.png"], "[pq]/*.png", "m/*.png"),
        (["a/p/1.jpg", "a/q/1.jpg", "b/p/1.png", "b/q/1.png"], "a/**/*.jpg", "b/**/*.png"),
        (["a/p/1.jpg", "b/p/1.png"], "a/**", "b/**"),
        (["a (1)/x+.png", "b/x+.png"], "a (1)/*.png", "b/*.png"),
    ],
)
def test_patterns(tmp_path, files, images, labels):
    touch(tmp_path, *files, "a/.hidden.png", "b/notes.txt")
    if "[" in images:  # all but * is literal
        with pytest.raises(ValueError, match=r"readable; .*\[pq\] is not: No such file"):
            pairs(tmp_path, images, labels)
    else:
        half = len(files) // 2
        assert pairs(tmp_path, images, labels) == dict(zip(files[:half], files[half:]))


@pytest.mark.parametrize(
    ("change", "layout", "message"),
    [
        ({"images/24_training.tif"}, EYES, r"24_training\.tif: has no labels 1st_manual/24_manual1\.gif"),
        ({"1st_manual/25_manual1.gif"}, EYES, r"25_manual1\.gif: has no image images/25_training\.tif$"),
        (
            {"1st_manual/21_manual1.GIF"},
            EYES,
            r"21_manual1\.gif: 21_training\.tif has two label files, this one and 21_manual1\.GIF: remove one",
        ),
        (
            {"images/deep/21_training.tif"},
            FolderLayout("images/**/*_training.tif", EYES.labels),
            r"has the same labels, 1st_manual/21_manual1\.gif, as .*images/deep/21_training\.tif: rename one",
        ),
        (
            set(),
            FolderLayout("images/*.tif", EYES.labels),
            r"21_training\.tif: has no labels 1st_manual/21_training_manual1\.gif; there is 21_manual1\.gif, which has",
        ),
        (
            set(),
            FolderLayout("images/*.jpg", EYES.labels),
            r"pattern of images must .*'images/\*\.jpg' matches none in",
        ),
        (set(), FolderLayout("images/*_training.tif"), r"a folder of data must be readable; .*labels is not"),
    ],
)
def test_files_without_a_partner_or_with_two(eyes, change, layout, message):
    touch(eyes, *change)
    for read in (FolderDataset, lambda *args, **kwargs: check_folder(*args, **kwargs).raise_errors()):
        with pytest.raises(ValueError, match=message) as caught:
            read(eyes, 2, ids={0: 0, 255: 1}, layout=layout)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("images/a.png",),
            r"images must be a pattern with a \* .*got 'images/a\.png': pass --images",
        ),
        ((None, "labels/"), r"labels must be a pattern with a \*"),
        (("*/*.png", "b/*.png"), r"same number of \*.*got '\*/\*\.png' and 'b/\*\.png'"),
        (("**/a.png", "**/b.png"), "images must be a pattern with a"),
        ((None, "b/*.png", "_m.png"), "by a pattern or by a suffix"),
        ((None, None, ""), "label_suffix must be the ending"),
        ((None, None, "/../x"), "label_suffix must be the ending"),
    ],
)
def test_patterns_that_tell_no_pairs(arguments, message):
    with pytest.raises(ValueError, match=message):
        FolderLayout(*arguments)


def test_suffixes_in_any_case(shapes):
    for path in list((shapes / "labels").iterdir()):
        path.rename(path.with_suffix(".PNG"))
    for path in list((shapes / "images").iterdir())[:3]:
        path.rename(path.with_suffix(".Png"))
    assert len(FolderDataset(shapes, 2)) == 24
    assert check_folder(shapes, 2).issues == []
    assert depth_files([shapes / "images/03.png"], shapes / "labels") == [shapes / "labels/03.PNG"]


def test_labels_of_another_name_in_the_default_folders(tmp_path):
    touch(tmp_path, *(f"images/{stem}.png" for stem in "abcde"), "labels/z.png")
    touch(tmp_path, "labels/a.jpg", "labels/b.jpeg", "labels/c.tif", "labels/d_mask.gif")
    found = find_folder_files(tmp_path, FolderLayout())
    assert [path and path.name for path in found.labels] == ["a.jpg", "b.jpeg", "c.tif", None, None]
    assert [(issue.kind, issue.file.name, issue.message) for issue in found.issues if issue.fatal] == [
        ("suffix", "c.tif", "must be called c.png: rename it or pass --label-suffix"),
        ("unlabeled", "d.png", "has no labels d.png (there is d_mask.gif: label_suffix '_mask.gif'?)"),
        ("unlabeled", "e.png", "has no labels e.png"),
    ]


def test_star_is_a_part_of_one_name(tmp_path):
    touch(tmp_path, "p/x_1.png", "p/x_1/y.png", "q/1.png")
    assert pairs(tmp_path, "**/x_*.png", "q/*.png") == {"p/x_1.png": "q/1.png"}


def test_links_in_circles(tmp_path):
    touch(tmp_path, "a/x.png", "b/x.png")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert pairs(tmp_path, "**/a/*.png", "b/*.png") == {"a/x.png": "b/x.png"}
    assert pairs(tmp_path, "c/*.png", "b/*.png") == {"c/x.png": "b/x.png"}


def test_patterns_apply_to_each_split_and_are_not_remembered(eyes, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    eyes.rename(root / "train")
    (root / "val").symlink_to(root / "train")
    cfg = PretrainedCfg(
        "a", "b", 2, (0.5,), (0.5,), label_format=LabelFormat(ids={0: 0, 255: 1}, suffix="_m.png").to_dict()
    )
    folder = LabelOptions(images=EYES.images, labels=EYES.labels).folder_options(cfg, check=True)
    assert (folder.layout, folder.label_format.ids) == (EYES, {0: 0, 255: 1})
    train_data, val_data = create_splits(root, classes="2", folder=folder)
    assert (len(train_data), len(val_data), train_data.classes) == (3, 3, ("0", "1"))
    assert "1st_manual" not in str(train_data.label_format.to_dict())
    with pytest.raises(ValueError, match=r"patterns .* for folders only; got them for voc12"):
        create_splits(root, "voc12", folder=folder)
    with pytest.raises(ValueError, match="--labels and --label-suffix both"):
        LabelOptions(labels="a/*", label_suffix=".gif").folder_options()
    assert LabelOptions(images="a/*", labels="b/*").given == ["images", "labels"]


def test_val_split_of_another_folder(shapes, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/test").symlink_to(shapes)
    _, val_data = create_splits(shapes, classes="2", val=tmp_path / "other", val_split="test", folder=FolderOptions())
    assert val_data.images[0].parents[1] == tmp_path / "other/test"
