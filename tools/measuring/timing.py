"""Times of calls, run in turn, and memory of fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


def time_call(call: Callable[[], object], device: str) -> float:
    """Return the seconds that one call takes."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(calls: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Return the median seconds of each call; the calls are run in turn after a warm-up."""
    for call in calls:
        call()
    rounds = [[time_call(call, device) for call in calls] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds)]


def memory(field: str) -> float:
    """Return the memory of this process in MiB: "VmRSS" for now, "VmHWM" for the peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_in_fresh_process(module: str, call: str) -> list[float]:
    """Call a function of a module of this package in a fresh process and return the numbers that it prints."""
    code = f"from measuring.{module} import *; {call}"
    tools = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=tools, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]
