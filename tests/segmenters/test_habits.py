"""What users of timm, torchvision and huggingface_hub expect of a network, on every class of networks."""

import dataclasses
import inspect

import numpy as np
import pytest
import timm.optim
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

import gatezoo
from gatezoo import segmenters
from gatezoo.data import FolderDataset
from gatezoo.model_info import on_meta
from gatezoo.segmenters.base import BaseSegmenter
from gatezoo.utils.image_tensors import to_image_tensor

ROWS = {
    "feed-forward": ("test_fcn", {}, segmenters.Segmenter),
    "deep head": ("test_fcn", {"head": "fcn"}, segmenters.Segmenter),
    "auxiliary head": ("test_gff", {}, segmenters.Segmenter),
    "parallel": ("test_dignet", {}, segmenters.RecurrentSegmenter),
    "sequential": ("test_rignet_su", {}, segmenters.RecurrentSegmenter),
    "multi-range": ("test_rignet", {}, segmenters.RecurrentSegmenter),
    "four classifiers": ("test_dignet", {"head": "aspp"}, segmenters.RecurrentSegmenter),
    "depth": ("test_depthgate", {"loops": 0}, segmenters.DepthSegmenter),
    "given depth": ("test_depthgate_given", {}, segmenters.RecurrentDepthSegmenter),
    "recurrent depth": ("test_depthgate", {"feedback": "scores"}, segmenters.RecurrentDepthSegmenter),
    "multi-scale": ("test_depthgate_multiscale", {}, segmenters.MultiScaleSegmenter),
    "multi-scale depth": (
        "test_depthgate_multiscale",
        {"combine": "predicted"},
        segmenters.DepthMultiScaleSegmenter,
    ),
    "instance": ("test_zigzag_maskrcnn", {}, segmenters.InstanceSegmenter),
}


@pytest.fixture(params=ROWS.values(), ids=ROWS)
def row(request):
    return request.param


@pytest.fixture
def cls(row):
    return row[2]


@pytest.fixture
def make(row):
    """The function from a number of classes to a network of the row."""
    return lambda num_classes: gatezoo.create_model(row[0], num_classes=num_classes, **row[1])


@pytest.fixture
def model(make):
    return make(5)


def inputs_of(model):
    """A batch of two images, as the network's ``forward`` takes it, and the further arguments."""
    images = torch.rand(2, 3, 64, 96)
    if model.task == "instance":
        return list(images), {}
    return images, model.extra_inputs({"depth": 1 + images[:, 0]})


def loss_of(model):
    """The loss of two images, auxiliary heads included."""
    images, extra = inputs_of(model)
    if model.task == "instance":
        mask = torch.zeros(1, 64, 96, dtype=torch.uint8)
        mask[0, 8:40, 16:64] = 1
        target = {"boxes": torch.tensor([[16.0, 8, 64, 40]]), "labels": torch.tensor([6]), "masks": mask}
        return sum(model(images, [target] * 2).values())
    outputs = model.outputs(images, **extra)
    labels = torch.full((2, 64, 96), 6)
    return sum(nn.functional.cross_entropy(x, labels) for x in [*outputs.iterations, *outputs.auxiliary])


def assert_equal(model, other):
    tensors = other.state_dict()
    assert all(torch.equal(value, tensors.pop(key)) for key, value in model.state_dict().items())
    assert not tensors
    image = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(model.eval().raw_outputs(image), other.eval().raw_outputs(image))


def shapes_of(model):
    return {key: value.shape for key, value in model.state_dict().items()}


def test_rows_are_all_classes():
    classes = {cls for cls in vars(segmenters).values() if isinstance(cls, type) and issubclass(cls, BaseSegmenter)}
    assert {cls for _, _, cls in ROWS.values()} == {cls for cls in classes if not inspect.isabstract(cls)}


# Saving and loading, as huggingface_hub's mixin has them.


def test_save_pretrained_and_from_pretrained_of_the_class(model, cls, tmp_path):
    assert type(model) is cls
    folder = model.save_pretrained(tmp_path / "saved", list("abcde"), license="mit")
    again = cls.from_pretrained(folder)
    assert type(again) is cls
    assert_equal(again, model)
    assert again.class_names == list("abcde")
    assert again.default_cfg is again.pretrained_cfg
    assert again.default_cfg.license == "mit"
    assert cls.from_pretrained(folder, num_classes=3).num_classes == 3


def test_from_pretrained_of_another_class_is_refused(model, cls, tmp_path):
    other = segmenters.InstanceSegmenter if cls is not segmenters.InstanceSegmenter else segmenters.Segmenter
    folder = model.save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=f"must be a {other.__name__}; got .*saved, a {cls.__name__}: use ") as caught:
        other.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert type(BaseSegmenter.from_pretrained(folder)) is cls


def test_push_to_hub_and_from_pretrained(hub):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    commit = model.push_to_hub("org/net", license="mit", private=True, message="first")
    assert hub.repos["org/net"].private
    again = segmenters.Segmenter.from_pretrained(f"org/net@{commit}")
    assert_equal(again, model)
    with pytest.raises(ValueError, match="must be a InstanceSegmenter; got org/net, a Segmenter"):
        segmenters.InstanceSegmenter.from_pretrained("org/net")


@pytest.mark.parametrize("name", ["save_pretrained", "push_to_hub"])
def test_methods_take_what_the_functions_take(name):
    method, function = (
        list(inspect.signature(getattr(it, name)).parameters.values()) for it in (BaseSegmenter, gatezoo)
    )
    assert [(p.name, p.default) for p in method[1:]] == [(p.name, p.default) for p in function[1:]]


# Changing the classes.


@pytest.mark.parametrize("num_classes", [7, 5])
def test_reset_classifier_gives_new_layers_for_the_classes_alone(model, make, num_classes):
    fresh = make(num_classes)
    others = shapes_of(make(6))
    before = model.state_dict(keep_vars=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval().reset_classifier(num_classes)
    after = model.state_dict(keep_vars=True)
    assert shapes_of(model) == shapes_of(fresh)
    replaced = {key.rpartition(".")[0] for key in before if before[key].shape != others[key]}
    assert replaced
    assert {key for key in after if after[key] is not before[key]} == {
        key for key in after if key.rpartition(".")[0] in replaced
    }
    new = {key for key, p in model.named_parameters() if p.requires_grad}
    assert {key.rpartition(".")[0] for key in new} == replaced
    assert {id(p) for p in model.get_classifier().parameters()} <= {id(after[key]) for key in new}
    assert not any(module.training for module in model.modules())
    for (key, module), (_, built) in zip(model.named_modules(), fresh.named_modules(), strict=True):
        for field in ("num_classes", "out_channels", "in_channels", "out_features", "channels", "parts"):
            assert getattr(module, field, None) == getattr(built, field, None), (key, field)
    assert model.model_kwargs == fresh.model_kwargs


def test_network_with_a_reset_classifier_trains_and_is_saved(model, cls, tmp_path):
    model.double().reset_classifier(7)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    model.float().train()
    loss_of(model).backward()
    missing = [key for key, p in model.named_parameters() if p.grad is None]
    assert not missing or model.find_unused_parameters
    again = cls.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    assert again.num_classes == 7
    assert_equal(again, model)


def test_classifier_is_what_depends_on_the_classes_in_the_output(model, make):
    others = shapes_of(make(6))
    own = {id(p): key for key, p in model.named_parameters()}
    layers = {own[id(p)] for p in model.get_classifier().parameters()}
    outputs = {key for key, p in model.named_parameters() if p.shape[0] != others[key][0]}
    assert layers == {key for key in outputs if not key.startswith("auxiliary.")}


@pytest.mark.parametrize("num_classes", [4, 11])
def test_reset_classifier_forgets_the_former_classes_but_not_the_license(num_classes, tmp_path):
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True)
    cfg = model.pretrained_cfg
    model.reset_classifier(num_classes)
    folder = model.save_pretrained(tmp_path / "saved")
    for now in (model.pretrained_cfg, gatezoo.from_pretrained(folder).pretrained_cfg):
        assert (now.num_classes, now.class_names, now.palette, now.metrics) == (num_classes, (), (), {})
        assert (now.mean, now.std, now.license) == (cfg.mean, cfg.std, cfg.license)
        assert now.base_model == cfg.describe_as_base()
    assert model.class_names == [str(k) for k in range(num_classes)]


@pytest.mark.parametrize("num_classes", [2, 11])
def test_reset_network_is_trained_and_what_is_saved_knows_where_it_came_from(num_classes, shapes, tmp_path):
    model = gatezoo.create_model("zigzag_lite0", pretrained=True)  # of 11 classes
    base = model.pretrained_cfg
    model.reset_classifier(num_classes)
    before = [p.clone() for p in model.get_classifier().parameters()]
    data = FolderDataset(shapes, num_classes)
    recipe = gatezoo.Recipe(steps=1, batch_size=2, crop_size=32, amp_dtype="none", eval_interval=1)
    gatezoo.train(model, data, data, tmp_path / "run", recipe, device="cpu", workers=0)
    assert not any(torch.equal(old, new) for old, new in zip(before, model.get_classifier().parameters(), strict=True))
    again = gatezoo.create_model(model.save_pretrained(tmp_path / "saved"), pretrained=True)
    assert again.num_classes == num_classes
    assert again.class_names == [str(k) for k in range(num_classes)]
    assert again.pretrained_cfg.mean == tuple(base.mean)
    assert again.pretrained_cfg.base_model == base.describe_as_base()
    assert_equal(again, model)


def test_wrong_numbers_of_classes_are_refused():
    model, instances = gatezoo.create_model("test_fcn"), gatezoo.create_model("test_maskrcnn_fpn")
    for wrong in (0, "3", 10**5, None):
        with pytest.raises(ValueError, match="num_classes must be"):
            model.reset_classifier(wrong)
    with pytest.raises(ValueError, match="num_classes must count the background"):
        instances.reset_classifier(1)
    assert (model.num_classes, instances.num_classes) == (21, 21)
    with pytest.raises(ValueError, match="must have the name of a registered model"):
        gatezoo.model_entrypoint("test_fcn")().reset_classifier(3)


# Optimizers.


def layer_counts(model):
    """Numbers of layers and of coarse layers."""
    matchers = model.group_matcher(), model.group_matcher(coarse=True)
    return tuple(len({number(key) for key, _ in model.named_parameters()}) for number in matchers)


def test_group_matcher_suits_layer_decay_of_timm(model):
    groups = timm.optim.param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scales) == len(list(model.parameters()))
    assert {scales[id(p)] for key, p in model.named_parameters() if not key.startswith("backbone.")} == {1.0}
    stem = next(iter(model.backbone.parameters()))
    assert scales[id(stem)] == min(scales.values())
    assert {scales[id(p)] for p in model.backbone.parameters()} == {0.5**k for k in range(1, len(set(scales.values())))}
    fine, coarse = layer_counts(model)
    assert 2 < coarse <= fine == len(set(scales.values()))


@pytest.mark.parametrize(("name", "layers"), [("fcn_resnet50_32s", (18, 6)), ("deeplabv3plus_wrn38", (19, 8))])
def test_coarse_groups_are_stages(name, layers):
    """The stem, 16 or 17 units in 4 or 6 groups, and the head."""
    assert layer_counts(on_meta(name)) == layers


def test_no_weight_decay_is_empty_for_plain_convolutions(model):
    assert model.no_weight_decay() == set()


def test_no_weight_decay_names_parameters_of_transformers():
    model = gatezoo.create_model("fpn_mobilenetv2", backbone="swin_tiny_patch4_window7_224")
    names = {key for key, _ in model.named_parameters() if key.endswith("relative_position_bias_table")}
    assert len(names) == 12
    assert model.no_weight_decay() == names
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.8)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert not decayed & {id(p) for key, p in model.named_parameters() if key in names or p.ndim < 2}


def test_grad_checkpointing_computes_the_backbone_twice_and_the_same_gradients(model):
    model.reset_classifier(7)
    calls, gradients = [], []
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_: calls.append(len(gradients)))
    for enable in (False, True):
        model.train().set_grad_checkpointing(enable)
        for module in model.modules():
            if isinstance(module, nn.Dropout | nn.BatchNorm2d):
                module.eval()
        model.zero_grad()
        torch.manual_seed(1)
        loss_of(model).backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    assert calls.count(1) > 1.5 * calls.count(0)
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, atol=1e-5, rtol=1e-4)


# Features.


@torch.no_grad()
def test_forward_features_are_the_maps_of_the_backbone(model):
    images, _ = inputs_of(model.eval())
    seen = []
    model.backbone.register_forward_hook(lambda module, args, maps: seen.append(maps))
    features = model.forward_features(images)
    assert len(seen) == 1
    assert all(torch.equal(x, y) for x, y in zip(features, seen[0], strict=True))
    assert [x.shape[1] for x in features] == list(model.backbone.channels)[-len(features) :]
    sides = [x.shape[-1] for x in features]
    assert sides == sorted(sides, reverse=True)
    if model.task == "instance":
        with pytest.raises(ValueError, match="each image must be"):
            model.forward_features(torch.rand(1, 64, 64))
        return
    with pytest.raises(ValueError, match="images must be"):
        model.forward_features(images[0])


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_fcn", "test_dignet"])
def test_head_of_the_features_is_the_plain_network(name):
    model = gatezoo.create_model(name).eval()
    image = torch.randn(1, 3, 64, 96)
    coarse = model.head(model.forward_features(image)[-1])
    expected = model(image, iterations=1) if name == "test_dignet" else model(image)
    torch.testing.assert_close(nn.functional.interpolate(coarse, (64, 96), mode="bilinear"), expected)


# Preparation of images.


def images_of_all_kinds():
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (70, 90, 3), np.uint8)
    yield "color", Image.fromarray(colors)
    yield "grey", Image.fromarray(colors[..., 0])
    yield "16 bits", Image.fromarray(random.integers(0, 4096, (70, 90), np.uint16))
    yield "array", colors
    yield "uint8", torch.from_numpy(colors).permute(2, 0, 1)
    yield "float", torch.from_numpy(colors).permute(2, 0, 1) / 255


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "image"), list(images_of_all_kinds()), ids=[kind for kind, _ in images_of_all_kinds()]
)
def test_transforms_prepare_images_as_predict_does(kind, image):
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True).eval()
    model.pretrained_cfg = dataclasses.replace(
        model.pretrained_cfg,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        image_max=4095 if kind == "16 bits" else None,
    )
    batch = model.pretrained_cfg.transforms()(image)[None]
    assert batch.shape == (1, 3, 70, 90)
    assert batch.dtype == torch.float32
    logits = model(batch)
    predictor = gatezoo.Predictor(model)
    pixels = to_image_tensor(image, 3, model.pretrained_cfg.image_max)
    expected = predictor.run(pixels, logits=True)[-1]
    torch.testing.assert_close(logits[0], expected.logits, atol=1e-4, rtol=1e-4)
    assert (logits.argmax(1)[0] == torch.from_numpy(gatezoo.predict(model, image))).float().mean() > 0.999


@torch.no_grad()
def test_transforms_of_an_instance_network_leave_normalization_to_it(tmp_path):
    model = gatezoo.create_model("zigzag_maskrcnn_mobilenetv2", pretrained=True).eval()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    prepared = model.pretrained_cfg.transforms()(image)
    assert (prepared.min(), prepared.max()) == (0, 1)
    (found,) = model([prepared])
    expected = gatezoo.predict_instances(model, image, score_threshold=0.0)
    assert len(found["scores"]) > 0
    kept = expected["scores"][: len(found["scores"])]
    torch.testing.assert_close(found["scores"], kept)


def test_transforms_take_part_in_pipelines_and_refuse_what_is_no_image():
    cfg = gatezoo.get_pretrained_cfg("dignet_lite0_8s")
    pipeline = v2.Compose([v2.CenterCrop(48), cfg.transforms()])
    assert pipeline(Image.new("RGB", (90, 70))).shape == (3, 48, 48)
    for wrong in (torch.rand(2, 3, 64, 64), torch.full((3, 64, 64), 2.0), "nowhere.png", None):
        with pytest.raises(ValueError, match=" must "):
            cfg.transforms()(wrong)
    assert cfg.transforms().transforms[-1](torch.zeros(3, 8, 8, device="meta")).is_meta
    grey = dataclasses.replace(cfg, in_chans=1)
    assert grey.transforms()(Image.new("L", (90, 70))).shape == (1, 70, 90)
    with pytest.raises(ValueError, match="got 'nothing'"):
        dataclasses.replace(cfg, architecture="nothing").transforms()
