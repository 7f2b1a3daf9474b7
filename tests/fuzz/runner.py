"""Run one case of bad input within the process of the tests, and check how it ended."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from gatezoo.cli import app as cli

# What a case is: input that must be taken, that must be refused, or of which either is right.
VALID, WRONG, EITHER = "valid", "wrong", "either"

SECONDS, BYTES, MESSAGE_CHARS = 20, 4 << 30, 400
BOX = "│╭╮╰╯─"
# A long text that the user gave may be repeated in a message.
REPEATED = re.compile(r"(.{1,8}?)\1{20,}")


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: what is wrong or odd about it.
        call: arguments of the command line, or a function that calls the Python interface.
        expected: VALID, WRONG or EITHER.
        says: what the message about wrong input must contain, such as the name of the file.
        untouched: files that must be the same afterwards.
    """

    name: str
    call: Sequence[object] | Callable[[], object]
    expected: str
    says: str = ""
    untouched: Sequence[Path] = ()


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its messages if it was refused, the traceback if there was one, and the time it took."""

    refused: bool
    messages: str = ""
    crash: str = ""
    seconds: float = 0.0


class Hang(BaseException):
    """Raised in a case that takes too long. No ``except Exception`` catches it."""


@contextlib.contextmanager
def limits(seconds=SECONDS, memory=BYTES):
    """Stop what takes longer than ``seconds``, and let no more than ``memory`` bytes be allocated."""

    def stop(*_):
        raise Hang

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run(case):
    """Return the :class:`Outcome` of a case."""
    start = time.monotonic()
    try:
        with limits():
            outcome = _run_call(case.call) if callable(case.call) else _run_command(case.call)
    except Hang:
        outcome = Outcome(False, crash=f"no end after {SECONDS} s")
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        crash = f"{type(error).__name__}: {str(error)[:300]!r} at {Path(where.filename).name}:{where.lineno}"
        outcome = Outcome(False, crash=crash)
    return Outcome(outcome.refused, outcome.messages, outcome.crash, time.monotonic() - start)


def _run_call(call):
    try:
        call()
    except ValueError as error:
        return Outcome(True, str(error))
    return Outcome(False)


def _run_command(arguments):
    # As the streams of a terminal: a text that cannot be encoded is an error on stdout.
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    code = 0
    with (
        mock.patch.object(sys, "argv", ["gatezoo", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    text, errors = (stream.buffer.getvalue().decode() for stream in (out, err))
    crash = errors if "Traceback" in errors else ""
    if code and not errors.strip() and "error" not in text:
        crash = f"exit code {code} without a word"
    return Outcome(code != 0, errors if errors.strip() else text, crash)


def fault(case, folder):
    """Run a case and return what is wrong with how it ended, or None.

    Args:
        case: the input.
        folder: that holds its files; its path does not count as a part of messages.
    """
    before = [path.read_bytes() for path in case.untouched]
    outcome = run(case)
    if outcome.crash:
        return f"crash: {outcome.crash}"
    if outcome.seconds > SECONDS:
        return f"hang: {outcome.seconds:.0f} s"
    if [path.read_bytes() for path in case.untouched] != before:
        return "the input was changed"
    messages = REPEATED.sub(r"\1", outcome.messages.replace(str(folder), ""))
    if outcome.refused and case.expected == VALID:
        return f"valid input was refused: {messages[-500:]}"
    if not outcome.refused:
        return "nonsense was taken" if case.expected == WRONG else None
    if "allocate" in messages or "MemoryError" in messages:
        return f"too much memory: {messages[-500:]}"
    lines = messages.strip().splitlines() if callable(case.call) else _error_lines(messages)
    if len(lines) > 1 and callable(case.call):
        return f"more than one line: {messages[:500]!r}"
    if any(len(line) > MESSAGE_CHARS for line in lines):
        return f"long message: {max(lines, key=len)[:500]!r}"
    if _squeezed(REPEATED.sub(r"\1", case.says)) not in _squeezed(messages):
        return f"the message does not say {case.says!r}: {messages[-500:]}"
    return None


def _error_lines(messages):
    return [line for line in messages.splitlines() if line.startswith("gatezoo: ")]


def _squeezed(text):
    """Drop what a box that is drawn around a message puts into it, and case."""
    return "".join(char for char in text.lower() if not char.isspace() and char not in BOX)
