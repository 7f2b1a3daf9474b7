"""Instance segmentation: equality with torchvision's Mask R-CNN, small masks, and refusals."""

import math
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

import gatezoo
from gatezoo.heads.mask_rcnn import MAP_NAMES, make_roi_heads
from gatezoo.model_info import count_parameters, on_meta
from gatezoo.segmenters.roi_masks import RoIMasks

SIZES = [(80, 61), (50, 90)]


def network(**keywords):
    return gatezoo.create_model("test_zigzag_maskrcnn", **{"num_classes": 3, **keywords})


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


class Maps(nn.Module):
    """Our four maps, and torchvision's own fifth, as a backbone of torchvision's."""

    out_channels = 16

    def __init__(self, model):
        super().__init__()
        self.model = [model]

    def forward(self, image):
        model = self.model[0]
        fused = list(model.neck(model.backbone(image)))
        maps, names = LastLevelMaxPool()(fused, fused, ["0", "1", "2", "3"])
        return OrderedDict(zip(names, maps))


@pytest.fixture(scope="module")
def twins():
    """Our network, and torchvision's own class over the same maps with the same weights."""
    torch.manual_seed(0)
    ours = network()
    theirs = MaskRCNN(
        Maps(ours),
        min_size=96,
        max_size=160,
        image_mean=ours.backbone.mean,
        image_std=ours.backbone.std,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5),
        box_head=TwoMLPHead(16 * 49, 32),
        box_predictor=FastRCNNPredictor(32, 3),
        mask_head=MaskRCNNHeads(16, (16,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(16, 16, 3),
    )
    theirs.rpn.load_state_dict(ours.rpn.state_dict())
    theirs.roi_heads.load_state_dict(ours.roi_heads.state_dict())
    return ours, theirs


@torch.no_grad()
def test_instances_equal_torchvision(twins):
    ours, theirs = (model.eval() for model in twins)
    batch = images()
    for found, expected in zip(ours(batch), theirs(batch), strict=True):
        assert len(expected["boxes"]) > 0
        for key in ("boxes", "labels", "scores"):
            torch.testing.assert_close(found[key], expected[key])
        assert found["masks"].shape == expected["masks"].shape
        torch.testing.assert_close(found["masks"].dense(), expected["masks"])


@torch.no_grad()
def test_region_reads_one_map_by_its_size():
    """As eq. 1 of FPN: 224 pixels, the size of a classified image, at stride 16."""
    heads = make_roi_heads(4, 3, 8, 8)
    # Maps of a constant: their stride. The fifth is for proposals alone.
    maps = {
        name: torch.full((1, 4, 1024 // stride, 1024 // stride), float(stride))
        for name, stride in zip(MAP_NAMES, (4, 8, 16, 32, 64), strict=True)
    }
    sides = (1, 60, 111, 112, 223, 224, 447, 448, 1023)
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    expected = [2 ** min(5, max(2, math.floor(4 + math.log2(side / 224)))) for side in sides]
    for pool in (heads.box_roi_pool, heads.mask_roi_pool):
        assert pool(maps, [boxes], [(1024, 1024)])[:, 0].amax((1, 2)).tolist() == expected


def test_losses_equal_torchvision(twins):
    batch, targets, losses = images(), [target(size) for size in SIZES], []
    for model in twins:
        torch.manual_seed(1)
        losses.append(model.train()(batch, targets))
    assert losses[0].keys() == losses[1].keys()
    for key, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][key])


def test_baseline_has_torchvisions_parameter_count():
    """Its batch norms are constants there, parameters here."""
    ours = on_meta("maskrcnn_fpn_r50", num_classes=91)
    norms = sum(count_parameters(m) for m in ours.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    trained = count_parameters(theirs) - sum(
        count_parameters(m) for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)
    )
    assert count_parameters(ours) - norms == trained


def test_second_version_has_torchvisions_parameter_count():
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
    assert count_parameters(on_meta("maskrcnn_fpn_v2_r50", num_classes=91)) == count_parameters(theirs)


def test_baseline_on_resnet152_adds_the_backbones_blocks():
    deep, plain = (on_meta(f"maskrcnn_fpn_r{depth}") for depth in (152, 50))
    assert count_parameters(deep.backbone) == 58_143_808
    rest = [count_parameters(model) - count_parameters(model.backbone) for model in (deep, plain)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("neck", ["test_zigzag_maskrcnn", "test_maskrcnn_fpn", "test_maskrcnn_fpn_v2"])
def test_training_on_images_without_instances(neck):
    model = gatezoo.create_model(neck, num_classes=3, freeze_bn=True).train()
    empty = [target(size, (), ()) for size in SIZES]
    losses = model(images(), empty)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    # Also statistics of norms that got no region.
    assert all(torch.isfinite(buffer).all() for buffer in model.buffers())
    mixed = model(images(), [empty[0], target(SIZES[1])])
    assert mixed["loss_mask"] > 0


def test_every_parameter_gets_a_gradient():
    model = network(stages=1, regions=(3,)).train()
    sum(model(images(), [target(size) for size in SIZES]).values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_raw_outputs_depend_on_every_parameter():
    model = network(stages=1, regions=(3,)).eval()
    image = torch.randn(1, 3, 65, 97)
    before = model.raw_outputs(image)
    new = [pair for pair in model.named_parameters() if not pair[0].startswith("backbone.")]  # whose blocks start idle
    for name, parameter in new:
        kept = parameter.clone()
        parameter += 0.1 * torch.randn_like(parameter) + 0.1
        assert not torch.equal(model.raw_outputs(image), before), name
        parameter.copy_(kept)


@torch.no_grad()
def test_images_are_normalized_with_the_statistics_of_the_weights(tmp_path):
    model = network().eval()
    image = torch.rand(3, 96, 96)
    plain = model([image])[0]["scores"]
    model.normalization = ((0.1, 0.2, 0.3), (0.9, 0.9, 0.9))
    assert not torch.equal(model([image])[0]["scores"], plain)
    model.normalization = (model.backbone.mean, model.backbone.std)
    torch.testing.assert_close(model([image])[0]["scores"], plain)
    grey = network(in_chans=1).eval()
    assert grey([torch.rand(1, 96, 96)])[0]["boxes"].shape[1] == 4


@torch.no_grad()
def test_saved_folder_gives_the_same_network_and_new_heads_for_other_classes(tmp_path):
    model = network().eval()
    gatezoo.save_pretrained(model, tmp_path, ["background", "cat", "dog"])
    again = gatezoo.from_pretrained(tmp_path).eval()
    image = torch.randn(1, 3, 65, 97)
    torch.testing.assert_close(again.raw_outputs(image), model.raw_outputs(image))
    other = gatezoo.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=5)
    assert set(other.load_report.reinitialised) == {
        f"roi_heads.{part}.{kind}"
        for part in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
        for kind in ("weight", "bias")
    }
    assert "Instance segmentation of: cat, dog." in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(boxes=torch.tensor([[5.0, 5, 5, 9]])), r"boxes must have a width and a height; got \[5.0, 5.0, 5.0, 9"),
        (dict(boxes=torch.tensor([[5.0, 5, 99, 9]])), "boxes must lie in the image of 80x61; got .*: clip them"),
        (dict(boxes=torch.tensor([[-5.0, 5, 9, 9]])), "boxes must lie in the image of 80x61"),
        (dict(boxes=torch.zeros(1, 5)), r"boxes must be floating point \(N, 4\); got torch.float32 \(1, 5\)"),
        (dict(boxes=torch.zeros(0)), r"boxes must be floating point \(N, 4\); got torch.float32 \(0,\)"),
        (dict(boxes=torch.tensor([[5, 5, 8, 9]])), r"boxes must be floating point \(N, 4\); got torch.int64 \(1, 4\)"),
        (dict(masks=torch.zeros(1, 80, 60)), r"masks must be \(1, 80, 61\) as boxes and image are; got \(1, 80, 60"),
        (dict(masks=torch.zeros(2, 80, 61)), r"masks must be \(1, 80, 61\) as boxes and image are; got \(2, 80, 61"),
        (dict(masks=None), "it must have the tensors boxes, labels and masks; masks is none"),
        (dict(labels=torch.tensor([3])), r"labels must be 1 \.\. 2, 0 is the background; got 3"),
        (dict(labels=torch.tensor([0])), r"labels must be 1 \.\. 2, 0 is the background; got 0"),
        (dict(labels=torch.tensor([1, 2])), r"labels must be whole numbers \(1,\); got torch.int64 \(2,\)"),
        (dict(labels=torch.tensor([1.0])), r"labels must be whole numbers \(1,\); got torch.float32 \(1,\)"),
    ],
)
def test_targets_are_checked(change, text):
    good = target(SIZES[0], ((5, 10, 30, 40),), (1,))
    changed = {key: value for key, value in {**good, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=f"target 1: {text}") as caught:
        network().train()([torch.rand(3, *SIZES[0])] * 2, [good, changed])
    assert "\n" not in str(caught.value)


def test_refusals():
    model = network().train()
    with pytest.raises(ValueError, match="targets must be given in training; got None: pass targets, or call"):
        model(images())
    with pytest.raises(ValueError, match="targets must be one for each image; got 1 for 2: give a target of N = 0"):
        model(images(), [target(SIZES[0])])
    with pytest.raises(ValueError, match=r"each image must be \(3, H, W\); got \(1, 3, 64, 64\)"):
        model([torch.rand(1, 3, 64, 64)])
    with pytest.raises(ValueError, match=r"images must be floating point in 0 \.\. 1; got torch.uint8"):
        model([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    with pytest.raises(
        ValueError, match="num_classes must count the background and at least one more; got 1: pass at least 2"
    ):
        network(num_classes=1)
    with pytest.raises(ValueError, match=r"anchors must be 5 sides, one for each map; got \[8, 16\]"):
        network(anchors=(8, 16))
    with pytest.raises(ValueError, match=r"score_threshold must be in 0 \.\. 1, 1 excluded; got 1"):
        model.score_threshold = 1
    with pytest.raises(ValueError, match="max_detections must be at least 1; got 0"):
        model.max_detections = 0
    with pytest.raises(ValueError, match=r"an image must have a side of at least 1 pixel .* got 1 x 3000: cut it"):
        model.eval()([torch.rand(3, 3000, 1)])
    with pytest.raises(ValueError, match=r"strides of backbone .* got 4"):
        network(backbone="vit_small_patch16_224")


@pytest.fixture
def masks():
    boxes = torch.tensor([[3.0, 4, 20, 30], [-2.0, 10, 15, 45], [30.0, 0, 33, 2]])
    return RoIMasks(torch.rand(3, 1, 28, 28), boxes, (40, 50))


def test_masks_are_drawn_as_by_torchvision(masks):
    drawn = paste_masks_in_image(masks.rois, masks.boxes, masks.size)
    assert masks.shape == drawn.shape == (3, 1, 40, 50)
    assert len(masks) == 3
    assert torch.equal(masks.dense(), drawn)
    assert torch.equal(masks >= 0.3, drawn >= 0.3)
    assert torch.equal(torch.stack(list(masks.drawn())), drawn[:, 0] >= 0.5)
    assert torch.equal(torch.stack(list(masks.drawn(0.7))), drawn[:, 0] >= 0.7)
    assert sum(part.numel() for *_, part in masks.windows()) < masks.dense().numel() / 3
    assert [part.sum().item() for *_, part in masks.windows()] == (drawn >= 0.5).flatten(1).sum(1).tolist()
    for which in (0, 2, -1):
        assert torch.equal(masks[which], drawn[which])
    assert torch.equal(masks[1:], drawn[1:])
    assert torch.equal(masks[torch.tensor([2, 0])], drawn[[2, 0]])
    assert torch.equal(masks.cpu().dense(), drawn)
    with pytest.raises(IndexError, match=r"masks are numbered 0 \.\. 2; got 3"):
        masks[3]
    assert (RoIMasks(torch.rand(0, 1, 28, 28), torch.zeros(0, 4), (40, 50)) >= 0.5).shape == (0, 1, 40, 50)


def test_a_hundred_masks_of_a_large_image_take_little_memory():
    """All of them at once are 4.8 GB as probabilities, 1.2 GB as bool."""
    code = """
import torch
from gatezoo.inference.instance_files import coco_annotations
from gatezoo.segmenters.roi_masks import RoIMasks

def memory(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1024

corners = torch.rand(100, 2) * 2000
boxes = torch.cat([corners, corners + 500], 1)
found = {"boxes": boxes, "labels": torch.ones(100, dtype=torch.long), "scores": torch.rand(100)}
found["masks"] = RoIMasks(torch.rand(100, 1, 28, 28), boxes, (3000, 4000))
before = memory("VmRSS")
assert len(coco_annotations(found, 1)) == 100
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 500
