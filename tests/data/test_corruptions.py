import pytest
import torch
from torchvision.transforms.v2 import functional as F

from gatezoo.data.corruptions import CORRUPTIONS, SEVERITIES, Corruption


def image():
    ramp = torch.linspace(40, 200, 48).byte().expand(3, 40, 48).clone()
    ramp[:, 10:20, 10:30] = 230
    return ramp


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_grows_with_severity_and_leaves_labels(name):
    sample = {"image": image(), "mask": torch.zeros(40, 48)}
    changed = [Corruption(name, severity)(sample) for severity in SEVERITIES]
    errors = [(one["image"].float() - image()).abs().mean() for one in changed]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert all(one["mask"] is sample["mask"] and one["image"].dtype == torch.uint8 for one in changed)
    assert torch.equal(sample["image"], image())


def test_corruption_has_the_documented_strengths():
    def changed(name, severity):
        return Corruption(name, severity)({"image": image()})["image"].float()

    assert (changed("noise", 2) - image()).std() / 255 == pytest.approx(0.08, rel=0.05)
    assert torch.equal(changed("brightness", 1), (image() * 1.3).clamp(max=255).floor())
    contrasted, mean = changed("contrast", 3), F.rgb_to_grayscale(image()).float().mean()
    torch.testing.assert_close(contrasted, 0.2 * image() + 0.8 * mean, atol=1, rtol=0)


def test_noise_depends_on_the_image_alone():
    corruption, state = Corruption("noise", 1), torch.get_rng_state()
    first = corruption({"image": image()})["image"]
    torch.rand(3)
    assert torch.equal(first, corruption({"image": image()})["image"])
    assert not torch.equal(first.int() - image(), corruption({"image": image() + 1})["image"].int() - image() - 1)
    torch.set_rng_state(state)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), torch.zeros(4, 8, 8, dtype=torch.uint8)])
def test_corruption_refuses_other_images(wrong):
    with pytest.raises(ValueError, match="8 bits and 1 or 3 channels"):
        Corruption("blur", 1)({"image": wrong})
    with pytest.raises(ValueError, match="severity must be 1, 2 or 3"):
        Corruption("blur", 4)
    with pytest.raises(ValueError, match="fog"):
        Corruption("fog", 1)
