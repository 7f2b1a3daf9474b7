"""Show how far a training is: a bar on a terminal, lines of the log elsewhere."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .messages import log_info

# A line of the log after so many seconds, or after this share of the steps.
_SECONDS, _SHARE = 30, 0.05


class StepProgress:
    """Context of the steps of a training that shows loss, speed and the time left, from the first step on.

    Where there is no terminal, a line after the first step and then one every 30 seconds or 5 % of the steps, whichever
    is sooner.

    Args:
        steps: number of steps of the whole training.
        done: number of them that were done before.
        images_per_step: images of a step, over all processes.
        shown: draw a bar if stdout is a terminal; the first of several processes does.
    """

    def __init__(self, steps: int, done: int, images_per_step: int, shown: bool):
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"), TimeRemainingColumn())
        self._steps, self._first, self._images_per_step = steps, done, images_per_step
        self._bar = Progress(*columns, disable=not (shown and sys.stdout.isatty()))
        self._task = self._bar.add_task("train", total=steps, completed=done, loss=math.nan)
        self._start = self._shown_at = time.monotonic()
        self._shown_step = -steps

    def __enter__(self) -> StepProgress:
        self._start = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def images_per_second(self, step: int) -> float:
        """Return the speed since the start of this run, at the end of step number ``step``."""
        return (step - self._first) * self._images_per_step / (time.monotonic() - self._start)

    def update(self, step: int, loss: float, evaluated: bool) -> None:
        """Move the bar; where there is none, log a line if one is due.

        Args:
            step: number of steps that are done.
            loss: the mean loss.
            evaluated: an evaluation has logged a line for this step.
        """
        self._bar.update(self._task, completed=step, loss=loss)
        now = time.monotonic()
        due = now - self._shown_at >= _SECONDS or step - self._shown_step >= _SHARE * self._steps
        if due or evaluated:
            self._shown_at, self._shown_step = now, step
        if self._bar.disable and due and not evaluated:
            speed = self.images_per_second(step)
            left = timedelta(seconds=round((self._steps - step) * self._images_per_step / speed))
            log_info(f"step {step}/{self._steps} loss {loss:.3f} {speed:.2f} images/s, {left} left")
