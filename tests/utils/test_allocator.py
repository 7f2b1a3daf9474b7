"""Freed memory is reused, as the system's count of page faults shows."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from gatezoo.utils.allocator import disable_malloc_trim
if sys.argv[1] == "keep":
    assert disable_malloc_trim()
for _ in range(10):
    torch.ones(2**24)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_reused():
    assert page_faults("keep") < page_faults("plain") / 10


def test_other_c_libraries_are_left_unchanged(monkeypatch):
    from gatezoo.utils import allocator

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(allocator.ctypes, "CDLL", absent)
    assert allocator.disable_malloc_trim() is False
