"""Replace the manifest of published weights in a test."""

import functools
from pathlib import Path

import pytest

from gatezoo import pretrained
from gatezoo.pretrained import PretrainedCfg, entries


def use_manifest(monkeypatch: pytest.MonkeyPatch, *cfgs: PretrainedCfg) -> None:
    """Let the manifest have these entries alone."""
    for module in (pretrained, entries):
        monkeypatch.setattr(module, "manifest", functools.cache(lambda: {cfg.name: cfg for cfg in cfgs}))


def use_manifest_file(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the manifest be another file, which may be written; it is read anew."""
    monkeypatch.setattr(entries, "manifest_path", lambda: path)
    monkeypatch.setattr(pretrained, "manifest_path", lambda: path)
    manifest = functools.cache(lambda: entries.read_entries(pretrained.read_manifest(path)["weights"]))
    for module in (pretrained, entries):
        monkeypatch.setattr(module, "manifest", manifest)
