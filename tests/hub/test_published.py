"""timm's own weights of a backbone, through the same budget."""

import time

import pytest
import timm
from huggingface_hub import close_session, constants
from safetensors.torch import save

import gatezoo
from gatezoo.backbones import published
from gatezoo.hub import retry

NAME = "resnet18"


@pytest.fixture
def timms(hub, monkeypatch):
    """The repository of timm's weights."""
    cfg = timm.models.get_pretrained_cfg(NAME)
    hub.put(cfg.hf_hub_id, {"model.safetensors": save(timm.create_model(NAME).state_dict()), "config.json": b"{}"})
    return cfg


def create():
    return gatezoo.create_model("fcn_resnet50_8s", backbone=NAME, pretrained_backbone=True)


def test_weights_come_once_and_then_without_a_request(hub, timms):
    create()
    assert len(hub.counted("GET")) == 2
    hub.requests.clear()
    create()
    assert hub.counted() == []


def test_dead_hub_is_told_within_five_seconds_with_the_ways_out(hub, timms):
    hub.close()
    close_session()
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable") as caught:
        create()
    assert time.monotonic() - began < 5
    for part in ("HF_ENDPOINT", "cache", f"or pass a file of weights of {NAME} as pretrained_backbone"):
        assert part in str(caught.value)


@pytest.mark.parametrize("offline", [True, False])
def test_weights_outside_the_hub_need_a_server_that_answers(hub, monkeypatch, tmp_path, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(retry, "RETRY_DELAYS", ())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cfg = timm.models.PretrainedCfg(url=f"{hub.url}/old.pth")
    hub.close()
    close_session()
    with pytest.raises(ValueError, match=r"HF_HUB_OFFLINE is set|reachable; .* pass a file of weights of old"):
        published.fetch_published(cfg, "old")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/old.pth").write_bytes(b"")
    assert published.fetch_published(cfg, "old") is None
