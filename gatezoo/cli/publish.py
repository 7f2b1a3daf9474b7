"""``gatezoo publish``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from .tables import print_table


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
    license: Annotated[
        str | None,
        typer.Option(help="License of the weights: CC-BY-4.0, or a name and an address, 'Research only, https://...'."),
    ] = None,
    data_license: Annotated[str | None, typer.Option(help="License of the training data.")] = None,
    train_data: Annotated[str | None, typer.Option(help="Training data, such as 'CamVid, 367 images'.")] = None,
    command: Annotated[str | None, typer.Option(help="The command that trained the weights.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="The file scores.json that 'gatezoo eval --out' wrote for these weights.")
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help="[DATA=]ORG/DATASET:TASK: list the main score on the leaderboard of this data set of the Hub. With "
            "--all, DATA is the training data whose weights belong there, such as CamVid; repeat it for others."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Show this image with its prediction in the card. With --all: a folder of NAME.TAG.jpg."),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Round the weights to half precision.")] = False,
    private: Annotated[bool, typer.Option(help="Make the repository private.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep the uploaded files in this empty folder.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Write the entry to this manifest. Default: the one in use.")
    ] = None,
    yes: Annotated[bool, typer.Option(help="Upload; otherwise the folder is only created and checked.")] = False,
    space: Annotated[
        Path | None,
        typer.Option(help="Write a Space of the Hub, the page of 'gatezoo app' for SOURCE, into this empty folder."),
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(
            help="With --space: what it installs, such as 'gatezoo[app] @ git+https://...'. Default: this version."
        ),
    ] = None,
) -> None:
    """Publish weights on the Hugging Face Hub: rebuild, compare, upload, read back, add to the manifest.

    With --all, weights that fail do not stop the others; a table tells what went, and the exit code is 1 if any failed.

    With --space only the folder of the Space is written; --license and --repo, where the weights are, go into its card.
    """
    if space or package:
        others: dict[str, object] = {
            "all": all_,
            "org": org,
            "tag": tag,
            "data-license": data_license,
            "train-data": train_data,
        }
        others |= {"command": command, "scores": scores, "benchmark": benchmark, "image": image, "fp16": fp16}
        others |= {"private": private, "folder": folder, "manifest": manifest, "yes": yes}
        _write_space(source, space, license, repo, package, [key for key, value in others.items() if value])
        return
    from .. import hub, pretrained
    from ..publishing.benchmarks import benchmark_of, check_benchmarks, parse_benchmark
    from ..publishing.manifest import check_manifest

    given = {"license": license, "data_license": data_license, "train_data": train_data, "command": command}
    fields: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    entries = pretrained.manifest()
    if all_ and org and not source and not repo:
        bundled = [cfg for cfg in entries.values() if any(s.startswith("bundled:") for s in cfg.sources)]
        targets = [(cfg.name, f"{org}/{cfg.name}") for cfg in bundled]
    elif source and repo and not all_:
        bundled, targets = [], [(source, repo)]
    else:
        raise ValueError("publish takes a SOURCE with --repo ORG/NAME, or --all with --org ORG")
    benchmarks = [parse_benchmark(text) for text in benchmark or []]
    check_benchmarks(benchmarks, bundled)
    if all_ and image and not image.is_dir():
        raise ValueError(f"--image with --all must be a folder of images NAME.TAG.jpg; got {image}: choose a folder")
    # Everything that could stop the upload is reported before the work.
    for _, target in targets:
        (hub.require_token if yes else hub.check_repo)(target)
    if yes:
        check_manifest(manifest or pretrained.manifest_path())
        for _, target in targets[:1]:
            hub.check_upload(target)
    if scores:
        from ..publishing.scores import load_scores

        fields["metrics"] = load_scores(scores)

    def run(name: str, target: str) -> str:
        from ..publishing.card_figure import card_image
        from ..publishing.publish import build_release
        from ..publishing.publish import publish as upload_release

        if yes and all_:  # the Hub may have gone since
            hub.check_upload(target)
        chosen = benchmark_of(entries[name], benchmarks) if all_ else next(iter(benchmarks), None)
        with tempfile.TemporaryDirectory() as temporary:
            place = (folder / name if all_ else folder) if folder else Path(temporary)
            shown = card_image(image, name) if all_ else image
            release = build_release(name, place, target, tag, fields, fp16, shown, chosen)
            for line in release.lines():
                print(line)
            if not yes:
                print(f"nothing was uploaded; pass --yes to upload to {target}")
                return "checked"
            cfg = upload_release(release, target, private, manifest)
            print(f"published: {cfg.sources[-1]}")
            return "published"

    if not all_:
        run(*targets[0])
        return
    rows = []
    for name, target in targets:
        try:
            rows.append((name, target, run(name, target)))
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            rows.append((name, target, "failed"))
    print_table(("weights", "repository", "result"), rows)
    if any(result == "failed" for *_, result in rows):
        raise typer.Exit(1)


def _write_space(
    source: str | None,
    space: Path | None,
    license: str | None,
    repo: str | None,
    package: str | None,
    others: list[str],
) -> None:
    """Write a Space, and print its files and how to upload it."""
    from .. import hub

    if not source or not space:
        raise ValueError("publish takes a SOURCE with --space FOLDER; --package is an option of it")
    if others:
        raise ValueError(f"--{others[0]} is no option of a Space: leave it out, or publish the weights without --space")
    if repo:
        hub.check_repo(repo)
    from ..publishing.space import write_space

    for path in write_space(source, space, license, repo, package):
        print(f"{path} {path.stat().st_size} bytes")
    print(f"to upload it: hf upload ORG/NAME {space} --repo-type space")
