"""Settings of the C library's memory allocator, for programs that allocate the same large tensors again and again."""

from __future__ import annotations

import ctypes

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
