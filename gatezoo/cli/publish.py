"""``gatezoo publish``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def publish(
    source: Annotated[
        str | None, typer.Argument(help="Model folder, checkpoint of 'gatezoo train', or NAME.TAG of the manifest.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help="ORG/NAME: publish to this repository of the Hub.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Publish every bundled entry, each to ORG/NAME.TAG.")] = False,
    org: Annotated[str | None, typer.Option(help="With --all: publish to repositories of this organization.")] = None,
    tag: Annotated[
        str | None, typer.Option(help="Tag of new weights. Default: the end of --repo, TAG of ORG/NAME.TAG.")
    ] = None,
    license: Annotated[str | None, typer.Option(help="License of the weights, such as CC-BY-4.0.")] = None,
    data_license: Annotated[str | None, typer.Option(help="License of the training data.")] = None,
    train_data: Annotated[str | None, typer.Option(help="Training data, such as 'CamVid, 367 images'.")] = None,
    command: Annotated[str | None, typer.Option(help="The command that trained the weights.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="The file scores.json that 'gatezoo eval --out' wrote for these weights.")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Round the weights to half precision.")] = False,
    private: Annotated[bool, typer.Option(help="Make the repository private.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep the uploaded files in this empty folder.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Write the entry to this manifest. Default: the one in use.")
    ] = None,
    yes: Annotated[bool, typer.Option(help="Upload; otherwise the folder is only created and checked.")] = False,
) -> None:
    """Publish weights on the Hugging Face Hub: rebuild, compare, upload, read back, add to the manifest."""
    from .. import pretrained
    from ..publishing.publish import build_release, load_scores
    from ..publishing.publish import publish as upload_release

    given = {"license": license, "data_license": data_license, "train_data": train_data, "command": command}
    fields: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if all_ and org and not source:
        bundled = [cfg for cfg in pretrained.manifest().values() if any(s.startswith("bundled:") for s in cfg.sources)]
        targets = [(cfg.name, f"{org}/{cfg.name}") for cfg in bundled]
    elif source and repo and not all_:
        targets = [(source, repo)]
    else:
        raise ValueError("publish takes a SOURCE with --repo ORG/NAME, or --all with --org ORG")
    if scores:
        fields["metrics"] = load_scores(scores)
    for name, target in targets:
        with tempfile.TemporaryDirectory() as temporary:
            place = (folder / name if all_ else folder) if folder else Path(temporary)
            release = build_release(name, place, target, tag, fields, fp16)
            for line in release.lines():
                print(line)
            if not yes:
                print(f"nothing was uploaded; pass --yes to upload to {target}")
                continue
            cfg = upload_release(release, target, private, manifest)
            print(f"published: {cfg.sources[-1]}")
