"""The C library's memory allocator, for programs that allocate large tensors again and again, and lack of memory."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

# Options of mallopt, numbered as in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def disable_malloc_trim() -> bool:
    """Keep freed memory in the process for reuse instead of returning it to the system.

    By default glibc requests each large activation from the system and returns it after use, and the system fills
    every page with zeros when it is first written. The setting holds for the whole process: call it at the start.

    Returns:
        Whether the setting was applied; only glibc supports it.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(option, value) for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated: Python's own, or torch's on any device."""
    # torch has a type for it on CUDA only; and this module does not import torch.
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in text for words in ("out of memory", "can't allocate memory", "not enough memory"))
    )


@contextlib.contextmanager
def explain_out_of_memory(fix: str) -> Iterator[None]:
    """Turn lack of memory into a ValueError of one line.

    Args:
        fix: what to do about it, the end of the message.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(f"the computation must fit into memory, and did not: {fix}") from error
