"""``gatezoo app``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Device


def app(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models to offer first: NAME, NAME.TAG, hf-hub:ORG/REPO, local-dir:FOLDER, or a checkpoint of "
            "'gatezoo train'. Published weights follow."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to serve at; others than this machine's own let others open the page.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at.")] = 7860,
    share: Annotated[
        bool, typer.Option("--share", help="Also make a public address, through a server of Gradio.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Serve a page in the browser: segment images, look at passes and gates, compare models.

    Where others can open the page, they choose among the models that it offers; on this machine alone, any name that
    'gatezoo predict' takes can be typed.
    """
    from ..utils.optional import require_extra

    require_extra("app", "the page", "gradio")
    from ..app.serve import serve

    serve(names or [], host, port, share=share, device=device)
