"""Run what a visitor asks for as a job, and answer every fault with one line."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from ..utils.allocator import explain_out_of_memory
from ..utils.text import first_line
from .jobs import Jobs, Stopped
from .markup import escape

_log = logging.getLogger("gatezoo")
F = TypeVar("F", bound=Callable[..., Any])

# Two visitors at a time; the others wait in a queue of this length, and see their place in it.
CONCURRENCY, MAX_WAITING = 2, 20


def answered(function: F) -> F:
    """Make a handler answer its faults with one line on the page; where the page runs, no more is printed either."""

    @functools.wraps(function)
    def run(*arguments: Any, **keywords: Any) -> Any:
        try:
            with explain_out_of_memory("use a smaller image"):
                return function(*arguments, **keywords)
        except Stopped:
            raise gr.Error("The work was stopped.", duration=3, title="Stopped", print_exception=False) from None
        except ValueError as error:
            raise _one_line(" ".join(str(error).split())) from None
        except Exception as error:
            text = f"{type(error).__name__}: {first_line(error)}"
            _log.error("a handler of the page failed: %s", text, exc_info=os.environ.get("GATEZOO_DEBUG") == "1")
            raise _one_line(f"something failed that must not, please report it: {text}") from None

    return run  # type: ignore[return-value]


def _one_line(text: str) -> gr.Error:
    return gr.Error(escape(text), print_exception=False)


def progress_of(bar: gr.Progress) -> Callable[[float | None, str], None]:
    """Return a job's report that moves a progress bar of the page."""
    return lambda share, text: bar(share, desc=text)


def compute(
    button: gr.Button,
    cancel: gr.Button,
    jobs: Jobs,
    function: Callable[..., Any],
    inputs: list[Any],
    outputs: list[Any],
) -> Any:
    """Run a long function when a button is pressed: in the queue, with progress, until it is done or canceled.

    Args:
        button, cancel: that start and stop it.
        jobs: of all visitors.
        function: from the inputs to the outputs.
        inputs, outputs: components.

    Returns:
        The event, after which others can follow.
    """
    event = button.click(
        as_job(jobs, function),
        inputs,
        outputs,
        concurrency_limit=CONCURRENCY,
        concurrency_id="compute",
        api_visibility="private",
    )

    def stop(request: gr.Request) -> None:
        jobs.stop(str(request.session_hash))

    cancel.click(stop, None, None, cancels=[event], queue=False, api_visibility="private")
    return event


def as_job(jobs: Jobs, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler that runs a function as the job of its visitor."""

    # Gradio fills in the first two, and of parameters with names alone none.
    @answered
    def handle(request: gr.Request, progress: gr.Progress = gr.Progress(), *values: Any) -> Any:  # noqa: B008
        with jobs.run(str(request.session_hash), progress_of(progress)):
            return function(*values)

    return handle
