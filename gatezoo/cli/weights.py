"""``gatezoo weights list | verify | prune | download | path``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .tables import print_table

if TYPE_CHECKING:
    from ..pretrained import PretrainedCfg

app = typer.Typer(help="List, verify, prune, download and find weights.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="NAME or NAME.TAG. Default: all.", show_default=False)]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of downloads. Default: GATEZOO_CACHE, else the cache of the Hub's client.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_json(items: Iterable[dict[str, Any]]) -> None:
    print(json.dumps(list(items), indent=1, ensure_ascii=False))


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
def list_(names: Names = None, cache_dir: Cache = None, as_json: AsJson = False) -> None:
    """List weights with their size, the places on this machine that have them, license and main score.

    With --json: all fields of the manifest, and the files on this machine.
    """
    from ..metrics.names import METRICS, format_metric, headline_key
    from ..weights.sources import list_local_files

    found = [(cfg, list_local_files(cfg, cache_dir)) for cfg in _find_cfgs(names)]
    if as_json:
        _print_json(
            {
                "name": cfg.name,
                **cfg.to_dict(),
                "local_files": [{"source": source, "file": str(path)} for source, path in files],
            }
            for cfg, files in found
        )
        return
    rows = []
    for cfg, files in found:
        places = ", ".join(source.partition(":")[0] for source, _ in files) or "not here"
        key = headline_key(cfg.metrics)
        score = f"{METRICS[key].title} {format_metric(key, cfg.metrics[key])}" if key else "not measured"
        rows.append((cfg.name, f"{cfg.size / 1e6:.1f} MB", places, cfg.license, score))
    print_table(("weights", "size", "where", "license", "score"), rows, right=("size",))


@app.command()
def verify(names: Names = None, cache_dir: Cache = None, as_json: AsJson = False) -> None:
    """Hash every bundled and cached file and compare it with the manifest, or with the config it came with.

    The exit code is 1 if a file is damaged.
    """
    from ..weights.cached import check_entry, check_other_downloads

    results = [result for cfg in _find_cfgs(names) for result in check_entry(cfg, cache_dir)]
    if not names:
        results += check_other_downloads(cache_dir)
    if as_json:
        _print_json(
            {
                "name": result.name,
                "state": result.state,
                "source": result.source,
                "file": str(result.file or ""),
                "error": result.error,
                "fix": result.fix,
            }
            for result in results
        )
    else:
        for result in results:
            if result.state == "damaged":
                print(f"{result.name}: damaged, {result.file} of {result.source}: {result.fix}")
            else:
                print(f"{result.name}: intact, {result.file}" if result.file else f"{result.name}: not here")
    if damaged := sum(result.state == "damaged" for result in results):
        print(f"gatezoo: all files must be intact; {damaged} damaged", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def prune(
    cache_dir: Cache = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, list what would be removed.")] = False,
) -> None:
    """Remove cached downloads that the manifest no longer names, and partial files of interrupted downloads.

    Kept: models of your own choice (hf-hub:ORG/REPO), and what other programs store in the same cache.
    """
    from ..weights.cached import prune as remove

    freed, done = 0, "would be freed" if dry_run else "freed"
    for removal in remove(cache_dir, dry_run):
        print(f"{removal.what}: {removal.reason}, {removal.size} bytes")
        freed += removal.size
    print(f"{freed} bytes {done}")


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
