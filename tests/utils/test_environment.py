import importlib.metadata

import torch

from gatezoo.utils import environment


def test_versions_have_no_local_part(monkeypatch):
    monkeypatch.setattr(environment.metadata, "version", lambda name: f"1.2-{name}+cu128")
    assert environment.versions("numpy") == {
        name: f"1.2-{name}" for name in ("torch", "torchvision", "timm", "safetensors", "numpy")
    }


def test_description_has_versions_and_devices(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    described = environment.describe_environment()
    assert described["torch"] == importlib.metadata.version("torch")
    assert described["threads"] == str(torch.get_num_threads())
    assert ("not available" in described["CUDA"]) is not torch.cuda.is_available()
    assert "HF_ENDPOINT" not in described


def test_description_of_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(environment, "_OTHER_DISTRIBUTIONS", ("no-such-distribution",))
    assert environment.describe_environment()["no-such-distribution"] == "not installed"


def test_description_has_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://user:hf_secret@mirror.example/hub?token=hf_secret")
    monkeypatch.setenv("GATEZOO_CACHE", "/tmp/cache")
    described = environment.describe_environment()
    assert described["HF_ENDPOINT"] == "https://mirror.example/hub"
    assert described["GATEZOO_CACHE"] == "/tmp/cache"
    assert "secret" not in str(described)
