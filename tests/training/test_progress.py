"""Lines of the log that show how far a training is."""

import logging
from types import SimpleNamespace

import pytest

from gatezoo.training import progress
from gatezoo.training.progress import StepProgress


@pytest.mark.parametrize(
    ("seconds", "first", "evaluations", "lines"),
    [
        (1.0, 0, (), [1, 31, 61, 91]),  # 30 seconds are sooner than 5 % of 1000 steps
        (0.1, 0, (), [1, 51]),
        (0.1, 950, (), [951]),
        (0.1, 0, (20, 40), [1, 90]),  # an evaluation has a line of its own
    ],
)
def test_line_every_30_seconds_or_5_percent(monkeypatch, caplog, seconds, first, evaluations, lines):
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    caplog.set_level(logging.INFO, logger="gatezoo")
    with StepProgress(1000, first, 4, True) as shown:
        for step in range(first + 1, min(first + 100, 1000) + 1):
            clock[0] += seconds
            shown.update(step, 0.5, step in evaluations)
    assert [int(line.split("/")[0].removeprefix("step ")) for line in caplog.messages] == lines
    left = round((1000 - lines[0]) * seconds)
    assert caplog.messages[0].startswith(f"step {lines[0]}/1000 loss 0.500 {4 / seconds:.2f} images/s, ")
    assert caplog.messages[0].endswith(f"0:{left // 60:02}:{left % 60:02} left")
