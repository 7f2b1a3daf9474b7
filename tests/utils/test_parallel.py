import threading

import pytest

from gatezoo.utils.parallel import MAX_THREADS, parallel_map
from gatezoo.utils.text import first_values


def test_parallel_map_keeps_the_order():
    threads = set()

    def square(x):
        threads.add(threading.get_ident())
        return x * x

    assert list(parallel_map(square, range(100))) == [x * x for x in range(100)]
    assert len(threads) <= MAX_THREADS


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
