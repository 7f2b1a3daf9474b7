"""The identities of the unroll. No data, no trained weights."""

import pytest
import torch
from torch import nn

import gatezoo
from gatezoo.gates.modulator import Modulator


def loud(model):
    """Make random gates differ from place to place: as initialised they are open, and hide mistakes."""
    for modulator in model.feedback.modulators.values():
        nn.init.normal_(modulator.weigh.weight, std=0.5)
        nn.init.normal_(modulator.weigh.bias)
    return model


@pytest.fixture
def dignet():
    return loud(gatezoo.create_model("test_dignet")).eval()


@torch.no_grad()
def reference(model, image, passes):
    """Algorithm 1 with nothing left out: every block runs in every pass."""
    blocks = [lambda x, i=i: model.backbone.run(i, x) for i in range(1, len(model.backbone) + 1)] + [model.head]
    maps = [image]
    for block in blocks:
        maps.append(block(maps[-1]))
    for _ in range(passes - 1):
        gates = model.feedback(maps)
        fresh = [image]
        for i, block in enumerate(blocks, start=1):
            fresh.append(block(gates[i] * fresh[-1] if i in gates else fresh[-1]))
        maps = fresh
    return nn.functional.interpolate(maps[-1], image.shape[-2:], mode="bilinear")


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_dignet", "dignet_lite0_8s", "dignet_mobilenetv2_32s"])
def test_one_pass_is_the_plain_network_bit_for_bit(name):
    gated = gatezoo.create_model(name).eval()
    plain = gatezoo.create_model(name.replace("dignet", "fcn")).eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("feedback.")})
    image = torch.randn(2, 3, 65, 97)
    assert torch.equal(gated(image, iterations=1), plain(image))
    assert not torch.equal(gated(image, iterations=2), plain(image))


@torch.no_grad()
def test_open_modulators_change_nothing(dignet, monkeypatch):
    image = torch.randn(1, 3, 64, 80)
    once = dignet(image, iterations=1)
    assert not torch.equal(dignet(image, iterations=3), once)
    monkeypatch.setattr(Modulator, "forward", lambda self, signal, size: signal.new_ones(()))
    for passes in (2, 3, 5):
        assert torch.equal(dignet(image, iterations=passes), once)


@torch.no_grad()
@pytest.mark.parametrize("shallowest", range(1, 7))
def test_running_from_the_shallowest_gate_equals_running_every_block(shallowest):
    model = loud(gatezoo.create_model("test_dignet", shallowest=shallowest)).eval()
    image = torch.randn(1, 3, 64, 96)
    for passes in (1, 2, 3):
        torch.testing.assert_close(
            model(image, iterations=passes), reference(model, image, passes), atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
@pytest.mark.parametrize("shallowest", [1, 3, 6])
def test_blocks_below_the_shallowest_gate_run_once(shallowest, monkeypatch):
    model = gatezoo.create_model("test_dignet", shallowest=shallowest).eval()
    runs = []
    run = model.backbone.run
    monkeypatch.setattr(model.backbone, "run", lambda block, x: (runs.append(block), run(block, x))[1])
    model(torch.randn(1, 3, 64, 64), iterations=3)
    assert [runs.count(block) for block in range(1, 6)] == [1 if block < shallowest else 3 for block in range(1, 6)]


def test_parameters_do_not_depend_on_the_passes():
    shapes = [
        {k: v.shape for k, v in gatezoo.create_model("test_dignet", iterations=passes).state_dict().items()}
        for passes in (1, 2, 4)
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_every_parameter_gets_a_gradient_with_two_passes_and_no_gate_with_one():
    model = loud(gatezoo.create_model("test_dignet")).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts the last norm of a residual branch at 0
    image = torch.randn(2, 3, 64, 64)
    model(image, iterations=2).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    model.zero_grad()
    model(image, iterations=1).square().mean().backward()
    assert all((p.grad is None) == name.startswith("feedback.") for name, p in model.named_parameters())


@torch.no_grad()
def test_iterate_outputs_and_forward_agree(dignet):
    image = torch.randn(1, 3, 65, 97)
    outputs = dignet.outputs(image, iterations=3)
    steps = list(dignet.iterate(image, iterations=3))
    for passes, (step, kept) in enumerate(zip(steps, outputs.iterations, strict=True), start=1):
        assert torch.equal(step, kept)
        assert torch.equal(step, dignet(image, iterations=passes))
    assert torch.equal(outputs.logits, steps[-1])
    assert [sorted(gates) for gates in outputs.gates] == [[], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]
    assert outputs.gates[1][1].shape == image.shape
    assert all(((gate > 0) & (gate < 1)).all() for gate in outputs.gates[2].values())


@torch.no_grad()
def test_iterate_runs_passes_on_demand(dignet, monkeypatch):
    calls = []
    monkeypatch.setattr(type(dignet.feedback), "forward", lambda self, maps: calls.append(1) or {})
    passes = dignet.iterate(torch.randn(1, 3, 64, 64), iterations=4)
    next(passes)
    assert calls == []


@torch.no_grad()
def test_iterations_can_be_set(dignet):
    image = torch.randn(1, 3, 64, 64)
    three = dignet(image, iterations=3)
    dignet.iterations = 3
    assert torch.equal(dignet(image), three)
    for wrong in (0, -1, 1.5, True, "auto"):
        with pytest.raises(ValueError, match="iterations must be a whole number of passes, 1 to 100; got"):
            dignet.iterations = wrong
        with pytest.raises(ValueError, match="iterations must be"):
            dignet(image, iterations=wrong)


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 97), (64, 128)])
@pytest.mark.parametrize("name", ["test_fcn", "test_dignet"])
def test_logits_have_the_size_of_the_image(name, size):
    model = gatezoo.create_model(name, num_classes=4)
    for mode in (True, False):
        assert model.train(mode)(torch.randn(2, 3, *size)).shape == (2, 4, *size)


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "convnext_atto", "mambaout_femto", "vgg11_bn"])
def test_gates_fit_other_backbones(backbone):
    model = gatezoo.create_model("test_dignet", backbone=backbone, num_classes=3).eval()
    assert model(torch.randn(1, 3, 65, 97)).shape == (1, 3, 65, 97)


@torch.no_grad()
def test_padding_for_a_backbone_does_not_move_the_image():
    """hrnet asks for multiples of 32: logits of the padded image are cropped, not resized."""
    model = gatezoo.create_model("test_fcn", backbone="hrnet_w18_small").eval()
    image = torch.randn(1, 3, 40, 50)
    padded = nn.functional.pad(image, (0, 14, 0, 24))
    assert torch.equal(model(image), model(padded)[..., :40, :50])


def test_batch_norm_stays_frozen_through_train():
    image = torch.randn(2, 3, 64, 64)
    for frozen in (True, False):
        model = gatezoo.create_model("test_dignet", freeze_bn=frozen)
        before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
        model.train()(image)
        after = model.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.items()) == frozen
    assert gatezoo.create_model("test_dignet").freeze_bn
    assert not gatezoo.create_model("test_fcn").freeze_bn


def test_batch_norm_mode_of_norms_without_scale_and_of_untrained_norms():
    model = gatezoo.create_model("test_fcn")
    model.head = nn.Sequential(nn.BatchNorm2d(model.backbone.channels[-1], affine=False), model.head)
    model.backbone.requires_grad_(False)
    model.train()
    assert model.head[0].training
    assert not any(m.training for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", ["test_fcn", "test_pspnet", "test_depthgate", "test_dignet"])
def test_freeze_bn_includes_the_head_only_if_passes_share_it(name):
    head = {"head": "fcn"} if name in ("test_fcn", "test_dignet") else {}
    model = gatezoo.create_model(name, freeze_bn=True, **head)
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    model.train()(torch.randn(2, 3, 64, 64))
    changed = {k.partition(".")[0] for k, v in model.state_dict().items() if k in before and not v.equal(before[k])}
    assert "head" in {k.partition(".")[0] for k in before}
    assert changed - {"recurrent"} == (set() if name == "test_dignet" else {"head"})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 64, 64), r"images must be \(B, 3, H, W\); got \(3, 64, 64\)"),
        (torch.zeros(1, 1, 64, 64), r"got \(1, 1, 64, 64\)"),
        (
            torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
            "floating point and normalized; got torch.uint8: use gatezoo.predict",
        ),
        (torch.zeros(1, 3, 31, 64), "at least 32 pixels on each side; got 31x64"),
    ],
)
@pytest.mark.parametrize("name", ["test_fcn", "test_dignet"])
def test_batches_are_checked(name, image, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.create_model(name)(image)


@torch.no_grad()
def test_channels_last_and_bf16_are_close(dignet):
    """Bounds stated in the README: channels_last 1e-4, bf16 autocast 5 % of the logits' spread."""
    image = torch.randn(1, 3, 96, 128)
    exact = dignet(image)
    spread = exact.std()
    last = dignet.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    assert (last - exact).abs().max() < 1e-4 * max(1, spread)
    with torch.autocast("cpu", torch.bfloat16):
        rough = dignet(image)
    assert (rough - exact).abs().mean() < 0.05 * spread


@torch.no_grad()
def test_folded_batch_norm_is_close(dignet):
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    image = torch.randn(1, 3, 96, 128)
    for module in dignet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    exact = dignet(image)
    net = dignet.backbone.net
    # Modules replaced in the backbone are found by the blocks: they go by names.
    net["conv1"][-1], net["bn1"] = fuse_conv_bn_eval(net["conv1"][-1], net["bn1"]), nn.Identity()
    net["layer3"][0].conv1 = fuse_conv_bn_eval(net["layer3"][0].conv1, net["layer3"][0].bn1)
    net["layer3"][0].bn1 = nn.Identity()
    torch.testing.assert_close(dignet(image), exact, atol=1e-4, rtol=1e-4)


def gradients(model, image, recompute):
    """Gradients of a network of four passes, and the bytes that its forward pass keeps for them."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    model.set_grad_checkpointing(recompute)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(image, iterations=4) if hasattr(model, "feedback") else model(image)
    logits.square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("name", ["test_dignet", "test_fcn", "dignet_mobilenetv2_32s", "fcn_mobilenetv2_32s"])
def test_grad_checkpointing_gives_the_same_gradients(name):
    model = gatezoo.create_model(name, freeze_bn=True).train()
    image = torch.randn(2, 3, 64, 64)
    plain, kept = gradients(loud(model) if hasattr(model, "feedback") else model, image, recompute=False)
    again, fewer = gradients(model, image, recompute=True)
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], atol=1e-5, rtol=1e-5)
    assert fewer < (0.6 if hasattr(model, "feedback") else 1) * kept


def test_grad_checkpointing_is_refused_by_an_unsupporting_backbone():
    model = gatezoo.create_model("test_fcn")
    model.backbone.net.set_grad_checkpointing = None
    with pytest.raises(ValueError, match="backbone must support recomputing activations; got 'test_resnet'"):
        model.set_grad_checkpointing()


@pytest.mark.parametrize(
    ("name", "keywords", "capabilities"),
    [
        ("test_fcn", {}, set()),
        ("test_gff", {}, {"gates"}),
        ("test_dignet", {}, {"iterations", "anytime", "gates"}),
        ("test_rignet", {"unroll": "su"}, {"iterations", "gates"}),
        ("test_depthgate", {}, {"iterations", "anytime", "depth"}),
        ("test_depthgate", {"loops": 0}, {"depth"}),
        ("test_depthgate_given", {}, {"iterations", "anytime"}),
        ("test_zigzag_maskrcnn", {}, set()),
    ],
)
def test_capabilities(name, keywords, capabilities):
    model = gatezoo.create_model(name, **keywords)
    assert model.capabilities == capabilities
    assert ("iterations" in capabilities) == hasattr(model, "iterate")


@torch.no_grad()
def test_forward_runs_no_auxiliary_head_and_resizes_only_the_last_pass(dignet, monkeypatch):
    resized = []
    resize = type(dignet)._resize_to_input
    monkeypatch.setattr(
        type(dignet), "_resize_to_input", lambda self, *maps: (resized.append(1), resize(self, *maps))[1]
    )
    dignet(torch.randn(1, 3, 64, 64), iterations=4)
    assert len(resized) == 1
    model = gatezoo.create_model("test_pspnet", auxiliary=True).eval()
    for head in model.auxiliary.values():
        head.forward = lambda x: pytest.fail("an auxiliary head ran in forward")
    model(torch.randn(1, 3, 64, 64))
