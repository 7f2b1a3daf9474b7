"""The commands about weights: ``gatezoo weights list | verify | fetch | where`` and ``gatezoo publish``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..metrics.names import HEADLINES
from ..weights import integrity

app = typer.Typer(help="Weights: what there is, where it is, whether it is whole.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="NAME or NAME.TAG; default: all.", show_default=False)]
Cache = Annotated[Path | None, typer.Option(help="Folder of downloads; default: GATEZOO_CACHE, else the Hub's own.")]


def _entries(names: list[str] | None) -> list:
    """Entries of the manifest; a name without a tag stands for all of its tags."""
    from .. import pretrained
    from ..registry import get_model_spec, get_pretrained_cfg, split_model_name_tag

    found = []
    for name in names or []:
        row, tag = get_model_spec(name).name, split_model_name_tag(name)[1]
        cfgs = [get_pretrained_cfg(name)] if tag else pretrained.of_architecture(row)
        if not cfgs:
            raise ValueError(f"weights must be of a model that has some; {row} has none: 'gatezoo weights list'")
        found += cfgs
    return found or list(pretrained.manifest().values())


@app.command("list")
def list_(names: Names = None, cache_dir: Cache = None):
    """Every set of weights: its size, where it is on this machine, its licence and mIoU or mask AP."""
    from ..weights.sources import list_local_files

    for cfg in _entries(names):
        places = ", ".join(source.partition(":")[0] for source, _ in list_local_files(cfg, cache_dir)) or "not here"
        figure = next((key for key in HEADLINES if key in cfg.metrics), None)
        score = f"{HEADLINES[figure]} {100 * cfg.metrics[figure]:.1f}" if figure else "not measured"
        print(f"{cfg.name:34} {cfg.size / 1e6:7.1f} MB  {places:16} {cfg.license:16} {score}")


@app.command()
def verify(names: Names = None, cache_dir: Cache = None):
    """Hash every bundled and cached file and compare it with the manifest. Exit code 2 if one is damaged."""
    from ..weights.sources import list_local_files

    damaged = 0
    for cfg in _entries(names):
        found = list_local_files(cfg, cache_dir)
        for source, path in found:
            try:
                integrity.verify(path, cfg)
                print(f"{cfg.name}: whole, {path}")
            except ValueError as error:
                damaged += 1
                print(f"{cfg.name}: damaged, {source}: {error}")
        if not found:
            print(f"{cfg.name}: not here")
    if damaged:
        raise ValueError(
            f"all files must be those of the manifest; {damaged} damaged: 'gatezoo weights fetch' mends a cache"
        )


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="NAME, NAME.TAG or hf-hub:ORG/REPO[@REVISION]; default: all of the manifest."),
    ] = None,
    cache_dir: Cache = None,
):
    """Bring weights onto this machine and check them, for later use without a network."""

    from ..weights.sources import resolve_weights

    known = [name for name in names or [] if ":" not in name]
    for cfg in _entries(known) if known or not names else []:
        print(f"{cfg.name}: {resolve_weights(cfg, cache_dir)}")
    for name in names or []:
        if ":" in name:
            from ..factory import resolve_pretrained_cfg

            print(f"{name}: {resolve_weights(resolve_pretrained_cfg(name, cache_dir), cache_dir)}")


@app.command()
def where(
    name: Annotated[str, typer.Argument(help="NAME or NAME.TAG.")],
    cache_dir: Cache = None,
):
    """The file of a set of weights, one line for each place on this machine that has it."""
    from ..hub import cache_folder
    from ..weights.sources import list_local_files

    for cfg in _entries([name]):
        found = list_local_files(cfg, cache_dir)
        for _, path in found:
            print(path)
        if not found:
            raise ValueError(
                f"{cfg.name} must be on this machine; it is neither bundled nor in {cache_folder(cache_dir)}: "
                f"'gatezoo weights fetch {cfg.name}'"
            )
