"""Freed memory is used again, which the system's count of page faults shows."""

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
for _ in range(3):
    torch.ones(2**24)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept():
    assert faults("keep") < faults("plain") / 10


def test_another_c_library_is_left_alone(monkeypatch):
    from gatezoo.utils import allocator

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(allocator.ctypes, "CDLL", absent)
    assert allocator.disable_malloc_trim() is False
