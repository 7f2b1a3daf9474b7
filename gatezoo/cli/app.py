"""The ``gatezoo`` command: parse arguments, call the package, print results.

Networks, and with them torch, are imported only by the commands that need them.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Annotated

import typer

from ..utils.allocator import explain_out_of_memory
from ..utils.parallel import is_main_process, plain_message
from . import compare, data, env, export, gates, models, page, predict, publish, recipes, train, weights
from . import eval as eval_

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _print_version(value: bool) -> None:
    if value:
        from gatezoo import __version__

        print(f"gatezoo {__version__}")
        raise typer.Exit


@app.callback()
def _gatezoo(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A zoo of gated segmentation networks."""


app.command("list")(models.list_)
app.command()(models.info)
app.command()(predict.predict)
app.command()(gates.gates)
app.command()(compare.compare)
app.command()(page.app)
app.command("eval")(eval_.evaluate)
app.command()(export.export)
app.command()(train.train)
app.command()(train.finetune)
app.command()(recipes.recipes)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command()(publish.publish)
app.command()(env.env)


class _ConsoleHandler(logging.Handler):
    """Print messages of the package: warnings and errors on stderr, others on stdout.

    The streams are looked up for each message, since a progress bar replaces them while it is drawn.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        try:
            stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
            print(self.format(record), file=stream, flush=True)
        except Exception:
            self.handleError(record)


def configure_logging() -> None:
    """Print the package's messages of level INFO and above, without a prefix; of several processes the first does."""
    logger = logging.getLogger("gatezoo")
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())


def main() -> None:
    """Run the command line.

    The exit code is 0 if all was done, and 1 if some of the images could not be predicted. A ValueError, that is wrong
    input, and lack of memory are printed as one line on stderr, and the exit code is 2. With GATEZOO_DEBUG=1 in the
    environment they are raised with their traceback.
    """
    configure_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have bytes or signs that a console cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with explain_out_of_memory("use smaller images, windows (--window-size 512) or another device"):
            app()
    except ValueError as error:
        if os.environ.get("GATEZOO_DEBUG") == "1":
            raise
        print(f"gatezoo: {' '.join(plain_message(error).strip().splitlines())}", file=sys.stderr)
        sys.exit(2)
