"""The C library's allocator, set for programs that allocate and free the same large tensors again and again."""

from __future__ import annotations

import ctypes

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def disable_malloc_trim() -> bool:
    """Use freed memory again instead of giving it back to the system; for a whole process, at its start.

    glibc asks the system anew for each large activation and gives it back after use, and the system fills every page
    with zeros when it is first written.

    Returns:
        Whether the C library could be told; only glibc can.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(option, value) for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
    )
