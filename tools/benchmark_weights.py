"""Seconds from cached published weights to a network, here and in the usual ways, each the median of turns.

    python tools/benchmark_weights.py dignet_resnet101_8s --repeats 9

Nothing is downloaded: a repository is laid into an empty cache as huggingface_hub does. The sha256 of every byte is
part of the first load, and remembered for later ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from benchmark import medians
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.weights import digest_cache as verified
from gatezoo.weights.loading import no_init_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lay_out(name: str, folder: Path) -> Path:
    """A network with random weights as ``hf-hub:bench/net`` in a cache; returns the file of its weights."""
    place = folder / "models--bench--net/snapshots" / COMMIT
    gatezoo.save_pretrained(gatezoo.create_model(name), place)
    path = place / "model.safetensors"
    # As old as a file that was downloaded yesterday, so that its digest is remembered.
    os.utime(path, (1e9, 1e9))
    return path


def ways(name: str, folder: Path) -> dict[str, Callable[[], object]]:
    path = lay_out(name, folder)
    backbone = gatezoo.create_model(name).backbone.name
    built = gatezoo.model_entrypoint(name)()
    note = path.parents[2] / "verified" / COMMIT / "model.safetensors.json"

    def assign() -> None:
        built.load_state_dict(load_file(path), assign=True)

    def build_and_assign() -> None:
        with no_init_weights():
            model = gatezoo.model_entrypoint(name)()
        model.load_state_dict(load_file(path), assign=True)

    def warm() -> None:
        gatezoo.create_model(f"hf-hub:bench/net@{COMMIT}", pretrained=True, cache_dir=folder)

    def first() -> None:
        note.unlink(missing_ok=True)
        warm()

    timm_file = folder / "timm.safetensors"
    save_file(timm.create_model(backbone).state_dict(), timm_file)

    def of_timm() -> None:
        timm.create_model(backbone, pretrained=True, pretrained_cfg_overlay={"file": str(timm_file)})

    smp.PSPNet(backbone, encoder_weights=None).save_pretrained(folder / "smp")

    def of_smp() -> None:
        smp.from_pretrained(folder / "smp")

    return {
        "load_file and assign to a network that is there": assign,
        "the same, the network built without random numbers": build_and_assign,
        "gatezoo, hf-hub, warm": warm,
        "gatezoo, hf-hub, hashing all bytes": first,
        f"timm, {backbone}, local file": of_timm,
        f"segmentation_models_pytorch, PSPNet on {backbone}, local folder": of_smp,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    verified.MIN_FILE_AGE_NS = 0
    with tempfile.TemporaryDirectory() as folder:
        calls = ways(args.name, Path(folder))
        seconds = medians(list(calls.values()), args.repeats, "cpu")
    table = Table("way", "seconds", "of load_file and assign", title=f"{args.name}, torch {torch.__version__}")
    for way, value in zip(calls, seconds):
        table.add_row(way, f"{value:.3f}", f"{value / seconds[0]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
