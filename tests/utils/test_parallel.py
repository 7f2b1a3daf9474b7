import os
import subprocess
import sys
import threading

import pytest
from helpers.paths import ROOT
from torch.utils.data import DataLoader

from gatezoo.utils.parallel import MAX_THREADS, init_data_worker, parallel_map, plain_message, read_ahead
from gatezoo.utils.text import first_values


def test_parallel_map_keeps_the_order():
    threads = set()

    def square(x):
        threads.add(threading.get_ident())
        return x * x

    assert list(parallel_map(square, range(100))) == [x * x for x in range(100)]
    assert len(threads) <= MAX_THREADS


def test_read_ahead_reads_one_item_ahead_in_a_thread():
    read, threads = [], set()

    def reading(x):
        threads.add(threading.get_ident())
        read.append(x)
        return 10 // x

    found = []
    for item, result in read_ahead([5, 2, 0, 1], reading):
        try:
            found.append((item, result()))
        except ZeroDivisionError:
            found.append((item, None))
        assert read[: len(found)] == [5, 2, 0, 1][: len(found)]
        assert len(read) <= len(found) + 1
    assert found == [(5, 2), (2, 5), (0, None), (1, 10)]
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert list(read_ahead([], reading)) == []


def test_parallel_map_raises_errors_of_the_function():
    results = parallel_map(lambda x: 1 // x, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(
    ("values", "text"), [([], ""), (range(3), "0, 1, 2"), (range(4), "0, 1, 2 ... 3"), ("ab", "a, b")]
)
def test_first_values(values, text):
    assert first_values(values, limit=3) == text


class Broken:
    """A data set whose third item cannot be read."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 2:
            raise ValueError("an image must be intact; c.png is cut: copy it again")
        return index


def test_error_of_a_data_worker_has_the_message_of_its_cause():
    with pytest.raises(ValueError, match="DataLoader worker") as caught:
        list(DataLoader(Broken(), num_workers=1, worker_init_fn=init_data_worker))
    assert plain_message(caught.value) == "an image must be intact; c.png is cut: copy it again"
    assert plain_message(ValueError("Caught\nValueError: a")) == "Caught\nValueError: a"


def test_error_of_a_data_worker_ends_the_program():
    """Its other workers, which ignore the first SIGTERM, end too."""
    code = (
        "from utils.test_parallel import *\n"
        "kept = iter(DataLoader(Broken(), num_workers=2, worker_init_fn=init_data_worker)), next\n"
        "[kept[1](kept[0]) for _ in range(5)]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: an image must be intact; c.png is cut: copy it again\n\n")
