"""``gatezoo weights list | verify | download | path``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pretrained import PretrainedCfg

app = typer.Typer(help="List, verify, download and find weights.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="NAME or NAME.TAG. Default: all.", show_default=False)]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of downloads. Default: GATEZOO_CACHE, else the cache of the Hub's client.")
]


def _find_cfgs(names: list[str] | None) -> list[PretrainedCfg]:
    """Return entries of the manifest, all if no names are given; a name without a tag selects all of its tags."""
    from .. import pretrained
    from ..registry import get_model_spec, get_pretrained_cfg, split_model_name_tag

    found = []
    for name in names or []:
        architecture, tag = get_model_spec(name).name, split_model_name_tag(name)[1]
        cfgs = [get_pretrained_cfg(name)] if tag else pretrained.of_architecture(architecture)
        if not cfgs:
            raise ValueError(
                f"weights must be of a model that has some; {architecture} has none: 'gatezoo weights list' lists them"
            )
        found += [cfg for cfg in cfgs if cfg]
    return found or list(pretrained.manifest().values())


@app.command("list")
def list_(names: Names = None, cache_dir: Cache = None) -> None:
    """List weights with their size, the places on this machine that have them, license and main score."""
    from ..metrics.names import METRICS, format_metric, headline_key
    from ..weights.sources import list_local_files

    for cfg in _find_cfgs(names):
        places = ", ".join(source.partition(":")[0] for source, _ in list_local_files(cfg, cache_dir)) or "not here"
        key = headline_key(cfg.metrics)
        score = f"{METRICS[key].title} {format_metric(key, cfg.metrics[key])}" if key else "not measured"
        print(f"{cfg.name:34} {cfg.size / 1e6:7.1f} MB  {places:16} {cfg.license:16} {score}")


@app.command()
def verify(names: Names = None, cache_dir: Cache = None) -> None:
    """Hash every bundled and cached file and compare it with the manifest.

    The exit code is 2 if a file is damaged.
    """
    from ..weights import integrity
    from ..weights.sources import list_local_files

    damaged = 0
    for cfg in _find_cfgs(names):
        files = list_local_files(cfg, cache_dir)
        for source, path in files:
            try:
                integrity.verify(path, cfg)
                print(f"{cfg.name}: intact, {path}")
            except ValueError as error:
                damaged += 1
                print(f"{cfg.name}: damaged, {source}: {error}")
        if not files:
            print(f"{cfg.name}: not here")
    if damaged:
        raise ValueError(
            f"all files must match the manifest; {damaged} damaged: 'gatezoo weights download' replaces cached ones"
        )


@app.command()
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME, NAME.TAG or hf-hub:ORG/REPO[@REVISION]. Default: all of the manifest.", show_default=False
        ),
    ] = None,
    cache_dir: Cache = None,
) -> None:
    """Download weights and check them, for later use without a network."""
    from ..weights.sources import resolve_weights

    registered = [name for name in names or [] if ":" not in name]
    for cfg in _find_cfgs(registered) if registered or not names else []:
        print(f"{cfg.name}: {resolve_weights(cfg, cache_dir)}")
    for name in names or []:
        if ":" in name:
            from ..factory import resolve_pretrained_cfg

            print(f"{name}: {resolve_weights(resolve_pretrained_cfg(name, cache_dir), cache_dir)}")


@app.command()
def path(name: Annotated[str, typer.Argument(help="NAME or NAME.TAG.")], cache_dir: Cache = None) -> None:
    """Print the file of a set of weights, one line for each place on this machine that has it."""
    from ..hub import cache_folder
    from ..weights.sources import list_local_files

    for cfg in _find_cfgs([name]):
        files = list_local_files(cfg, cache_dir)
        for _, file in files:
            print(file)
        if not files:
            raise ValueError(
                f"{cfg.name} must be on this machine; it is neither bundled nor in {cache_folder(cache_dir)}: "
                f"run 'gatezoo weights download {cfg.name}'"
            )


# Their names up to version 0.1.
app.command("fetch", hidden=True)(download)
app.command("where", hidden=True)(path)
