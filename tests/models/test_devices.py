"""Every family in bf16 and channels_last, on the CPU and, where there is one, on a GPU; compiled networks on a GPU."""

import pytest
import torch
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.training.precision import mixed_precision

gpu = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"))
DEVICES = ("cpu", pytest.param("cuda", marks=gpu))
SEMANTIC = gatezoo.list_models("test_*", task="semantic")


@pytest.fixture
def exact():
    """Float32 on a GPU as exact as on the CPU."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before


def example(model, device="cpu", batch=2):
    """Images, and the depth of those networks that take it."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, 64, 96, generator=random).to(device)
    return images, model.extra_inputs({"depth": torch.full((batch, 64, 96), 2.0, device=device)})


@torch.inference_mode()
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SEMANTIC)
def test_bf16_in_channels_last_is_close_to_float32(name, device):
    model = randomize(gatezoo.create_model(name, num_classes=5))
    images, extra = example(model)
    expected = model(images, **extra)
    images, extra = example(model, device)
    model.to(device, memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16):
        found = model(images.contiguous(memory_format=torch.channels_last), **extra)
    error = (found.float().cpu() - expected).abs().mean() / expected.std()
    assert 0 < error <= 0.05


@torch.inference_mode()
@pytest.mark.parametrize("name", SEMANTIC)
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_float32_is_that_of_the_cpu(name, device, exact):
    model = randomize(gatezoo.create_model(name, num_classes=5))
    images, extra = example(model)
    expected = model(images, **extra)
    images, extra = example(model, device)
    found = model.to(device)(images, **extra).cpu()
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SEMANTIC)
def test_a_training_step_under_autocast_is_close_to_one_in_float32(name, device):
    model = gatezoo.create_model(name, num_classes=5, freeze_bn=True)
    labels = torch.randint(5, (2, 64, 96))

    def step(images, extra, autocast):
        model.zero_grad()
        with autocast:
            logits = model(images, **extra)
        loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device))
        loss.backward()
        gradients = [p.grad.float().cpu().flatten() for p in model.parameters() if p.grad is not None]
        return loss.item(), torch.cat(gradients)

    model.train()
    for dropout in (module for module in model.modules() if isinstance(module, nn.Dropout)):
        dropout.p = 0.0  # devices drop differently
    expected, gradients = step(*example(model), torch.autocast("cpu", enabled=False))
    model.to(device, memory_format=torch.channels_last)
    with mixed_precision(model, device) as autocast:
        loss, found = step(*example(model, device), autocast)
    assert loss == pytest.approx(expected, rel=0.05)
    assert nn.functional.cosine_similarity(found, gradients, dim=0) > 0.9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", gatezoo.list_models("test_*", task="instance"))
def test_detectors_train_a_step_under_autocast(name, device):
    model = gatezoo.create_model(name, num_classes=3).to(device).train()
    masks = torch.zeros(1, 64, 96, dtype=torch.uint8)
    masks[0, 10:40, 20:60] = 1
    target = {"boxes": torch.tensor([[20.0, 10.0, 60.0, 40.0]]), "labels": torch.tensor([1]), "masks": masks}
    image = torch.rand(3, 64, 96).to(device)
    with mixed_precision(model, device) as autocast, autocast:
        losses = model([image], [{key: value.to(device) for key, value in target.items()}])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def compiled(model):
    return gatezoo.optimize(model, "compile")


def compiled_to_graphs(model):
    optimized = gatezoo.optimize(model, "eager")
    optimized.compile(mode="reduce-overhead")
    return optimized


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compile", [compiled, compiled_to_graphs])
def test_compiled_unrolls_are_those_of_eager_mode(compile, device, exact):
    model = randomize(gatezoo.create_model("test_dignet", num_classes=5)).to(device)
    network = compile(model)
    for seed in range(3):  # a CUDA graph is recorded in the first calls, and run again in later ones
        images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(seed)).to(device)
        expected, found = model(images), network(images).clone()
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()
    assert network(images, iterations=1).shape == expected.shape
