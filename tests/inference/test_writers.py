"""Files of predictions: what they contain, that nothing of the user's is replaced, and that a batch goes on."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import gatezoo
from gatezoo.inference.comparison import compare_networks
from gatezoo.inference.instance import InstancePredictor
from gatezoo.inference.instance_files import InstanceWriter
from gatezoo.inference.modes import SlidingWindow
from gatezoo.inference.predictor import Predictor
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions
from gatezoo.pretrained import PretrainedCfg
from gatezoo.visualization.overlay import HIGHLIGHT_COLOR


def network(name, **keywords):
    """Create a network that does not predict one class everywhere."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=4, **keywords)
    for module in model.head.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def predictor():
    return Predictor(network("test_dignet"))


@pytest.fixture
def photos(tmp_path):
    """Folder of images of 50 x 70: a.jpg and street.view.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.jpg", "street.view.png"):
        Image.fromarray(random.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(folder / name)
    return folder


def write(writer, images, out, **options):
    return list(write_predictions(writer, images, out, **options))


def content(folder):
    """Bytes of every file in a folder and those in it."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- contents


def test_label_map_overlay_and_shares(predictor, photos, tmp_path):
    photo, out = photos / "street.view.png", tmp_path / "out"
    (written,) = write(SemanticWriter(predictor, show_iterations=True), [photo], out)
    names = ["street.view.json", "street.view.png", "street.view_iterations.png", "street.view_overlay.jpg"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(written.files) == [out / name for name in names]
    classes = np.array(Image.open(out / "street.view.png"))
    assert np.array_equal(classes, predictor.predict(photo).classes)
    assert len(np.unique(classes)) > 1
    assert Image.open(out / "street.view.png").mode == "P"
    record = json.loads((out / "street.view.json").read_text())
    assert record == written.record
    assert (record["image"], record.keys()) == (str(photo), {"image", "shares"})
    shares = record["shares"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert written.summary == ", ".join(f"{name} {share:.1%}" for name, share in list(shares.items())[:4])
    assert shares[str(classes[0, 0])] == pytest.approx((classes == classes[0, 0]).mean(), abs=1e-5)
    overlay = Image.open(out / "street.view_overlay.jpg")
    assert overlay.width >= 70
    assert overlay.height > 50  # the legend


def test_confidence_and_probabilities(predictor, photos, tmp_path):
    photo, out = photos / "a.jpg", tmp_path / "out"
    write(SemanticWriter(predictor, confidence=True, probabilities=True), [photo], out)
    found = predictor.predict(photo, probabilities=True)
    for name in ("confidence", "instability"):
        image = Image.open(out / f"a_{name}.png")
        assert image.mode == "I;16"
        np.testing.assert_allclose(np.array(image) / 65535, getattr(found, name), atol=1e-5)
    arrays = np.load(out / "a_probabilities.npz")
    assert arrays["class_names"].tolist() == list("0123")
    assert arrays["probabilities"].dtype == arrays["instability"].dtype == np.float16
    np.testing.assert_allclose(arrays["probabilities"], found.probabilities, atol=1e-3)
    np.testing.assert_allclose(arrays["instability"], found.instability, atol=1e-3)
    # A single pass has no instability: neither file nor array.
    write(
        SemanticWriter(Predictor(network("test_fcn")), confidence=True, probabilities=True), [photo], tmp_path / "one"
    )
    names = {"a.png", "a.json", "a_overlay.jpg", "a_confidence.png", "a_probabilities.npz"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    assert "instability" not in np.load(tmp_path / "one/a_probabilities.npz")


def test_errors_are_drawn_from_labels_in_the_format_of_the_training(photos, tmp_path):
    model = network("test_fcn")
    model.pretrained_cfg = PretrainedCfg(
        "test_fcn", "local", 4, model.backbone.mean, model.backbone.std, ignore_index=9,
        label_format={"ids": {"10": 0, "20": 1, "30": 2, "40": 3, "50": 9}, "suffix": "_mask.png"},
    )  # fmt: skip
    predictor, photo = Predictor(model), photos / "a.jpg"
    classes = predictor.predict(photo).classes
    ids = 10 * (classes + 1)
    ids[:5] = 50
    ids[20:30, 20:30] = 10 * ((classes[20:30, 20:30] + 1) % 4 + 1)
    (tmp_path / "labels").mkdir()
    Image.fromarray(ids).save(tmp_path / "labels/a_mask.png")
    write(SemanticWriter(predictor, labels=tmp_path / "labels"), [photo], tmp_path / "out")
    figure = np.array(Image.open(tmp_path / "out/a_errors.png"))
    marked = (figure == HIGHLIGHT_COLOR).all(-1)
    zoom = -(-320 // 70)
    assert 0 <= marked.sum() - 100 * zoom**2 < 1000  # the rest is the legend's
    (tmp_path / "labels/a_mask.png").rename(tmp_path / "labels/a.png")
    with pytest.raises(
        ValueError, match=r"labels \(--labels\) must exist for each image; .* lacks 1 of 1, first a_mask"
    ):
        write(SemanticWriter(predictor, labels=tmp_path / "labels"), [photo], tmp_path / "new")
    Image.fromarray(ids[:-1]).save(tmp_path / "cut.png")
    with pytest.raises(ValueError, match=r"a\.jpg: labels must have the size of their image, 50x70; got 49x70"):
        write(SemanticWriter(predictor, labels=tmp_path / "cut.png"), [photo], tmp_path / "new")


def test_depth_maps_are_found_by_the_stem_of_the_image(photos, tmp_path):
    predictor, image = Predictor(network("test_depthgate_given")), photos / "a.jpg"
    metres = np.linspace(1, 8, 50 * 70, dtype=np.float32).reshape(50, 70)
    metres[:3] = 0
    millimetres = Image.fromarray((1000 * metres).round().astype(np.uint16))
    expected = predictor.predict(image, np.array(millimetres).astype(np.float32) / 1000).classes
    assert (expected != predictor.predict(image, metres[::-1].copy()).classes).any()
    for name in ("a.png", "a_depth.png", "a.npy"):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / name, metres) if name == "a.npy" else millimetres.save(folder / name)
        for source in (folder, folder / name):
            out = tmp_path / "out" / name / source.name
            write(SemanticWriter(predictor, depth_map=source), [image], out)
            assert np.mean(np.array(Image.open(out / "a.png")) == expected) > 0.999
    with pytest.raises(ValueError, match="depth_map must be given to a network that is gated by the depth"):
        SemanticWriter(predictor)
    with pytest.raises(ValueError, match="depth_map must be left out"):
        SemanticWriter(Predictor(network("test_fcn")), depth_map=tmp_path)
    with pytest.raises(ValueError, match="must be a folder for 2 images"):
        write(
            SemanticWriter(predictor, depth_map=tmp_path / "a.npy/a.npy"), [image, photos / "b.png"], tmp_path / "new"
        )
    np.save(tmp_path / "a.npy/a.npy", metres[:40])
    with pytest.raises(
        ValueError, match=r"a\.jpg: depth_map must have the size of its image, \(50, 70\); got \(40, 70\)"
    ):
        write(SemanticWriter(predictor, depth_map=tmp_path / "a.npy"), [image], tmp_path / "new")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path: path.write_bytes(b"\x93NUMPY\x01"), "cannot be read"),
        (lambda path: np.save(path, np.array([{}], dtype=object)), "cannot be read"),
        (lambda path: np.save(path, np.ones((50, 70), np.uint16)), r"an array \(H, W\) of floating point numbers"),
        (lambda path: np.save(path, np.ones((1, 50, 70))), r"an array \(H, W\) of floating point numbers"),
        (lambda path: Image.new("L", (70, 50), 9).save(path.with_suffix(".png")), "has 8 bits"),
        (lambda path: Image.new("RGB", (70, 50)).save(path.with_suffix(".png")), "one channel"),
    ],
)
def test_what_is_no_depth_is_refused_by_name(photos, tmp_path, save, message):
    (tmp_path / "depth").mkdir()
    save(tmp_path / "depth/a.npy")
    writer = SemanticWriter(Predictor(gatezoo.create_model("test_depthgate_given")), depth_map=tmp_path / "depth")
    with pytest.raises(ValueError, match=message) as caught:
        write(writer, [photos / "a.jpg"], tmp_path / "out")
    assert "depth/a." in str(caught.value)


def test_instances_have_records_and_one_file_for_all(photos, tmp_path):
    torch.manual_seed(3)
    model, out = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=3), tmp_path / "out"
    predictor = InstancePredictor(model, score_threshold=0.0, max_detections=2)
    images = sorted(photos.iterdir())
    for _ in range(2):  # earlier results are replaced
        written = write(InstanceWriter(predictor), images, out)
    names = {f"{image.stem}{ending}" for image in images for ending in (".json", "_instances.jpg")}
    assert {path.name for path in out.iterdir()} == {*names, "instances.json"}
    assert sum(json.loads((out / "a.json").read_text())["counts"].values()) == 2
    assert [one.record["counts"] for one in written] == [
        json.loads(one.files[-1].read_text())["counts"] for one in written
    ]
    coco = json.loads((out / "instances.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a.jpg", "street.view.png"]
    assert [one["id"] for one in coco["annotations"]] == [1, 2, 3, 4]
    (out / "instances.json").write_text(json.dumps({"images": [], "annotations": []}))  # the user's own
    before = content(out)
    with pytest.raises(ValueError, match=r"no earlier result; .*instances\.json exists"):
        write(InstanceWriter(predictor), images, out)
    assert content(out) == before


def test_networks_are_compared_on_one_image(photos, tmp_path):
    first, second, given = network("test_fcn"), network("test_dignet"), network("test_depthgate_given")
    image, zoom = photos / "a.jpg", -(-320 // 70)
    labels = Predictor(first).predict(image).classes
    Image.fromarray(labels).save(tmp_path / "labels.png")
    figure = np.array(compare_networks([("one", first), ("two", second)], image, tmp_path / "labels.png"))
    marked = (figure == HIGHLIGHT_COLOR).all(-1).sum() - (
        Predictor(second).predict(image).classes != labels
    ).sum() * zoom**2
    assert 0 <= marked < 1000  # the first has no errors; the rest is the legend's
    np.save(tmp_path / "depth.npy", np.full((50, 70), 2.0))
    three = compare_networks([("one", first), ("2", second), ("3", given)], image, depth_map=tmp_path / "depth.npy")
    assert three.width > 4 * 320
    for models, message in [
        ([("one", first)], "networks to compare must be two at least; got 1"),
        (
            [("one", first), ("two", gatezoo.create_model("test_fcn"))],
            "must have the same classes; one has 4, 0, 1, 2 ...",
        ),
        ([("one", gatezoo.create_model("test_zigzag_maskrcnn"))], "must be of semantic segmentation; one is of task"),
        ([("one", first), ("3", given)], "depth_map must be given"),
    ]:
        with pytest.raises(ValueError, match=message):
            compare_networks(models, image)


# ---- what must not be replaced


def linked_folder(photos, out):
    out.symlink_to(photos)
    return [photos / "street.view.png"]


def hard_link(photos, out):
    out.mkdir()
    (out / "street.view.png").hardlink_to(photos / "street.view.png")
    (out / "street.view.json").write_text('{"image": "", "shares": {}}')  # as if by an earlier run
    return [photos / "street.view.png"]


def soft_link(photos, out):
    hard_link(photos, out)
    (out / "street.view.png").unlink()
    (out / "street.view.png").symlink_to(photos / "street.view.png")
    return [photos / "street.view.png"]


def other_input(photos, out):
    """The overlay of a.jpg would replace the second image."""
    out.mkdir()
    Image.new("RGB", (40, 40)).save(out / "a_overlay.jpg")
    (out / "a.json").write_text('{"image": "", "shares": {}}')
    return [photos / "a.jpg", out / "a_overlay.jpg"]


def same_stem(photos, out):
    Image.new("RGB", (40, 40)).save(photos / "a.png")
    return [photos / "a.jpg", photos / "a.png"]


def ending_in_the_stem(photos, out):
    Image.new("RGB", (40, 40)).save(photos / "a_iterations.jpg")
    return [photos / "a.jpg", photos / "a_iterations.jpg"]


def stems_that_differ_in_case(photos, out):
    (photos / "other").mkdir()
    Image.new("RGB", (40, 40)).save(photos / "other/A.png")
    return [photos / "a.jpg", photos / "other/A.png"]


def twice(photos, out):
    return [photos / "a.jpg", photos / "a.jpg"]


def file_of_the_user(photos, out):
    out.mkdir()
    (out / "a.png").write_text("mine")
    return [photos / "street.view.png", photos / "a.jpg"]


def json_of_the_user(photos, out):
    out.mkdir()
    (out / "a.json").write_text('{"shares": {"NVDA": 12}}')
    return [photos / "a.jpg"]


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (linked_folder, "must not replace an input"),
        (hard_link, "must not replace an input"),
        (soft_link, "must not replace an input"),
        (other_input, "must not replace an input"),
        (same_stem, "must not replace one another"),
        (ending_in_the_stem, "must not replace one another"),
        (stems_that_differ_in_case, "must not replace one another"),
        (twice, "must not replace one another"),
        (file_of_the_user, "must not replace a file that is no earlier result"),
        (json_of_the_user, "must not replace a file that is no earlier result"),
    ],
)
def test_files_of_the_user_are_never_replaced(predictor, photos, tmp_path, monkeypatch, arrange, message):
    out = tmp_path / "out"
    images, before = arrange(photos, out), content(tmp_path)
    monkeypatch.setattr(Predictor, "predict", lambda *_, **__: pytest.fail("an image was read"))
    with pytest.raises(ValueError, match=message) as caught:
        write(SemanticWriter(predictor, show_iterations=True), images, out)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_labels_and_depth_are_not_replaced_either(photos, tmp_path):
    predictor, labels = Predictor(network("test_depthgate_given")), tmp_path / "labels"
    labels.mkdir()
    (labels / "a.json").write_text('{"image": "", "shares": {}}')  # as if by an earlier run
    Image.fromarray(np.full((50, 70), 2000, np.uint16)).save(labels / "a.png")
    for sources in (dict(depth_map=labels), dict(labels=labels / "a.png", depth_map=tmp_path / "depth.npy")):
        with pytest.raises(ValueError, match=r"would replace .*labels/a\.png"):
            write(SemanticWriter(predictor, **sources), [photos / "a.jpg"], labels)


def test_earlier_results_are_replaced(predictor, photos, tmp_path):
    images, out = sorted(photos.iterdir()), tmp_path / "out"
    write(SemanticWriter(predictor, confidence=True), images, out)
    first = content(out)
    Image.new("RGB", (90, 60), "green").save(photos / "a.jpg")
    write(SemanticWriter(predictor, confidence=True), images, out)
    second = content(out)
    assert first.keys() == second.keys()
    assert {path.name for path in first if first[path] != second[path]} == {
        "a.png", "a_overlay.jpg", "a_confidence.png", "a_instability.png", "a.json",
    }  # fmt: skip


def test_no_partial_file_is_left(predictor, photos, tmp_path, monkeypatch):
    def full(self, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ValueError, match="must be writable; No space left on device"):
        write(SemanticWriter(predictor), [photos / "a.jpg"], tmp_path / "out", on_error=pytest.fail)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.json"]


def test_output_path_must_be_a_folder(predictor, photos, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="the output folder must be writable"):
        write(SemanticWriter(predictor), [photos / "a.jpg"], tmp_path / "out")


# ---- batches


def test_a_batch_goes_on_after_images_that_cannot_be_predicted(predictor, photos, tmp_path, monkeypatch):
    (photos / "b.png").write_bytes(b"not an image")
    Image.new("RGB", (20, 20)).save(photos / "c.png")
    Image.new("RGB", (40, 40)).save(photos / "large.png")
    real = Predictor.predict_decoded

    def predict(self, image, *arguments, **options):
        if image.shape[-2:] == (40, 40):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(self, image, *arguments, **options)

    monkeypatch.setattr(Predictor, "predict_decoded", predict)
    images, errors, steps = sorted(photos.iterdir()), [], []

    def progress(items, total):
        for item in items:
            yield item
            steps.append(total)

    written = write(SemanticWriter(predictor), images, tmp_path / "out", on_error=errors.append, progress=progress)
    assert [one.image.name for one in written] == ["a.jpg", "street.view.png"]
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == {"a", "street.view"}
    assert steps == [5] * 5
    for error, name, text in zip(
        errors, ("b.png", "c.png", "large.png"), ("formats", "at least 32", "fit into memory")
    ):
        assert name in str(error)
        assert text in str(error)
        assert "\n" not in str(error)
    with pytest.raises(ValueError, match=r"large\.png, or windows of it \(--window-size 512\)"):
        write(SemanticWriter(predictor), [photos / "large.png"], tmp_path / "new")


def test_images_are_written_in_order_and_up_to_a_broken_one(predictor, photos, tmp_path):
    for name in ("b.png", "d.png"):
        Image.new("RGB", (40, 40)).save(photos / name)
    (photos / "c.png").write_text("no image")
    images = [photos / name for name in ("d.png", "a.jpg", "c.png", "b.png")]
    with pytest.raises(ValueError, match=r"c\.png") as raised:
        write(SemanticWriter(predictor), images, tmp_path / "out")
    with pytest.raises(ValueError, match=r"c\.png") as alone:
        predictor.predict(photos / "c.png")
    assert str(raised.value) == str(alone.value)
    assert {path.name for path in (tmp_path / "out").glob("*.json")} == {"d.json", "a.json"}
    events, errors = [], []
    for one in write_predictions(SemanticWriter(predictor), images, tmp_path / "new", on_error=errors.append):
        events.append((one.image.name, len(errors)))
    assert events == [("d.png", 0), ("a.jpg", 0), ("b.png", 1)]
    for name in ("d", "a", "b"):
        (image,) = (path for path in images if path.stem == name)
        assert np.array_equal(np.array(Image.open(tmp_path / f"new/{name}.png")), predictor.predict(image).classes)


def test_an_error_of_writing_ends_the_batch(predictor, photos, tmp_path, monkeypatch):
    def fail(path, write):
        raise ValueError(f"{path} cannot be written")

    monkeypatch.setattr("gatezoo.inference.writers.atomic_write", fail)
    errors = []
    with pytest.raises(ValueError, match=r"a\.png cannot be written"):
        write(SemanticWriter(predictor), sorted(photos.iterdir()), tmp_path / "out", on_error=errors.append)
    assert not errors


def test_options_that_need_another_network_or_mode_are_refused_at_once(predictor):
    with pytest.raises(ValueError, match="depth must be predicted by the network; test_dignet predicts none"):
        SemanticWriter(predictor, depth=True)
    with pytest.raises(ValueError, match="iterations must be a whole number of passes, 1 to 100; got 101"):
        Predictor(predictor.model, iterations=101)
    with pytest.raises(ValueError, match="show_iterations requires whole images at one scale; got windows of 48x48"):
        SemanticWriter(Predictor(predictor.model, mode=SlidingWindow(48)), show_iterations=True)
