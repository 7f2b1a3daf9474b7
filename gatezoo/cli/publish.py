"""``gatezoo publish``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def publish(
    source: Annotated[
        str | None, typer.Argument(help="A file that 'gatezoo train' wrote, or NAME.TAG of the manifest.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help="ORG/NAME on the Hub.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every bundled entry, each to ORG/NAME.TAG.")] = False,
    org: Annotated[str | None, typer.Option(help="ORG of --all.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of new weights.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the weights: CC-BY-4.0, ...")] = None,
    data_license: Annotated[str | None, typer.Option(help="Licence of the data they were trained on.")] = None,
    train_data: Annotated[str | None, typer.Option(help="'CamVid, 367 images'.")] = None,
    command: Annotated[str | None, typer.Option(help="The command that trained them.")] = None,
    scores: Annotated[Path | None, typer.Option(help="scores.json of 'gatezoo eval --out' of this file.")] = None,
    half: Annotated[bool, typer.Option(help="Round the weights to half precision.")] = False,
    private: Annotated[bool, typer.Option(help="A private repository.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep what is sent in this empty folder.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest to write; default: the one in use.")] = None,
    yes: Annotated[bool, typer.Option(help="Upload. Without it only the folder is made and checked.")] = False,
):
    """Publish weights on the Hugging Face Hub: rebuild, compare, upload, read back, enter into the manifest."""
    from .. import pretrained
    from ..publishing.publish import build_release, load_scores
    from ..publishing.publish import publish as send

    if all_ == bool(source) or (all_ and not org) or (source and not repo):
        raise ValueError("publish takes a SOURCE with --repo ORG/NAME, or --all with --org ORG")
    told = {"license": license, "data_license": data_license, "train_data": train_data, "command": command}
    told = {key: value for key, value in told.items() if value is not None}
    if scores:
        told["metrics"] = load_scores(scores)
    if all_:
        bundled = [cfg for cfg in pretrained.manifest().values() if any(s.startswith("bundled:") for s in cfg.sources)]
        jobs = [(cfg.name, f"{org}/{cfg.name}") for cfg in bundled]
    else:
        jobs = [(source, repo)]
    for name, target in jobs:
        with tempfile.TemporaryDirectory() as made:
            place = (folder / name if all_ else folder) if folder else Path(made)
            publication = build_release(name, place, target, tag, told, half)
            for line in publication.lines():
                print(line)
            if not yes:
                print(f"nothing was sent; --yes uploads to {target}")
                continue
            entry = send(publication, target, private, manifest)
            print(f"published: {entry.sources[-1]}")
