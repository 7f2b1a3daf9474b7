import io
import json
import pickle
import time

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from rich.console import Console

from gatezoo.data import ExtraMap, FolderDataset, SegmentationDataset, list_dataset, read_classes
from gatezoo.data.check.check import check_folder
from gatezoo.data.check.summary import report_table
from gatezoo.data.classes import class_names, parse_classes, parse_ids
from gatezoo.data.files.coco_json import Annotations
from gatezoo.data.files.labels import color_png, instance_png
from gatezoo.data.files.pairs import FolderLayout


def test_folder_pairs_by_stem(shapes):
    data = FolderDataset(shapes, 2)
    item = data[0]
    assert len(data) == 24
    assert item.keys() == {"image", "mask"}
    assert item["image"].shape == (3, 64, 80)
    assert item["image"].dtype == item["mask"].dtype == torch.uint8
    assert set(item["mask"].unique().tolist()) == {0, 1, 255}
    assert [path.name for path in data.images[:2]] == ["00.png", "01.png"]
    assert data.classes == ("0", "1")
    assert data.palette == ((0, 0, 0), (128, 0, 0))


def test_class_frequencies_are_shares_of_the_labeled_pixels(shapes):
    data = FolderDataset(shapes, ["ground", "disc"])
    masks = torch.stack([data.labels(i) for i in range(24)])
    discs, labeled = (masks == 1).sum().item(), (masks < 2).sum().item()
    assert data.class_frequencies().tolist() == pytest.approx([1 - discs / labeled, discs / labeled])
    assert FolderDataset(shapes, 2, 0, ids={0: 0, 1: 1, 255: 0}).class_frequencies().tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"some pixels must be labeled; all labels are 255 \(ignored\)"):
        FolderDataset(shapes, 2, ids={0: 255, 1: 255, 255: 255}).class_frequencies()


def test_class_frequencies_where_a_class_is_present(shapes):
    for path in sorted((shapes / "labels").iterdir())[:12]:
        labels = np.array(Image.open(path))
        Image.fromarray(np.where(labels == 1, 0, labels)).save(path)
    data = FolderDataset(shapes, ["ground", "disc", "never"])
    masks = torch.stack([data.labels(i) for i in range(24)])
    ground = (masks == 0).sum() / (masks < 2).sum()
    discs = (masks == 1).sum() / (masks[12:] < 2).sum()
    assert data.class_frequencies(present_only=True).tolist() == pytest.approx([ground.item(), discs.item(), 0])


def test_folder_ignores_files_of_the_file_system(shapes):
    (shapes / "images/._00.png").write_bytes(b"\0\5\x16\7")
    (shapes / "images/Thumbs.db").write_bytes(b"\0")
    assert len(FolderDataset(shapes, 2)) == 24


def test_labels_outside_the_classes_name_file_and_value(shapes):
    path = shapes / "labels/03.png"
    labels = np.array(Image.open(path))
    labels[0, 0] = 7
    Image.fromarray(labels).save(path)
    with pytest.raises(ValueError, match=r"labels must be 0 \.\. 1 or 255 \(ignored\); .*03\.png holds 7"):
        FolderDataset(shapes, 2)[3]
    with pytest.raises(ValueError, match=r"03\.png holds 7"):
        FolderDataset(shapes, 2).class_frequencies()


def test_folder_errors(shapes, tmp_path):
    with pytest.raises(ValueError, match="must hold the folders images and labels"):
        FolderDataset(tmp_path / "nowhere", 2)
    (shapes / "labels/05.png").unlink()
    with pytest.raises(ValueError, match=r"images/05\.png: has no labels 05\.png$"):
        FolderDataset(shapes, 2)
    Image.new("RGB", (80, 64)).save(shapes / "labels/05.png")
    with pytest.raises(ValueError, match=r"index PNG \(mode L, P or I\); .*05\.png has mode RGB"):
        FolderDataset(shapes, 2)[5]
    Image.new("L", (8, 6)).save(shapes / "labels/05.png")
    with pytest.raises(ValueError, match=r"size of their image; .*05\.png is \(6, 8\)"):
        FolderDataset(shapes, 2)[5]
    Image.new("L", (80, 64)).save(shapes / "labels/05.png", format="JPEG")
    with pytest.raises(ValueError, match=r"lossless format; .*05\.png is a JPEG"):
        FolderDataset(shapes, 2)[5]
    whole = (shapes / "labels/04.png").read_bytes()
    (shapes / "labels/04.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"04\.png cannot be read"):
        FolderDataset(shapes, 2)[4]
    (shapes / "labels/04.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"one of the formats PNG, JPEG, .*; .*04\.png is not"):
        FolderDataset(shapes, 2)[4]
    with pytest.raises(ValueError, match=r"1 to 256 classes and an ignore_index in 0 \.\. 255; got 2 and 999"):
        FolderDataset(shapes, 2, 999)
    with pytest.raises(ValueError, match="by reduce_zero_label or by ids; got both"):
        FolderDataset(shapes, 2, ids={0: 0}, reduce_zero_label=True)
    with pytest.raises(ValueError, match=r"ids must map to 0 \.\. 1 or 255 \(ignored\); 9 maps to 2"):
        FolderDataset(shapes, 2, ids={9: 2})


@pytest.fixture
def disc(shapes):
    """The labels of the first image, and a function that writes an array as every label file."""
    labels = np.array(Image.open(shapes / "labels/00.png"))

    def write(values):
        for path in (shapes / "labels").iterdir():
            Image.fromarray(values).save(path)

    return labels, write


def test_reduce_zero_label(shapes, disc):
    labels, write = disc
    write(np.choose(labels % 254, (1, 2)).astype(np.uint8) * (labels < 255))  # 255 % 254 = 1
    mask = FolderDataset(shapes, 2, reduce_zero_label=True).labels(0)
    assert np.array_equal(mask, labels)
    with pytest.raises(ValueError, match=r"holds 2"):
        FolderDataset(shapes, 2).labels(0)


def test_reduce_zero_label_keeps_ignored_pixels(shapes, disc):
    labels, write = disc
    write(np.where(labels == 255, 255, labels + 1).astype(np.uint8))
    assert np.array_equal(FolderDataset(shapes, 2, reduce_zero_label=True).labels(0), labels)


def test_ids_map_masks_of_0_and_255(shapes, disc):
    labels, write = disc
    write(np.where(labels == 1, 255, 0).astype(np.uint8))
    mask = FolderDataset(shapes, 2, ids={0: 0, 255: 1}).labels(0)
    assert np.array_equal(mask, labels == 1)


def test_one_bit_masks(shapes, disc):
    labels, write = disc
    write(labels == 1)
    assert Image.open(shapes / "labels/00.png").mode == "1"
    assert np.array_equal(FolderDataset(shapes, 2).labels(0), labels == 1)


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF")])
def test_masks_of_more_than_8_bits(shapes, disc, dtype, name):
    labels, _ = disc
    ids = np.where(labels == 1, 1000, labels.astype(np.int32)).astype(dtype)
    Image.fromarray(ids).save(shapes / "labels/00.png", format=name)
    data = FolderDataset(shapes, 2, ids={0: 0, 1000: 1, 255: 255})
    assert np.array_equal(data.labels(0), labels)
    with pytest.raises(ValueError, match=r"labels must be 0 \.\. 1 or 255 .*00\.png holds 1000"):
        FolderDataset(shapes, 2).labels(0)


def test_masks_of_floats_are_refused(shapes, disc):
    Image.fromarray(disc[0].astype(np.float32)).save(shapes / "labels/00.png", format="TIFF")
    with pytest.raises(ValueError, match=r"index PNG \(mode L, P or I\); .*00\.png has mode F"):
        FolderDataset(shapes, 2).labels(0)


def test_ids_must_be_small_whole_numbers(shapes):
    for number in (-1, 10**12):
        with pytest.raises(ValueError, match=rf"and ignore_index must be in 0 \.\. 16777215; got {number}"):
            FolderDataset(shapes, 2, ids={0: 0, number: 1})


def test_images_of_many_bits_and_channels(shapes):
    values = np.random.default_rng(0).integers(0, 4096, (5, 64, 80), dtype=np.uint16)
    for path in (shapes / "images").iterdir():
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate")
    data = pickle.loads(pickle.dumps(FolderDataset(shapes, 2, in_chans=5, image_max=4095)))
    expected = torch.from_numpy(values.astype(np.float32)) / 4095 * 255
    torch.testing.assert_close(data[0]["image"].as_subclass(torch.Tensor), expected)
    with pytest.raises(ValueError, match=r"channels of an image must be 3; .*00\.png has 5"):
        FolderDataset(shapes, 2, image_max=4095)[0]
    with pytest.raises(ValueError, match="image_max must be a positive number; got -1"):
        FolderDataset(shapes, 2, image_max=-1)
    (shapes / "list.txt").write_text("images/00.png labels/00.png")
    listed = list_dataset(shapes / "list.txt", 2, in_chans=5, image_max=4095)
    assert torch.equal(listed[0]["image"], data[0]["image"])


def test_folder_that_cannot_be_one():
    for root in ("x" * 5000, "/dev/null", "a\0b"):
        with pytest.raises(ValueError, match="must hold the folders images and labels"):
            FolderDataset(root, 2)


def test_palette_masks_are_read_as_indices(shapes, disc):
    labels, _ = disc
    image = Image.fromarray(labels)
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(shapes / "labels/00.png")
    assert Image.open(shapes / "labels/00.png").mode == "P"
    assert np.array_equal(FolderDataset(shapes, 2).labels(0), labels)


def test_color_table_maps_rgb_masks(shapes, disc):
    labels, write = disc
    colors = {(10, 20, 30): 0, (200, 0, 7): 1, (0, 0, 0): 255}
    rgb = np.zeros((*labels.shape, 3), dtype=np.uint8)
    for color, k in colors.items():
        rgb[labels == k] = color
    write(rgb)
    assert np.array_equal(FolderDataset(shapes, 2, color_table=colors).labels(0), labels)
    table = [(10, 20, 30), (200, 0, 7)]
    with pytest.raises(ValueError, match=r"color table; .*00\.png holds \(0, 0, 0\) \(\d+ pixels of unknown colors\)"):
        FolderDataset(shapes, 2, color_table=table).labels(0)
    rgb[labels == 255] = table[0]
    write(rgb)
    data = FolderDataset(shapes, 2, color_table=table)
    assert np.array_equal(data.labels(0), labels == 1)
    assert data.palette == ((10, 20, 30), (200, 0, 7))
    write(labels)
    with pytest.raises(ValueError, match=r"must be an RGB image; .*00\.png has mode L"):
        data.labels(0)


def test_color_table_does_not_confuse_colors(tmp_path):
    """Neither colors in another order of the table nor colors with permuted channels."""
    colors = [(3, 2, 1), (1, 2, 3), (2, 3, 1), (255, 255, 255), (0, 0, 1)]
    Image.fromarray(np.array([colors], dtype=np.uint8)).save(tmp_path / "a.png")
    assert color_png(colors)(tmp_path / "a.png").tolist() == [[0, 1, 2, 3, 4]]
    assert color_png({color: 9 - k for k, color in enumerate(colors)})(tmp_path / "a.png").tolist() == [[9, 8, 7, 6, 5]]


def test_instance_png_reads_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 255, 256, 40000]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert instance_png(tmp_path / "a.png").tolist() == [[0, 255, 256, 40000]]
    Image.new("RGB", (4, 1)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"one channel of whole numbers; .*a\.png has mode RGB"):
        instance_png(tmp_path / "a.png")


def test_folder_suffix(shapes):
    for path in (shapes / "labels").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    assert (FolderDataset(shapes, 2, layout=FolderLayout(label_suffix="_mask.png")).labels(0) == 1).any()
    with pytest.raises(
        ValueError, match=r"00\.png: has no labels 00\.png \(there is 00_mask\.png: .* \(24 errors in all"
    ):
        FolderDataset(shapes, 2)


def test_folder_depth(shapes):
    (shapes / "depth").mkdir()
    values = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)
    for number in range(24):
        Image.fromarray(values).save(shapes / "depth" / f"{number:02}.png")
    depth = FolderDataset(shapes, 2, depth=0.001)[3]["depth"]
    assert depth.dtype == torch.float32
    assert depth.isnan().sum() == 1
    assert depth[0, 0].isnan()
    assert depth[10, 5].item() == pytest.approx(0.805)
    assert "depth" not in FolderDataset(shapes, 2)[3]
    Image.fromarray(values[:8]).save(shapes / "depth/07.png")
    with pytest.raises(ValueError, match=r"depth must have the size of their image; .*07\.png is \(8, 80\)"):
        FolderDataset(shapes, 2, depth=0.001)[7]
    (shapes / "depth/07.png").unlink()
    with pytest.raises(ValueError, match=r"1 files are missing, first .*07\.png"):
        FolderDataset(shapes, 2, depth=0.001)


def test_list_dataset(shapes):
    (shapes / "with space").mkdir()
    for kind in ("images", "labels"):
        (shapes / kind / "02.png").rename(shapes / "with space" / f"{kind}.png")
    lines = ["# image labels", "images/01.png labels/07.png", "", "with space/images.png\twith space/labels.png"]
    (shapes / "list.txt").write_text("\n".join(lines))
    data = list_dataset(shapes / "list.txt", ["ground", "disc"])
    assert [path.name for path in data.images] == ["01.png", "images.png"]
    assert torch.equal(data.labels(0), torch.from_numpy(np.array(Image.open(shapes / "labels/07.png"))))
    (shapes.parent / "relative.txt").write_text("images/01.png labels/01.png")
    assert len(list_dataset(shapes.parent / "relative.txt", 2, root=shapes)) == 1
    with pytest.raises(ValueError, match=r"2 files are missing, first .*images/01\.png"):
        list_dataset(shapes.parent / "relative.txt", 2)
    (shapes / "list.txt").write_text("images/01.png labels/01.png 3")
    with pytest.raises(ValueError, match=r"must be IMAGE<TAB>LABELS; line 1 of .*list\.txt is"):
        list_dataset(shapes / "list.txt", 2)
    (shapes / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"must hold images; this part of it has none"):
        list_dataset(shapes / "list.txt", 2)
    with pytest.raises(ValueError, match=r"there is none at .*nolist\.txt"):
        list_dataset(shapes / "nolist.txt", 2)


def test_subset(shapes):
    data = FolderDataset(shapes, 2)
    part = data.subset([5, 2])
    part.transform = lambda sample: "transformed"
    assert len(part) == 2
    assert [path.stem for path in part.images] == ["05", "02"]
    assert torch.equal(part.labels(1), data.labels(2))
    assert part[0] == "transformed"
    assert data.transform is None
    assert len(data) == 24


def test_lists_of_different_lengths(shapes):
    images = FolderDataset(shapes, 2).images
    with pytest.raises(ValueError, match="one file of labels for each image; got 3 for 24"):
        SegmentationDataset(images, images[:3], 2)
    with pytest.raises(ValueError, match="one file of heat for each image; got 2 for 24"):
        SegmentationDataset(images, images, 2, layers={"heat": ExtraMap(images[:2], instance_png)})


def test_class_lists(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# mine\nroad\n\ntraffic light\n")
    assert read_classes(path) == (("road", "traffic light"), None)
    path.write_text("road 128 64 128\ntraffic light, 250,170, 30\n")
    assert read_classes(path) == (("road", "traffic light"), ((128, 64, 128), (250, 170, 30)))
    for text, message in (
        ("", "must name a class on each line"),
        ("road\nsky\nroad", "'road' 2 times"),
        ("road 1 2 3\nsky", "'sky' has none"),
        ("road 1 2 300", r"different and in 0 \.\. 255; .* 'road' has \(1, 2, 300\)"),
        ("road 1 2 3\nsky 1 2 3", "colors must be different"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_classes(path)
    with pytest.raises(ValueError, match="there is none at"):
        read_classes(tmp_path / "none.txt")


def test_long_class_lists_are_read_quickly(tmp_path):
    path = tmp_path / "classes.txt"
    line = "a" + ", 1" * 13_000 + " x"  # 40 kB that look like a color again and again
    start = time.process_time()
    path.write_text("\n".join([line, line[:-2], "9" * 40_000 + " 1 2 3 4"]))
    with pytest.raises(ValueError, match="either all classes or none must have a color"):
        read_classes(path)
    path.write_text("road 1 2 " + "9" * 40_000)
    with pytest.raises(ValueError, match=r"in 0 \.\. 255; in .* 'road' has"):
        read_classes(path)
    path.write_text("\n".join(f"class {number}" for number in range(60_000)))
    assert len(read_classes(path)[0]) == 60_000
    path.write_text("\n".join(f"c{i} {i >> 16} {i >> 8 & 255} {i & 255}" for i in range(60_000)))
    assert len(read_classes(path)[1]) == 60_000
    assert time.process_time() - start < 2


NAMES = (
    "voie\u00a0ferr\u00e9e",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0646\u200c\u06cc",
    "\u3000\u9053",
    "\u2764\ufe0f",
    "a 1",
)


def test_class_names_of_any_script_round_trip(shapes, tmp_path):
    """Through a class file, with colors and without, the report of the check, and COCO categories."""
    path = tmp_path / "classes.txt"
    path.write_text("\ufeff" + "\r\n".join(NAMES), encoding="utf-8")
    assert class_names(str(path)) == (NAMES, None)
    path.write_text("\n".join(f"{name}\t{k} 2 3" for k, name in enumerate(NAMES)), encoding="utf-8")
    assert read_classes(path)[0] == NAMES
    assert check_folder(shapes, NAMES).classes == FolderDataset(shapes, NAMES).classes == NAMES
    console = Console(width=200, file=io.StringIO())
    console.print(report_table(check_folder(shapes, NAMES)))
    assert all(name in console.file.getvalue() for name in NAMES)
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    assert Annotations(tmp_path / "a.json").names == NAMES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\tb", "must be printable"),
        ("a\x0bb", "must be printable"),
        ("a\x85b", "must be printable"),
        ("a\u202eb", "must be printable"),
        ("a\u2066b", "must be printable"),
        ("\u00a0", "must not be empty"),
        ("good", "'good' 2 times"),
    ],
)
def test_class_names_that_are_refused(shapes, tmp_path, name, message):
    path, names = tmp_path / "classes.txt", ["good", name]
    path.write_text("\n".join(names), encoding="utf-8")
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    for read in (
        lambda: read_classes(path),
        lambda: class_names(",".join(names)),
        lambda: check_folder(shapes, names),
        lambda: FolderDataset(shapes, names),
        lambda: Annotations(tmp_path / "a.json"),
    ):
        with pytest.raises(ValueError, match=rf"^class names .*{message}") as caught:
            read()
        assert str(caught.value).isprintable()


def test_class_list_that_is_no_text(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\xd8")
    with pytest.raises(ValueError, match=r"text file in UTF-8; .*classes\.txt cannot be read"):
        read_classes(tmp_path / "classes.txt")
    with pytest.raises(ValueError, match="there is none at xxx"):
        read_classes("x" * 5000)


def test_parse_classes_and_ids(tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb")
    assert parse_classes(None) == (None, None)
    assert parse_classes("12") == (12, None)
    assert class_names("3") == (("0", "1", "2"), None)
    for number in ("0", "257", "9" * 5000):
        for parse in (parse_classes, class_names):
            with pytest.raises(ValueError, match=r"number of classes must be in 1 \.\. 256; got"):
                parse(number)
    assert parse_classes(str(tmp_path / "classes.txt")) == (("a", "b"), None)
    assert parse_ids([]) is None
    assert parse_ids(["0=0", "255=1"]) == {0: 0, 255: 1}
    with pytest.raises(ValueError, match="--label-map must be ID=CLASS, such as 255=1; got 255:1"):
        parse_ids(["255:1"])
    with pytest.raises(ValueError, match="--label-map must be given once for each id; got 0=0 0=1"):
        parse_ids(["0=0", "0=1"])
