"""What an experiment says reaches the network: the tensors that arrive, and the step that is taken."""

import pytest
import torch
import torch.nn.functional as F
import yaml
from helpers.backbones import backbone_file
from helpers.commands import run
from helpers.headers import header
from helpers.trees import DRAWERS
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.data import create_dataset

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)
CLASSES = [str(number) for number in range(11)]
RECIPE = {"steps": 1, "batch_size": 2, "crop_size": 40, "lr": 0.5, "mean": list(MEAN), "std": list(STD)}
RECIPE |= {"frozen_layers": ["norm_statistics"]}


@pytest.fixture
def experiment(tmp_path, monkeypatch, capsys):
    """Return a function that trains or evaluates an experiment with some fields and records what its network gets."""
    DRAWERS["camvid"](tmp_path / "data")
    shared = {"paper": "a", "source": "b", "dataset": "camvid", "train_split": "train", "val_split": "val"}

    def do(command, name="test_fcn", recipe=None, options=(), **row):
        row = {"model": name, "paper_results": {"miou": 50}, **row}
        content = shared | {"recipe": RECIPE | (recipe or {}), "experiments": {f"{name}.camvid": row}}
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(content))
        seen, kind = [], type(gatezoo.create_model(name, num_classes=2))
        forward = kind.forward

        def record(model, image, **keywords):
            seen.append((model, image.detach().clone(), keywords))
            return forward(model, image, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "forward", record)
            arguments = ["--recipe", f"{tmp_path}/t.yaml:{name}.camvid", "--data", tmp_path / "data", "-j", 0]
            arguments += ["--device", "cpu", "--out", tmp_path / command, *options]
            code, _, err = run(monkeypatch, capsys, command, *arguments)
        assert code == 0, err
        return seen

    return do


@pytest.fixture
def train(experiment, tmp_path):
    weights = backbone_file(tmp_path / "backbone.safetensors")
    return lambda **fields: experiment("train", options=["--pretrained-backbone", weights], **fields)


@pytest.fixture
def evaluate(experiment, tmp_path):
    def do(protocol, name="test_fcn", **fields):
        torch.manual_seed(0)
        model = gatezoo.create_model(name, num_classes=11)
        facts = {"class_names": CLASSES, "num_classes": 11, "mean": MEAN, "std": STD}
        save_file(model.state_dict(), tmp_path / "model.safetensors", header(name, **facts))
        seen = experiment("eval", name, options=[tmp_path / "model.safetensors"], protocol=protocol, **fields)
        return [image for _, image, _ in seen]

    return do


def images(tmp_path, split):
    return [one["image"].as_subclass(torch.Tensor) for one in create_dataset("camvid", tmp_path / "data", split)]


def normalized(image):
    return (image.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def is_part_of(crop, image, factor=1):
    """Whether a normalized crop is a piece of an image, enlarged by a factor, up to the rounding of pixels."""
    side = crop.shape[-1] // factor
    pieces = image.float().unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)
    if factor > 1:
        pieces = F.interpolate(pieces, scale_factor=factor, mode="bilinear", antialias=True)
    found = (crop * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
    return bool((pieces - found).abs().flatten(1).amax(1).min() < 1.01)


# ---- training


@pytest.mark.parametrize(
    ("recipe", "mirrored", "factor"),
    [
        ({}, False, 1),
        ({"hflip": 1.0}, True, 1),
        ({"scale_range": [2.0, 2.0]}, False, 2),
        ({"crop_size": 32, "batch_size": 3}, False, 1),
    ],
)
def test_crops_are_those_of_the_recipe(train, tmp_path, recipe, mirrored, factor):
    """Without fields of augmentation a crop is a piece of an image as it is: not mirrored, scaled or recolored."""
    batch, originals = train(recipe=recipe)[0][1], images(tmp_path, "train")
    side = recipe.get("crop_size", 40)
    assert batch.shape == (recipe.get("batch_size", 2), 3, side, side)
    for crop in batch:
        assert any(is_part_of(crop.flip(-1) if mirrored else crop, image, factor) for image in originals)
        assert not any(is_part_of(crop if mirrored else crop.flip(-1), image, factor) for image in originals)


@pytest.mark.parametrize("recipe", [{"color_jitter": 0.9}, {"rotate": 30}, {"scale_range": [2.0, 2.0]}])
def test_augmentation_changes_the_crops(train, tmp_path, recipe):
    batch, originals = train(recipe=recipe)[0][1], images(tmp_path, "train")
    assert not any(is_part_of(crop, image) for crop in batch for image in originals)


@pytest.mark.parametrize(
    ("recipe", "decay", "multiplier"),
    [({}, 0.0, 1.0), ({"weight_decay": 0.1}, 0.1, 1.0), ({"head_lr_mult": 3.0}, 0.0, 3.0)],
)
def test_first_step_is_that_of_plain_sgd(train, tmp_path, monkeypatch, recipe, decay, multiplier):
    """w - lr (g + decay w), of biases and norms without decay; the gradient, far above 5, is not clipped."""
    from gatezoo.training.objectives import SemanticObjective

    given, forward = [], SemanticObjective.forward

    def record(objective, pixels, labels, *others):
        given.append(({k: v.clone() for k, v in objective.model.state_dict().items()}, pixels, labels))
        return 100 * forward(objective, pixels, labels, *others)

    monkeypatch.setattr(SemanticObjective, "forward", record)
    train(recipe=recipe)
    before, pixels, labels = given[0]
    model = gatezoo.create_model("test_fcn", num_classes=11, freeze_bn=True)
    model.load_state_dict(before)
    logits = model.train()(normalized(pixels))
    (100 * F.cross_entropy(logits, labels.long(), ignore_index=255)).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert norm > 20
    after = load_file(tmp_path / "train/last.safetensors")
    for name, parameter in model.named_parameters():
        rate = 0.5 * (1.0 if name.startswith("backbone") else multiplier)
        own = decay if parameter.ndim > 1 else 0.0
        expected = parameter - rate * (parameter.grad + own * parameter)
        torch.testing.assert_close(
            after[name], expected, rtol=1e-3, atol=1e-3 * parameter.grad.abs().max().item() + 1e-6
        )


def test_model_keywords_reach_the_trained_network(train):
    kwargs = {"bins": [1, 5], "iterations": 3, "shallowest": 4}
    model = train(name="test_dignet", model_kwargs=kwargs)[0][0]
    assert model.iterations == 3
    assert {key: model.model_kwargs[key] for key in kwargs} == kwargs
    expected = gatezoo.create_model("test_dignet", num_classes=11, **kwargs)
    assert {key: v.shape for key, v in model.state_dict().items()} == {
        key: v.shape for key, v in expected.state_dict().items()
    }


@pytest.mark.parametrize("frozen", [[], ["norm_statistics"]])
def test_statistics_of_norms_are_kept_only_where_the_experiment_says_so(train, frozen):
    """Though a network of this kind keeps them by default."""
    assert gatezoo.create_model("test_dignet").freeze_bn
    assert train(name="test_dignet", recipe={"frozen_layers": frozen})[0][0].freeze_bn == bool(frozen)


# ---- evaluation


def test_evaluated_images_are_normalized_as_those_of_the_training(evaluate, tmp_path):
    seen, originals = evaluate({}), images(tmp_path, "val")
    assert len(seen) == len(originals)
    for found, image in zip(seen, originals, strict=True):
        torch.testing.assert_close(found[0], normalized(image), rtol=1e-4, atol=1e-4)


def test_scales_and_mirror_images_of_the_protocol_reach_the_network(evaluate, tmp_path):
    seen, (image, *_) = evaluate({"scales": [0.75, 1.5], "flip": True}), images(tmp_path, "val")
    height, width = image.shape[-2:]
    sizes = [(round(s * height), round(s * width)) for s in (0.75, 1.5)]
    assert [tuple(x.shape[-2:]) for x in seen[:4]] == [sizes[0], sizes[0], sizes[1], sizes[1]]
    expected = F.interpolate(normalized(image)[None], sizes[1], mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[2], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(seen[3], seen[2].flip(-1))


def test_padding_of_the_protocol_reaches_the_network(evaluate, tmp_path):
    seen, (image, *_) = evaluate({"pad_to": 80}), images(tmp_path, "val")
    height, width = image.shape[-2:]
    expected = torch.zeros(1, 3, 80, 80)
    expected[0, :, :height, :width] = normalized(image)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)


def test_windows_of_the_protocol_reach_the_network(evaluate, tmp_path):
    seen, (image, *_) = evaluate({"window_size": 40, "window_overlap": 0.25}), images(tmp_path, "val")
    assert {tuple(x.shape[-2:]) for x in seen} == {(40, 40)}
    lefts = torch.tensor([(x - normalized(image)[:, :40, :40]).abs().max() for x in seen])
    assert lefts.argmin() == 0
    assert lefts[0] < 1e-3
    assert len(seen) == 2 * 2 * len(images(tmp_path, "val"))


def test_passes_of_the_protocol_reach_the_network(experiment, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    facts = {"class_names": CLASSES, "num_classes": 11, "mean": MEAN, "std": STD}
    save_file(gatezoo.create_model("test_dignet", num_classes=11).state_dict(), path, header("test_dignet", **facts))
    seen = experiment("eval", "test_dignet", options=[path], protocol={"iterations": 5})
    assert {keywords["iterations"] for _, _, keywords in seen} == {5}
