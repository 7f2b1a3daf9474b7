import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from gatezoo.cli import app as cli
from gatezoo.data import FolderDataset
from gatezoo.data.check.check import check_folder, require_valid_folder
from gatezoo.data.class_weights import class_weights
from gatezoo.data.files.pairs import FolderLayout, Match, pair_files


def kinds(report):
    """{(kind, name of the file)} of the errors, and those of the warnings."""
    return tuple({(p.kind, p.file.name) for p in issues} for issues in (report.errors, report.warnings))


def message(report, kind):
    return next(issue.message for issue in report.issues if issue.kind == kind)


@pytest.fixture
def masks(shapes):
    """A function that applies a function to the values of masks of the folder."""

    def change(function, names="*", **options):
        for path in (shapes / "labels").glob(f"{names}.png"):
            Image.fromarray(function(np.array(Image.open(path)))).save(path, **options)

    return change


@pytest.mark.parametrize("classes", [None, 2, ["ground", "disc"]])
def test_valid_folder(shapes, classes):
    report = check_folder(shapes, classes)
    data = FolderDataset(shapes, 2)
    assert report.issues == []
    report.raise_errors()
    assert (report.pairs, report.num_classes, report.ignore_index) == (24, 2, 255)
    assert report.class_frequencies.tolist() == pytest.approx(data.class_frequencies().tolist())
    assert report.images_with.tolist() == [24, 24]
    assert report.ignored == sum(int((data.labels(i) == 255).sum()) for i in range(24))
    assert torch.allclose(report.weights("inverse"), class_weights(data.class_frequencies(), "inverse"))


def test_palette_masks_are_valid(shapes):
    for path in (shapes / "labels").iterdir():
        image = Image.open(path)
        image.putpalette(list(range(256)) * 3)
        image.save(path)
    assert check_folder(shapes).issues == []


def test_unpaired_images_and_masks(shapes):
    (shapes / "labels/03.png").rename(shapes / "labels/03_mask.png")
    (shapes / "labels/04.png").unlink()
    (shapes / "images/05.png").unlink()
    (shapes / "labels/06.png").rename(shapes / "labels/06.tif")
    Image.new("RGB", (80, 64)).save(shapes / "images/07.jpg")
    report = check_folder(shapes, 2)
    assert kinds(report) == (
        {
            ("unlabeled", "03.png"),
            ("unlabeled", "04.png"),
            ("suffix", "06.tif"),
            ("stem", "07.png"),
            ("stem", "07.jpg"),
        },
        {("unpaired", "03_mask.png"), ("unpaired", "05.png")},
    )
    assert message(report, "unlabeled") == "has no labels 03.png (there is 03_mask.png: label_suffix '_mask.png'?)"
    assert report.pairs == 22
    with pytest.raises(ValueError, match=r"03\.png: has no labels .* \(5 errors in all: gatezoo data check"):
        report.raise_errors()


def test_unreadable_files(shapes):
    for path in (shapes / "images/02.png", shapes / "labels/03.png"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    (shapes / "images/04.png").write_bytes(b"")
    report = check_folder(shapes, 2)
    unreadable = {("unreadable", name) for name in ("02.png", "03.png", "04.png")}
    assert kinds(report) == (unreadable, set())
    assert {issue.file.parent.name for issue in report.errors} == {"images", "labels"}
    assert report.images_with.tolist() == [23, 23]


def test_size_and_exif_orientation(shapes):
    Image.new("L", (40, 32)).save(shapes / "labels/02.png")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    for name, size in (("03", (80, 64)), ("04", (64, 80)), ("05", (64, 80))):
        suffix = "tif" if name == "05" else "jpg"
        Image.new("RGB", size).save(shapes / "images" / f"{name}.{suffix}", exif=rotated)
        (shapes / "images" / f"{name}.png").unlink()
    report = check_folder(shapes, 2)
    assert kinds(report) == ({("size", "02.png"), ("size", "03.png")}, set())
    assert [issue.message for issue in report.errors] == [
        "is 40 x 32, its image 02.png 80 x 64: labels must have the size of their image",
        "is 80 x 64, its image 03.jpg 64 x 80 (rotated by its EXIF orientation, as viewers show it): "
        "labels must have the size of their image",
    ]
    assert FolderDataset(shapes, 2)[4]["image"].shape == (3, 64, 80)


def test_ids_outside_the_classes(shapes, masks):
    masks(lambda values: np.where(values == 1, 7, values).astype(np.uint8), "03")
    report = check_folder(shapes, 2)
    assert kinds(report) == ({("ids", "03.png")}, set())
    discs = int((np.array(Image.open(shapes / "labels/03.png")) == 7).sum())
    assert message(report, "ids") == f"holds 7 ({discs} pixels), outside 0 .. 1 and 255 (ignored)"
    assert report.images_with.tolist() == [24, 23]
    assert check_folder(shapes).num_classes == 8


def test_masks_of_0_and_255(shapes, masks):
    masks(lambda values: np.where(values == 1, 255, 0).astype(np.uint8))
    for classes in (None, 2):
        report = check_folder(shapes, classes)
        assert kinds(report) == ({("binary", "labels")}, set())
        assert "--label-map 0=0 --label-map 255=1" in message(report, "binary")
    report = check_folder(shapes, 2, ignore_index=254)
    assert "--label-map 255=1 if they are class 1" in message(report, "ids")
    report = check_folder(shapes, 2, ids={0: 0, 255: 1})
    assert report.issues == []
    assert report.images_with.tolist() == [24, 24]
    assert check_folder(shapes, 1).issues == []


def test_ids_that_start_at_one(shapes, masks):
    masks(lambda values: (values + 1).astype(np.uint8))  # the rim, 255, becomes 0
    report = check_folder(shapes, 2)
    assert {kind for kind, _ in kinds(report)[0]} == {"ids"}
    assert "--reduce-zero-label" in message(report, "ids")
    report = check_folder(shapes, 2, reduce_zero_label=True)
    assert report.issues == []
    assert report.class_frequencies.tolist() == pytest.approx(
        FolderDataset(shapes, 2, reduce_zero_label=True).class_frequencies().tolist()
    )
    assert check_folder(shapes, reduce_zero_label=True).num_classes == 2
    masks(lambda values: np.where(values == 0, 1, values).astype(np.uint8))
    assert kinds(check_folder(shapes)) == (set(), {("start", "labels")})


def test_gray_levels(shapes, masks):
    masks(lambda values: np.where(values == 1, 200, values).astype(np.uint8))
    report = check_folder(shapes)
    assert kinds(report) == (set(), {("gaps", "labels")})
    assert "hold only 0, 200 of 0 .. 200" in message(report, "gaps")


def test_rgb_masks(shapes, masks):
    colors = np.array([[10, 20, 30], [200, 0, 7]], dtype=np.uint8)
    masks(lambda values: colors[(values == 1).astype(int)])
    report = check_folder(shapes, 2)
    assert {issue.kind for issue in report.issues} == {"rgb"}
    assert len(report.errors) == 24
    assert "its colors: (10, 20, 30) " in message(report, "rgb")
    assert "(200, 0, 7) " in message(report, "rgb")
    table = list(map(tuple, colors.tolist()))
    report = check_folder(shapes, 2, color_table=table)
    assert report.issues == []
    assert report.class_frequencies.tolist() == pytest.approx(
        FolderDataset(shapes, 2, color_table=table).class_frequencies().tolist()
    )
    report = check_folder(shapes, color_table={table[0]: 0, (1, 1, 1): 1})
    assert report.num_classes == 2
    assert {issue.kind for issue in report.errors} == {"colors"}
    assert message(report, "colors").startswith("holds colors that the table has not: (200, 0, 7) (")


def test_grays_saved_as_rgb_and_ids_where_colors_are_expected(shapes, masks):
    masks(lambda values: np.stack([values] * 3, 2), "03")
    report = check_folder(shapes, 2)
    assert kinds(report) == ({("rgb", "03.png")}, set())
    assert message(report, "rgb") == "is an RGB image of the grays 0, 1, 255: save it with one channel"
    report = check_folder(shapes, 2, color_table=[(0, 0, 0), (1, 1, 1)])
    assert message(report, "mode") == "has mode L, no RGB colors: leave out --rgb or color_table"


def test_jpeg_float_and_16_bit_masks(shapes, masks):
    masks(lambda values: values * (values < 255), "03", format="JPEG")
    Image.open(shapes / "labels/04.png").save(shapes / "labels/04.jpg")
    (shapes / "labels/04.png").unlink()
    masks(lambda values: values.astype(np.float32), "05", format="TIFF")
    masks(lambda values: values.astype(np.uint16), "06")
    masks(lambda values: np.where(values == 1, 300, values.astype(np.int32)), "07", format="TIFF")
    report = check_folder(shapes, 2)
    assert kinds(report)[0] == {("jpeg", "03.png"), ("jpeg", "04.jpg"), ("mode", "05.png"), ("ids", "07.png")}
    assert message(report, "mode") == "has mode F: save labels as whole numbers, with 8 or 16 bits"
    assert message(report, "ids").startswith("holds 300 (")
    report = check_folder(shapes)
    assert report.num_classes == 2, "the noise of a JPEG was counted"
    assert report.images_with.tolist() == [21, 20]


def test_palettes_that_differ(monkeypatch, capsys, shapes, tmp_path):
    """Drawing programs number the colors anew in each file: in half of these, index 1 has the color of index 0."""
    colors, rim = [(10, 20, 30), (200, 0, 7)], (255, 255, 255)
    expected = FolderDataset(shapes, 2).class_frequencies().tolist()
    for number, path in enumerate(sorted((shapes / "labels").iterdir())):
        labels = np.array(Image.open(path))
        swapped = number % 2 == 1
        image = Image.fromarray(np.where(labels == 255, 2, labels ^ swapped).astype(np.uint8))
        image.putpalette(sum((*(colors[::-1] if swapped else colors), rim), ()))
        image.save(path)
    report = check_folder(shapes, 3)
    assert kinds(report) == (set(), {("palettes", "labels")})
    assert message(report, "palettes").startswith(
        "palettes differ, in 12 files: index 0 is (10, 20, 30) in 00.png, (200, 0, 7) in 01.png: pass --rgb"
    )
    table = {colors[0]: 0, colors[1]: 1, rim: 255}
    report = check_folder(shapes, 2, color_table=table)
    assert report.issues == []
    assert report.class_frequencies.tolist() == pytest.approx(expected)
    assert FolderDataset(shapes, 2, color_table=table).class_frequencies().tolist() == pytest.approx(expected)
    (tmp_path / "classes.txt").write_text("ground 10 20 30\ndisc 200 0 7\n")
    code, out, _ = run(monkeypatch, capsys, shapes, "--rgb", "--classes", tmp_path / "classes.txt")
    assert code == 2
    assert "holds colors that the table has not: (255, 255, 255) (" in out


@pytest.fixture
def deepen(shapes):
    """A function that replaces the images by 12-bit ones of the same content, and returns those left as they were."""

    def change(top=4095, keep=0, dtype=np.uint16, bands=1):
        paths = sorted((shapes / "images").iterdir())
        for path in paths[keep:]:
            values = (np.array(Image.open(path).convert("L")) / 255 * top).astype(dtype)
            if bands > 1:
                tifffile.imwrite(path, np.stack([values] * bands), photometric="minisblack", planarconfig="separate")
            else:
                Image.fromarray(values).save(path, format="TIFF")
        return paths[:keep]

    return change


def test_bit_depths_of_images(shapes, deepen):
    deepen()
    report = check_folder(shapes, 2)
    assert kinds(report) == (set(), {("dark", "images")})
    assert "is 3" in message(report, "dark")
    assert "full brightness 65535: pass --image-max" in message(report, "dark")
    assert check_folder(shapes, 2, image_max=4095).issues == []
    report = check_folder(shapes, 2, image_max=1000)
    assert len(report.errors) == 24
    assert message(report, "values").startswith("values of an image must be in 0 .. 1000; this file holds 3")


def test_bit_depths_that_differ(shapes, deepen):
    deepen(65535, keep=5)
    report = check_folder(shapes, 2)
    assert kinds(report) == ({("depths", "images")}, set())
    assert message(report, "depths") == (
        "images must have the same bit depth; 5 are uint8 (00.png), 19 are uint16 (05.png): convert them"
    )


def test_values_and_channels_of_images(shapes, deepen):
    deepen(1, dtype=np.float32)
    values = np.full((64, 80), 0.5, np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(shapes / "images/03.png", format="TIFF")
    report = check_folder(shapes, 2)
    assert kinds(report) == ({("values", "03.png")}, set())
    deepen(255, dtype=np.uint8, bands=5, keep=4)
    report = check_folder(shapes, 2)
    assert {kind for kind, _ in kinds(report)[0]} == {"values", "depths", "channels"}
    assert message(report, "channels") == (
        "images must have as many channels as one another; 4 have 1 (00.png), 20 have 5 (04.png)"
    )
    report = check_folder(shapes, 2, in_chans=5)
    assert "number of channels of an image must be 5; this file has 1" in message(report, "values")


def test_pipe_among_the_files_does_not_hang(shapes):
    for folder in ("images", "labels"):
        (shapes / folder / "03.png").unlink()
        os.mkfifo(shapes / folder / "03.png")
    report = check_folder(shapes, 2)
    assert kinds(report)[0] == {("unreadable", "03.png")}
    assert len(report.errors) == 2
    assert message(report, "unreadable").endswith("must be a regular file; this file is a pipe, socket or device")


def test_matching_of_many_files_is_quick():
    names = [f"{number:05}" for number in range(20_000)]
    images, masks = ([Match(Path(f"{name}{end}"), (name,)) for name in names] for end in (".jpg", "_mask.png"))
    start = time.process_time()
    assert pair_files(images, masks, [], FolderLayout(label_suffix="_mask.png"))[1:] == ([m.path for m in masks], [])
    _, labels, issues = pair_files(images, [], [mask.path for mask in masks], FolderLayout())
    assert time.process_time() - start < 2
    assert labels == [None] * 20_000
    assert issues[7].message == "has no labels 00007.png (there is 00007_mask.png: label_suffix '_mask.png'?)"


def test_masks_of_ignored_pixels_only(shapes, masks):
    masks(lambda values: np.full_like(values, 255), "03")
    assert kinds(check_folder(shapes, 2)) == (set(), {("ignored", "03.png")})
    masks(lambda values: np.full_like(values, 255))
    assert ("ignored", "labels") in kinds(check_folder(shapes, 2))[0]


def test_images_below_the_least_size_of_networks(shapes):
    for folder, mode in (("images", "RGB"), ("labels", "L")):
        Image.new(mode, (31, 64)).save(shapes / folder / "03.png")
    assert kinds(check_folder(shapes, 2)) == ({("small", "03.png")}, set())
    assert message(check_folder(shapes, 2), "small").startswith("is 31 x 64; images must be at least 32 pixels on each")
    assert check_folder(shapes, 2, min_size=31).issues == []


def test_training_and_check_refuse_the_same_and_training_shows_warnings(shapes, masks, caplog):
    caplog.set_level("INFO", "gatezoo")
    masks(lambda values: np.full_like(values, 255), "03")
    require_valid_folder(shapes, ["ground", "disc", "sky"])
    assert [record.message.split(": ")[1] for record in caplog.records if record.levelname == "WARNING"] == [
        "all its pixels are ignored",
        "no label holds sky",
    ]
    masks(lambda values: np.full_like(values, 7), "04")
    with pytest.raises(ValueError, match=r"04\.png: holds 7"):
        require_valid_folder(shapes, 3)


def test_absent_classes(shapes):
    report = check_folder(shapes, ["ground", "disc", "sky", "sea"])
    assert kinds(report) == (set(), {("absent", "labels")})
    assert message(report, "absent") == "no label holds sky, sea"
    assert report.weights("sqrt")[2:].tolist() == [0, 0]


def test_missing_folder(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"must hold the folders images and labels; .*nowhere does not$"):
        check_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must hold the folders images and labels; .* does not: pass .*shapes$"):
        check_folder(tmp_path)
    for path in (shapes / "images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="must hold images"):
        check_folder(shapes)


def run(monkeypatch, capsys, *arguments):
    """Run the command; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["gatezoo", "data", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return (end.value.code or 0, *capsys.readouterr())


def test_command_on_a_valid_folder(monkeypatch, capsys, shapes, tmp_path):
    (tmp_path / "classes.txt").write_text("ground\ndisc\nsky\n")
    code, out, err = run(monkeypatch, capsys, shapes, "--classes", tmp_path / "classes.txt")
    assert code == 0, err
    share = FolderDataset(shapes, 2).class_frequencies()[1]
    row = next(line for line in out.splitlines() if "disc" in line)
    assert f"{share:.3%}" in row
    assert " 24 " in row
    assert "num_classes 3" in out
    assert f"warning: {shapes}/labels: no label holds sky" in out
    assert out.splitlines()[-1] == "0 errors, 1 warning"


def test_command_shows_progress_from_the_first_image_on(monkeypatch, capsys, shapes):
    steps = []

    def track(items, total, description):
        for item in items:
            steps.append((description, total))
            yield item

    monkeypatch.setattr("gatezoo.utils.progress.track", track)
    assert run(monkeypatch, capsys, shapes, "--image-max", "255")[0] == 0
    assert steps == [("reading", 24)] * 24


def test_command_on_a_folder_with_errors(monkeypatch, capsys, shapes, masks):
    masks(lambda values: np.where(values == 1, 9, values).astype(np.uint8))
    code, out, _ = run(monkeypatch, capsys, shapes, "--classes", "2")
    lines = [line for line in out.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(lines) == 10
    assert lines[0].startswith(f"error: {shapes}/labels/00.png: holds 9 (")
    assert "... and 14 more of this kind: pass --all to list them" in out
    assert out.splitlines()[-1] == "24 errors, 1 warning"
    _, out, _ = run(monkeypatch, capsys, shapes, "--classes", "2", "--all")
    assert len([line for line in out.splitlines() if line.startswith("error: ")]) == 24
    code, out, _ = run(
        monkeypatch, capsys, shapes, "--label-map", "0=0", "--label-map", "9=1", "--label-map", "255=255"
    )
    assert code == 0, out


def test_command_with_colors_of_the_class_list(monkeypatch, capsys, shapes, masks, tmp_path):
    colors = np.array([[10, 20, 30], [200, 0, 7]], dtype=np.uint8)
    masks(lambda values: colors[(values == 1).astype(int)])
    (tmp_path / "classes.txt").write_text("ground 10 20 30\ndisc 200 0 7\n")
    assert run(monkeypatch, capsys, shapes, "--classes", tmp_path / "classes.txt")[0] == 2
    assert run(monkeypatch, capsys, shapes, "--classes", tmp_path / "classes.txt", "--rgb")[0] == 0
    code, _, err = run(monkeypatch, capsys, shapes, "--classes", "2", "--rgb")
    assert code == 2
    assert err.strip().endswith("--rgb needs the colors of the classes: pass --classes FILE with lines NAME R G B")
