"""Time the loading of cached published weights, here and in other libraries.

    python tools/benchmark_weights.py dignet_resnet101_8s --repeats 9

Each time is the median of several runs in turn. Nothing is downloaded: a repository is written into an empty cache as
huggingface_hub does. The first load hashes all bytes; later ones use the cached digest.
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
from measuring.timing import medians
from rich.table import Table
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.cli.tables import table_console
from gatezoo.weights import digest_cache
from gatezoo.weights.loading import no_init_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_cache(name: str, folder: Path) -> Path:
    """Write a network with random weights as ``hf-hub:bench/net`` into a cache and return its weights file."""
    snapshot = folder / "models--bench--net/snapshots" / COMMIT
    gatezoo.save_pretrained(gatezoo.create_model(name), snapshot)
    path = snapshot / "model.safetensors"
    # Digests of new files are not cached.
    os.utime(path, (1e9, 1e9))
    return path


def make_calls(name: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Return the calls to time, by their titles."""
    path = write_cache(name, folder)
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

    def load_timm() -> None:
        timm.create_model(backbone, pretrained=True, pretrained_cfg_overlay={"file": str(timm_file)})

    smp.PSPNet(backbone, encoder_weights=None).save_pretrained(folder / "smp")

    def load_smp() -> None:
        smp.from_pretrained(folder / "smp")

    return {
        "load_file and assign to an existing network": assign,
        "the same, and build the network without initialization": build_and_assign,
        "gatezoo, hf-hub, warm": warm,
        "gatezoo, hf-hub, hashing all bytes": first,
        f"timm, {backbone}, local file": load_timm,
        f"segmentation_models_pytorch, PSPNet on {backbone}, local folder": load_smp,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    digest_cache.MIN_FILE_AGE_NS = 0
    with tempfile.TemporaryDirectory() as folder:
        calls = make_calls(args.name, Path(folder))
        seconds = medians(list(calls.values()), args.repeats, "cpu")
    table = Table("call", "seconds", "of load_file and assign", title=f"{args.name}, torch {torch.__version__}")
    for title, value in zip(calls, seconds):
        table.add_row(title, f"{value:.3f}", f"{value / seconds[0]:.2f}")
    table_console().print(table)


if __name__ == "__main__":
    main()
