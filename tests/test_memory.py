"""Memory that is freed is taken again without the system's help."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from toolchain import memory

LOOK = """
import ctypes, resource, sys
from toolchain.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 64 << 20
for _ in range(8):
    piece = libc.malloc(ctypes.c_size_t(size))
    libc.memset(ctypes.c_void_p(piece), 1, ctypes.c_size_t(size))
    libc.free(ctypes.c_void_p(piece))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", LOOK, how], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_pages_are_cleared_once() -> None:
    """Eight pieces of 64 MB, one after the other, take the pages of one."""
    assert faults("keep") < faults("not") / 4


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
