import json

import numpy as np
import pytest
import torch
from PIL import Image

import gatezoo
from gatezoo.inference.modes import SlidingWindow
from gatezoo.inference.predictor import Predictor
from gatezoo.inference.semantic import predict_iterations
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions
from gatezoo.segmenters.outputs import PassOutput
from gatezoo.utils.image_tensors import to_image_tensor
from gatezoo.utils.images import load_image
from gatezoo.utils.palette import voc_palette


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return gatezoo.create_model("test_dignet", num_classes=4)


@pytest.fixture
def photo(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "street.view.png"
    Image.fromarray(random.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
    return path


def test_predict_takes_every_kind_of_image(model, photo):
    array = np.array(Image.open(photo))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = gatezoo.predict(model, photo)
    assert expected.shape == (50, 70)
    assert expected.dtype == np.uint8
    assert model.training  # as it was
    for same in (
        str(photo),
        Image.open(photo),
        array,
        tensor,
        tensor / 255,
        array / 255.0,
        array.astype(np.uint16) * 257,
    ):
        assert np.array_equal(gatezoo.predict(model, same), expected)
    for several, count in (([photo, array], 2), (torch.stack([tensor, tensor]), 2), (photo.parent, 1)):
        listed = gatezoo.predict(model, several)
        assert len(listed) == count
        assert all(np.array_equal(classes, expected) for classes in listed)


def test_predict_is_the_argmax_of_the_normalized_image(model, photo):
    image = load_image(photo)[None] / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.backbone.mean, model.backbone.std))
    with torch.no_grad():
        expected = model.eval()((image - mean) / std, iterations=3).argmax(1)[0]
    assert np.array_equal(gatezoo.predict(model, photo, iterations=3), expected.numpy())


def test_predict_iterations(model, photo):
    assert len(predict_iterations(model, photo, iterations=3)) == 3
    assert np.array_equal(predict_iterations(model, photo)[-1], gatezoo.predict(model, photo))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((3, 40, 40), float("nan")), "an image must be finite; it contains NaN"),
        (torch.randn(3, 40, 40), r"must be in 0 \.\. 1; got .*: for normalized images call model"),
        (torch.zeros(3, 40, 40, dtype=torch.int64), r"must be uint8, uint16 or .* got torch\.int64"),
        (torch.zeros(4, 40, 40), r"must have 3 channels: .* got \(4, 40, 40\)"),
        (np.zeros((40, 40, 4), np.uint8), r"got \(4, 40, 40\)"),
        (torch.zeros(3, 20, 40), "at least 32 pixels on each side; got 20x40"),
        (17, "must be a path, a PIL image, an array or a tensor; got int"),
    ],
)
def test_invalid_images_are_rejected(model, x, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.predict(model, x)


def test_errors_contain_the_file(model, tmp_path, photo):
    with pytest.raises(ValueError, match=r"there is none at .*absent\.jpg"):
        gatezoo.predict(model, tmp_path / "absent.jpg")
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"one of the formats PNG, .*; .*text\.jpg is not"):
        gatezoo.predict(model, text)
    cut = tmp_path / "cut.png"
    cut.write_bytes(photo.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"an image must be an intact file; .*cut\.png cannot be read"):
        gatezoo.predict(model, cut)
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"small\.png: images must be at least 32 pixels"):
        gatezoo.predict(model, tmp_path / "small.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"a folder must hold images .*empty has none"):
        gatezoo.predict(model, tmp_path / "empty")


def test_voc_palette():
    assert voc_palette(5) == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert len(set(voc_palette(150))) == 150


def test_to_image_tensor_takes_other_numbers_of_channels():
    assert to_image_tensor(np.zeros((40, 50), np.uint8), in_chans=1).shape == (1, 40, 50)
    assert to_image_tensor(np.zeros((40, 50, 4), np.uint8), in_chans=4).shape == (4, 40, 50)


# Of 100 columns, the number that each iteration assigns to class 1: iterations change .2, .05, .01 and 0 of the pixels.
COLUMNS = (50, 70, 75, 76, 76, 76)


@pytest.fixture
def changing(monkeypatch):
    """A network whose iterations change ever fewer pixels, and a list of the iterations that were run."""
    model, ran = gatezoo.create_model("test_rignet_su", num_classes=2), []
    model.unroll = "parallel"

    def iterate_outputs(batch, iterations, details=True):
        for passed in range(iterations):
            ran.append(passed + 1)
            logits = torch.zeros(1, 2, *batch.shape[-2:])
            logits[:, 1, :, : COLUMNS[passed]] = 1
            logits[:, 0, :, COLUMNS[passed] :] = 1
            yield PassOutput(logits)

    monkeypatch.setattr(model, "iterate_outputs", iterate_outputs)
    return model, ran


@pytest.mark.parametrize(("tolerance", "expected"), [(0.5, 2), (0.2, 2), (0.19, 3), (0.05, 3), (0.02, 4), (0, 5)])
def test_auto_iterations_stop_when_the_prediction_is_stable(changing, tmp_path, tolerance, expected):
    model, ran = changing
    image = torch.zeros(3, 40, 100)
    last = gatezoo.predict(model, image, iterations="auto", tolerance=tolerance)
    assert ran == list(range(1, expected + 1))
    assert (last == 1).sum() == 40 * COLUMNS[expected - 1]
    assert len(predict_iterations(model, image, iterations="auto", tolerance=tolerance)) == expected
    Image.new("RGB", (100, 40)).save(tmp_path / "a.png")
    writer = SemanticWriter(Predictor(model, iterations="auto", tolerance=tolerance))
    (written,) = write_predictions(writer, [tmp_path / "a.png"], tmp_path / "out")
    assert json.loads((tmp_path / "out/a.json").read_text())["iterations"] == expected
    assert written.summary.endswith(f" after {expected} iterations")


def test_auto_iterations_stop_at_the_maximum(changing, monkeypatch):
    model, _ = changing
    monkeypatch.setattr(f"{__name__}.COLUMNS", (10, 90) * 5)
    assert len(predict_iterations(model, torch.zeros(3, 40, 100), iterations="auto", tolerance=0)) == 10


def test_auto_iterations_require_whole_passes_and_whole_images(changing):
    changing, _ = changing
    image = torch.rand(3, 64, 64)
    for name in ("test_fcn", "test_rignet_su"):
        with pytest.raises(ValueError, match="iterations='auto' requires a network that is unrolled in whole passes"):
            gatezoo.predict(gatezoo.create_model(name), image, iterations="auto")
    with pytest.raises(ValueError, match="iterations='auto' requires whole images"):
        gatezoo.predict(changing, image, iterations="auto", mode=SlidingWindow(48))
    with pytest.raises(ValueError, match=r"tolerance must be a share of the pixels, in 0 \.\. 1"):
        gatezoo.predict(changing, image, iterations="auto", tolerance=2)


def test_many_images_are_predicted_as_one_by_one(tmp_path):
    """From five images on the network is prepared; labels change only where two classes are as good as equal."""
    torch.manual_seed(0)
    model = gatezoo.create_model("test_gff", num_classes=4).eval()
    random = np.random.default_rng(0)
    for number in range(9):
        size = (40, 48) if number % 3 else (50, 34)
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{8 - number}.png")
    paths = sorted(tmp_path.iterdir())
    for found, path in zip(gatezoo.predict(model, tmp_path, probabilities=True), paths, strict=True):
        expected = gatezoo.predict(model, path, probabilities=True)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        assert torch.equal(found.image, expected.image)
    paths[4].write_text("no image")
    with pytest.raises(ValueError, match=paths[4].name) as alone:
        gatezoo.predict(model, paths[4])
    with pytest.raises(ValueError, match=paths[4].name) as raised:
        gatezoo.predict(model, tmp_path)
    assert str(raised.value) == str(alone.value)
