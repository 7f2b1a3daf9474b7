"""FCIS as a whole: parameters, work, training, new classes, files and export."""

import numpy as np
import pytest
import torch

import gatezoo
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.optimizers import create_optimizer
from gatezoo.training.tasks import InstanceTask

TINY = ["test_fcis", "test_fcis_fpn", "test_zigzag_fcis"]
SIZES = [(80, 61), (50, 90)]


def images():
    return [torch.rand(3, *size) for size in SIZES]


def target(size, boxes=((5, 10, 30, 40), (0, 0, 20, 15)), labels=(2, 1)):
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes):
        mask[top:bottom, left:right] = True
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": masks,
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fcis_r50", 38_693_442),
        ("fcis_r101", 57_685_570),
        ("fcis_r152", 73_329_218),
        ("fcis_fpn_r50", 29_602_581),
        ("fcis_fpn_r101", 48_594_709),
        ("zigzag_fcis_r50", 86_164_245),
        ("zigzag_fcis_r101", 105_156_373),
        ("zigzag_fcis_r152", 120_800_021),
    ],
)
def test_parameters(name, count):
    assert count_parameters(on_meta(name, num_classes=81)) == count


def test_parameters_of_the_parts():
    model = on_meta("fcis_r101", num_classes=81)
    heads = model.roi_heads
    # 7 x 7 cells with an outside and an inside score of 81 classes and 4 offsets, of 1024 channels and a bias each.
    assert count_parameters(model.rpn) == 1024 * 512 * 9 + 512 + 513 * 12 * 5
    assert count_parameters(heads.mix) == 2049 * 1024
    assert count_parameters(heads.score) == 49 * 2 * 81 * 1025
    assert count_parameters(heads.box) == 49 * 4 * 1025
    assert model.backbone.output_stride == 16
    assert model.backbone.channels == [1024, 2048]
    assert heads.strides == (16,)


def test_work_of_the_heads_is_that_of_differences_and_means():
    """Half of 300 * 441 * 256 * 2 * 81, 5.49 GMAC, and a ninth of that half for the outside scores of the cells."""
    model, (n, width, classes) = on_meta("fcis_fpn_r50", num_classes=81), (300, 256, 81)
    per_region = 441 * width * classes + 49 * width * (classes + 4)
    works = [count_gmacs(model, 64, 64)]
    model.max_workload_kwargs = {"proposals": 300, "instances": 1}
    works.append(count_gmacs(model, 64, 64))
    assert (works[0] - works[1]) * 1e9 == pytest.approx(n * per_region, rel=1e-9)
    assert n * per_region < 0.57 * n * 441 * width * 2 * classes


@pytest.mark.parametrize("name", TINY)
def test_proposals_are_three_hundred_in_training_too(name):
    rpn = gatezoo.create_model(name).rpn
    for mode in (True, False):
        rpn.train(mode)
        assert rpn.post_nms_top_n() == 300
        assert rpn.pre_nms_top_n() == (6000 if name == "test_fcis" else 2000 if mode else 1000)


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3).train()
    sum(model(images(), [target(size) for size in SIZES]).values()).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    heads = dict(model.roi_heads.named_parameters())
    assert [key for key, parameter in heads.items() if not parameter.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("ohem", [128, 0])
def test_training_on_images_without_instances(name, ohem):
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3, ohem=ohem).train()
    empty = [target(size, (), ()) for size in SIZES]
    losses = model(images(), empty)
    sum(losses.values()).backward()
    assert losses["loss_mask"] == losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model(images(), [empty[0], target(SIZES[1])])["loss_mask"] > 0


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_instances_are_at_the_size_of_the_image(name):
    torch.manual_seed(0)
    for voted in ("class", "best", "none"):
        model = gatezoo.create_model(name, num_classes=3, vote=voted).eval()
        assert model.roi_heads.vote == voted
        for found, (height, width) in zip(model(images()), SIZES, strict=True):
            assert 0 < len(found["boxes"]) <= 100
            assert found["masks"].shape == (len(found["boxes"]), 1, height, width)
            assert (found["boxes"][:, 2] <= width).all()
            assert (found["boxes"][:, 3] <= height).all()
            assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    model.max_detections, model.score_threshold = 3, 0.2
    assert len(model(images())[0]["boxes"]) == 3
    model.score_threshold = 0.99
    assert len(model(images())[0]["boxes"]) == 0


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_raw_outputs_depend_on_every_parameter(name):
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3).eval()
    image = torch.randn(1, 3, 65, 97)
    before = model.raw_outputs(image)
    new = [pair for pair in model.named_parameters() if pair[0].startswith(("rpn.", "roi_heads."))]
    assert len(new) == 12
    for key, parameter in new:
        kept = parameter.clone()
        parameter += 0.1 * torch.randn_like(parameter) + 0.1
        assert not torch.equal(model.raw_outputs(image), before), key
        parameter.copy_(kept)


@pytest.mark.parametrize("name", TINY)
def test_new_classes_replace_the_scores_alone(name):
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3)
    (scores,) = model.get_classifier()
    before = dict(model.named_parameters())
    model.reset_classifier(5)
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    changed = {key for key in before if before[key] is not after[key]}
    assert changed == {"roi_heads.score.weight", "roi_heads.score.bias"}
    assert {id(parameter) for parameter in scores.parameters()} == {id(before[key]) for key in changed}
    losses = model.train()(images(), [target(size, labels=(4, 1)) for size in SIZES])
    sum(losses.values()).backward()
    with torch.no_grad():
        found = model.eval()(images())[0]
    assert set(found["labels"].tolist()) <= {1, 2, 3, 4}


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_saved_folder_gives_the_same_network_and_new_scores_for_other_classes(name, tmp_path):
    model = gatezoo.create_model(name, num_classes=3, nms=0.4, ohem=64).eval()
    gatezoo.save_pretrained(model, tmp_path, ["background", "cat", "dog"])
    again = gatezoo.from_pretrained(tmp_path).eval()
    image = torch.randn(1, 3, 65, 97)
    torch.testing.assert_close(again.raw_outputs(image), model.raw_outputs(image))
    assert (again.roi_heads.nms, again.roi_heads.ohem) == (0.4, 64)
    other = gatezoo.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=5)
    assert set(other.load_report.reinitialised) == {"roi_heads.score.weight", "roi_heads.score.bias"}


@pytest.mark.parametrize("name", TINY)
def test_keywords_are_checked(name):
    with pytest.raises(ValueError, match="bins must be a multiple of cells; got 21 bins for 4 cells: pass bins=20"):
        gatezoo.create_model(name, cells=4)
    text = "anchors must be sides of boxes, at least one" if name == "test_fcis" else "anchors must be 5 sides"
    with pytest.raises(ValueError, match=text):
        gatezoo.create_model(name, anchors=())


def shapes(count, seed):
    """Images (uint8) of a bright disc, class 1, or a dark square, class 2, on noise; every fifth has nothing."""
    random, samples = np.random.default_rng(seed), []
    y, x = np.mgrid[:96, :96]
    for number in range(count):
        image, masks, labels = random.normal(110, 10, (3, 96, 96)), [], []
        for k in range(2 if number % 5 else 0):
            side, label = random.uniform(12, 20), 1 + int(random.integers(2))
            cy, cx = random.uniform(24, 72), 24 + 48 * k
            disc = np.hypot(y - cy, x - cx) < side
            square = np.maximum(abs(y - cy), abs(x - cx)) < 0.9 * side
            mask = disc if label == 1 else square
            image[:, mask] += 100 if label == 1 else -80
            masks.append(mask)
            labels.append(label)
        masks = torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, 96, 96))
        edges = [
            [
                m.any(0).nonzero()[0, 0],
                m.any(1).nonzero()[0, 0],
                m.any(0).nonzero()[-1, 0] + 1,
                m.any(1).nonzero()[-1, 0] + 1,
            ]
            for m in masks
        ]
        samples.append(
            {
                "image": torch.from_numpy(image.clip(0, 255).astype(np.uint8)),
                "boxes": torch.tensor(edges, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor(labels, dtype=torch.int64),
                "masks": masks,
            }
        )
    return samples


@pytest.mark.parametrize("name", TINY)
def test_training_learns_shapes(name):
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3, freeze_bn=False, max_size=96, cells=3, bins=9).train()
    recipe = Recipe(steps=40, lr=0.003, opt="adamw", head_lr_mult=1, amp_dtype="none")
    task, samples = InstanceTask(), shapes(60, seed=0)
    module = task.make_module(model, samples, recipe, (0.45,) * 3, (0.2,) * 3).train()
    optimizer, losses = create_optimizer(model, recipe), []
    for step in range(recipe.steps):
        batch = samples[4 * step % 60 : 4 * step % 60 + 4]
        loss = module(*task.unpack(([s["image"] for s in batch], batch)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


@torch.no_grad()
@pytest.mark.export
@pytest.mark.parametrize("name", ["test_fcis", "test_fcis_fpn"])
def test_raw_outputs_are_exported(name, tmp_path):
    """Whole detectors are not: the number of instances depends on values. The fifth map has more than one pixel."""
    import onnxruntime

    class RawOutputs(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, image):
            return self.model.raw_outputs(image)

    torch.manual_seed(0)
    module = RawOutputs(gatezoo.create_model(name, backbone="mobilenetv2_035", num_classes=3)).eval()
    sizes = {2: torch.export.Dim("height", min=64, max=4096), 3: torch.export.Dim("width", min=64, max=4096)}
    program = torch.export.export(
        module, (torch.randn(1, 3, 72, 88),), dynamic_shapes=(sizes,), prefer_deferred_runtime_asserts_over_guards=True
    )
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, f=str(path), input_names=["image"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((96, 128), (65, 97), (101, 163)):
        image = torch.randn(1, 3, *size)
        expected = module(image)
        torch.testing.assert_close(program.module()(image), expected, atol=1e-5, rtol=1e-5)
        (found,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


def test_unknown_votes_are_refused():
    with pytest.raises(ValueError, match="vote must be"):
        gatezoo.create_model("test_fcis", vote="all")
