"""The command line: ``gatezoo list | info | predict | gates | train | ...``. Parses and prints; the work is elsewhere.

Networks, and with them torch, are imported by the commands that run one.
"""

from __future__ import annotations

import sys

import typer

from ..utils.allocator import disable_malloc_trim
from . import data, gates, models, predict, publish, train, weights
from . import eval as eval_

app = typer.Typer(help="A zoo of gated segmentation networks.", no_args_is_help=True, add_completion=False)
app.command("list")(models.list_)
app.command()(models.info)
app.command()(predict.predict)
app.command()(gates.gates)
app.command("eval")(eval_.evaluate)
app.command()(train.train)
app.command()(train.finetune)
app.command()(train.recipes)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command()(publish.publish)


def main() -> None:
    """Entry point: what a user can mend is one line on stderr and exit code 2."""
    disable_malloc_trim()
    try:
        app()
    except ValueError as error:
        # What a data worker raises comes wrapped in its traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        print(f"gatezoo: {message}", file=sys.stderr)
        sys.exit(2)
