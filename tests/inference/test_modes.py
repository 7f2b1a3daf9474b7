import itertools
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.commands import run
from PIL import Image
from torch import nn

import gatezoo
from gatezoo.inference.modes import MultiScale, SlidingWindow, WholeImage, window_weights
from gatezoo.inference.padding import PadTo, make_inference_mode
from gatezoo.inference.passes import iteration_kwargs
from gatezoo.inference.predictor import Predictor
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions


class Net(nn.Module):
    """A convolution plus the mean of its input: different windows give different logits for the same pixel."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 3, padding=1)
        self.calls = []

    def forward(self, x):
        self.calls.append(tuple(x.shape))
        return self.conv(x) + x.mean((2, 3), keepdim=True).sum(1, keepdim=True) * torch.arange(4.0).view(1, 4, 1, 1)


@pytest.fixture
def net():
    return Net().eval()


MODES = [
    WholeImage(),
    MultiScale(),
    MultiScale((0.5, 1.25), flip=False),
    SlidingWindow(40),
    SlidingWindow((36, 50), 0.2),
    MultiScale((0.8, 1.0), True, SlidingWindow(40)),
    SlidingWindow(40, 0.5, MultiScale((0.9, 1.5))),
    PadTo(80),
    PadTo(100, MultiScale((0.8, 1.0), True, SlidingWindow(40))),
]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_constant_logits_stay_constant_in_every_mode(mode):
    logits = torch.tensor([0.3, -2.0, 1.7]).view(1, 3, 1, 1)
    result = mode(lambda x: logits.expand(len(x), 3, *x.shape[2:]), torch.randn(2, 3, 71, 90))
    assert result.shape == (2, 3, 71, 90)
    torch.testing.assert_close(result.softmax(1), logits.softmax(1).expand_as(result))
    torch.testing.assert_close(result, result[:, :, :1, :1].expand_as(result))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_label_map_is_the_argmax_of_the_logits(mode, net):
    image = torch.randn(2, 3, 65, 101)
    classes = mode.classes(net, image)
    assert classes.dtype == torch.uint8
    assert torch.equal(classes.long(), mode(net, image).argmax(1))


def test_label_map_of_more_than_256_classes_is_int32():
    wide = nn.Conv2d(3, 300, 1)
    assert SlidingWindow(40).classes(wide, torch.randn(1, 3, 50, 50)).dtype == torch.int32


def test_single_scale_without_flip_is_the_plain_network(net):
    image = torch.randn(1, 3, 60, 80)
    assert torch.equal(MultiScale((1.0,), flip=False)(net, image), net(image))
    inner = SlidingWindow(40)
    assert torch.equal(MultiScale((1.0,), flip=False, inner=inner)(net, image), inner(net, image))


def test_multi_scale_averages_probabilities_over_scales_and_flips(net):
    image = torch.randn(1, 3, 50, 70)
    total = torch.zeros(1, 4, 50, 70)
    for height, width in ((40, 56), (50, 70), (75, 105)):  # scales .8, 1, 1.5
        small = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
        mirrored = torch.from_numpy(small.numpy()[..., ::-1].copy())
        for x, turned in ((small, False), (mirrored, True)):
            odds = net(x).detach().double().exp().numpy()
            p = odds / odds.sum(1, keepdims=True)
            p = torch.from_numpy((p[..., ::-1] if turned else p).copy()).float()
            total += F.interpolate(p, (50, 70), mode="bilinear", align_corners=False) / 6
    result = MultiScale((0.8, 1, 1.5))(net, image)
    torch.testing.assert_close(result.softmax(1), total)
    torch.testing.assert_close(result.exp(), total)


@pytest.mark.parametrize("mode", [MultiScale((1.0,)), MultiScale((0.7, 1.0, 1.6)), MultiScale((0.9,), True)], ids=str)
def test_multi_scale_with_flips_is_equivariant_to_mirroring(mode, net):
    image = torch.randn(1, 3, 48, 66)
    torch.testing.assert_close(mode(net, image.flip(-1)), mode(net, image).flip(-1), rtol=1e-4, atol=1e-5)
    plain = MultiScale(mode.scales, flip=False)
    assert (plain(net, image.flip(-1)) - plain(net, image).flip(-1)).abs().max() > 0.01


def test_multi_scale_of_a_zero_probability_is_finite():
    result = MultiScale((1.0,))(lambda x: x * 1000, torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 40, 40))
    assert torch.isfinite(result).all()


def test_scaled_sides_are_not_below_the_minimum_of_networks(net):
    MultiScale((0.25, 2), flip=False)(net, torch.randn(1, 3, 160, 40))
    assert net.calls == [(1, 3, 40, 32), (1, 3, 320, 80)]
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    with pytest.raises(ValueError, match="at least 32 pixels on each side; got 28x32"):
        MultiScale((0.5,))(model, torch.randn(1, 3, 28, 40))


def by_loops(net, image, tops, lefts, tall, wide):
    """Average windows at given positions, a pixel at a time."""
    height, width = image.shape[2:]
    sums, weights = np.zeros((4, height, width)), np.zeros((height, width))
    for top, left in itertools.product(tops, lefts):
        logits = net(image[..., top : top + tall, left : left + wide]).detach().numpy()[0]
        for y in range(tall):
            for x in range(wide):
                weight = min(y + 1, tall - y) * min(x + 1, wide - x)
                sums[:, top + y, left + x] += weight * logits[:, y, x]
                weights[top + y, left + x] += weight
    assert (weights > 0).all()
    return torch.from_numpy(sums / weights).float()[None]


@pytest.mark.parametrize(
    ("mode", "size", "tops", "lefts", "window"),
    [
        (SlidingWindow(40, 0.5), (70, 61), (0, 15, 30), (0, 10, 21), (40, 40)),
        (SlidingWindow(40, 0.0), (81, 80), (0, 20, 41), (0, 40), (40, 40)),
        (SlidingWindow((34, 60), 0.25), (50, 44), (0, 16), (0,), (34, 44)),
        (SlidingWindow(33, 0.9), (36, 33), (0, 3), (0,), (33, 33)),
    ],
    ids=str,
)
def test_windows_match_a_slow_loop(mode, size, tops, lefts, window, net):
    image = torch.randn(1, 3, *size)
    starts = [start for start, _ in window_weights(size[1], window[1], mode.overlap)]
    assert starts == list(lefts)
    torch.testing.assert_close(mode(net, image), by_loops(net, image, tops, lefts, *window), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.1, 0.5, 2 / 3, 0.97])
@pytest.mark.parametrize(("length", "window"), [(33, 33), (34, 33), (100, 40), (1025, 64), (513, 512)])
def test_window_weights_are_positive_and_sum_to_one_everywhere(length, window, overlap):
    total = torch.zeros(length, dtype=torch.float64)
    starts = []
    for start, weights in window_weights(length, window, overlap):
        assert len(weights) == window
        assert (weights > 0).all()
        total[start : start + window] += weights
        starts.append(start)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert (starts[0], starts[-1]) == (0, length - window)
    steps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(0 < step <= max(1, round(window * (1 - overlap))) for step in steps)


def test_image_no_larger_than_the_window_is_run_as_a_whole(net):
    image = torch.randn(1, 3, 64, 50)
    assert torch.equal(SlidingWindow(64)(net, image), net(image))
    assert net.calls == [(1, 3, 64, 50)] * 2

    class Marked(WholeImage):
        def classes(self, forward, batch):
            return "label map of the inner mode"

    assert SlidingWindow(64, inner=Marked()).classes(net, image) == "label map of the inner mode"
    assert SlidingWindow(63, inner=Marked()).classes(net, image).shape == (1, 64, 50)


def test_windows_do_not_change_a_network_of_single_pixels():
    local = nn.Conv2d(3, 4, 1)
    image = torch.randn(2, 3, 90, 77)
    torch.testing.assert_close(SlidingWindow(35, 0.3)(local, image), local(image), rtol=1e-4, atol=1e-5)


def test_half_precision_logits_are_summed_in_float32(net):
    image = torch.randn(1, 3, 70, 70)
    half = SlidingWindow(40)(lambda x: net(x).bfloat16(), image)
    assert half.dtype == torch.float32
    assert MultiScale((1.0,))(lambda x: net(x).bfloat16(), image).dtype == torch.float32
    torch.testing.assert_close(half, SlidingWindow(40)(net, image), rtol=0.02, atol=0.02)


def test_windows_need_no_memory_for_the_logits_of_the_whole_image():
    code = """
import resource, sys, torch
from gatezoo.inference import SlidingWindow
torch.set_num_threads(1)
forward, mode = torch.nn.Conv2d(3, 19, 1), SlidingWindow(256)
image = torch.rand(1, 3, 3000, 1024)
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
mode.classes(forward, image[:, :, :300, :300])
before = peak()
classes = mode.classes(forward, image)
print(peak() - before, classes.shape == (1, 3000, 1024))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    added, right = done.stdout.split()
    logits, band = 19 * 3000 * 1024 * 4, 19 * 256 * 1024 * 4
    assert right == "True"
    assert int(added) < 4 * band < logits / 2.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlidingWindow(32), r"a window must be a whole number of pixels larger than 32; got 32"),
        (lambda: SlidingWindow((512, 8)), r"larger than 32; got \(512, 8\)"),
        (lambda: SlidingWindow(64.5), "a whole number of pixels .* got 64.5"),
        (lambda: SlidingWindow(64, 1.0), "from 0 and below 1; got 1.0"),
        (lambda: SlidingWindow(64, -0.1), "from 0 and below 1; got -0.1"),
        (lambda: MultiScale(()), r"scales must be positive numbers, at least one; got \[\]"),
        (lambda: MultiScale((1, 0)), r"scales must be positive .* got \[1, 0\]"),
        (lambda: MultiScale((1, -2)), "scales must be positive"),
        (lambda: MultiScale((math.nan,)), "scales must be positive"),
        (
            lambda: make_inference_mode(overlap=0.5),
            "overlap requires a window; got overlap 0.5 without one: pass --window-size 512",
        ),
    ],
)
def test_invalid_modes_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_make_inference_mode():
    assert make_inference_mode() == WholeImage()
    assert make_inference_mode(window=64) == SlidingWindow(64, 0.5)
    assert make_inference_mode(flip=True) == MultiScale((1.0,), True)
    windows = SlidingWindow(64, 0.25)
    mode = make_inference_mode([0.5, 1], False, 64, 0.25)
    assert mode == MultiScale((0.5, 1), False, windows)
    assert str(mode) == "scales 0.5, 1, windows of 64x64 that overlap by 25%"
    assert str(make_inference_mode(flip=True)) == "scale 1 with flips, whole images"


def test_iterations_require_an_unrolled_network():
    gated = gatezoo.create_model("test_dignet", num_classes=3).eval()
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(gated(image, **iteration_kwargs(gated, 3)), gated(image, iterations=3))
        assert torch.equal(gated(image, **iteration_kwargs(gated, None)), gated(image))
    with pytest.raises(ValueError, match=r"iterations requires a network that is unrolled; .* got 2: leave it out"):
        iteration_kwargs(gatezoo.create_model("test_fcn", num_classes=3), 2)


def test_predict_takes_a_mode(tmp_path):
    model = gatezoo.create_model("test_dignet", num_classes=4).eval()
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "street.png")
    mode = MultiScale((0.75, 1), True, SlidingWindow(48))
    batch = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - torch.tensor(model.backbone.mean).view(3, 1, 1)) / (
        torch.tensor(model.backbone.std).view(3, 1, 1)
    )
    with torch.no_grad():
        model.head.bias -= model(batch, iterations=3).mean((0, 2, 3))  # or else one class wins everywhere
        expected = mode.classes(partial(model, iterations=3), batch)[0].numpy()
    (listed,) = gatezoo.predict(model, [tmp_path / "street.png"], iterations=3, mode=mode)
    assert np.mean(listed == expected) > 0.999  # up to ties: the normalization rounds otherwise
    assert np.mean(listed == gatezoo.predict(model, image, iterations=3)) < 0.999
    predictor = Predictor(model, iterations=3, mode=mode)
    (written,) = write_predictions(SemanticWriter(predictor), [tmp_path / "street.png"], tmp_path / "out")
    assert np.array_equal(np.array(Image.open(written.files[0])), listed)
    with pytest.raises(
        ValueError, match=r"show_iterations requires whole images at one scale; got scales 0.75, 1 with flips, windows"
    ):
        SemanticWriter(predictor, show_iterations=True)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (90, 60), (90, 100)])
def test_padding_is_at_the_right_and_below_with_the_mean_color(height, width, net):
    """What reaches the network is the image in the upper left corner of a square of zeros, the normalized mean."""
    image, seen = torch.randn(2, 3, height, width), []
    square = torch.zeros(2, 3, max(height, 72), max(width, 72))
    square[:, :, :height, :width] = image
    logits = PadTo(72)(lambda x: seen.append(x) or net(x), image)
    assert torch.equal(seen[0], square)
    assert torch.equal(logits, net(square)[:, :, :height, :width])


def test_padding_of_a_file_has_the_color_that_the_weights_expect_as_mean(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    image = torch.randint(256, (3, 50, 60), dtype=torch.uint8)
    mean = torch.tensor(model.data_config.mean).view(1, 3, 1, 1) * 255
    padded = mean.repeat(1, 1, 80, 80)
    padded[:, :, :50, :60] = image
    with torch.no_grad():
        expected = model(model.make_normalize()(padded))[0, :, :50, :60].argmax(0)
    found = Predictor(model, mode=PadTo(80)).run(image, logits=True)[0]
    assert torch.equal(found.classes.long(), expected)
    assert not torch.allclose(found.logits, Predictor(model).run(image, logits=True)[0].logits, atol=1e-3)


def test_predict_pads_images(tmp_path, monkeypatch, capsys):
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    torch.nn.init.normal_(model.head.weight)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with torch.no_grad():  # all classes occur
        model.head.bias -= model(model.make_normalize()(torch.from_numpy(pixels).movedim(-1, 0)[None])).mean((0, 2, 3))
    folder = gatezoo.save_pretrained(model, tmp_path / "model", ["a", "b", "c"])
    arguments = ["predict", f"local-dir:{folder}", tmp_path / "x.png", "--device", "cpu", "--pad-to", 80]
    code, _, err = run(monkeypatch, capsys, *arguments, "--out", tmp_path / "out")
    assert code == 0, err
    found = np.array(Image.open(tmp_path / "out/x.png"))
    assert np.array_equal(found, gatezoo.predict(model, tmp_path / "x.png", mode=PadTo(80)))
    assert not np.array_equal(found, gatezoo.predict(model, tmp_path / "x.png"))


def test_padding_refuses_what_it_cannot_do():
    for side in (32, 10_001, 64.5):
        with pytest.raises(ValueError, match=f"pad_to must be a whole number of pixels larger than 32, .*; got {side}"):
            PadTo(side)
    assert make_inference_mode([0.5], False, 64, None, 80) == PadTo(80, MultiScale((0.5,), False, SlidingWindow(64)))
    assert str(PadTo(80)) == "padded to 80x80, whole images"
    gated = gatezoo.create_model("test_dignet", num_classes=3)
    with pytest.raises(ValueError, match="merge requires whole images at one scale; got padded to 80x80, whole images"):
        Predictor(gated, mode=PadTo(80), merge="mean")
