"""Memory that is freed is taken again without the system's help."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolchain.system import memory

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")

LOOK = """
import ctypes, resource, sys
from toolchain.system.memory import keep_freed_memory
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

HOLES = """
import ctypes
from pathlib import Path
from types import SimpleNamespace
from toolchain.system.memory import Surplus, keep_freed_memory
def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
keep_freed_memory()
pieces = []
for _ in range(4):
    piece = libc.malloc(ctypes.c_size_t(64 << 20))
    libc.memset(ctypes.c_void_p(piece), 1, ctypes.c_size_t(64 << 20))
    pieces.append(piece)
    libc.malloc(ctypes.c_size_t(100))  # stays, above the hole
for piece in pieces:
    libc.free(ctypes.c_void_p(piece))
full = held()
assert not Surplus(0.99).give_back()
assert held() > full - (32 << 20)
assert Surplus(0.0).give_back()
print((full - held()) >> 20)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", LOOK, how], capture_output=True, check=True)
    return int(done.stdout)


@GLIBC
def test_what_is_free_is_given_back_where_much_is_held() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, check=True)
    assert int(done.stdout) > 200


@GLIBC
def test_pages_are_cleared_once() -> None:
    """Eight pieces of 64 MB, one after the other, take the pages of one."""
    assert faults("keep") < faults("not") / 4


def test_much_is_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine that has four times what this process holds, which is a quarter."""
    pages = 4 * int(Path("/proc/self/statm").read_text().split()[1])
    monkeypatch.setattr(memory.os, "sysconf", lambda name: pages)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=lambda pad: 1))
    assert not memory.Surplus(0.5).give_back()
    assert memory.Surplus(0.125).give_back()


def test_what_is_held_again_at_once_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.2 of the machine, twice in a row, is needed; more than three times the share never is."""
    pages, trims = [0], []
    statm = SimpleNamespace(read_bytes=lambda: b"0 %d" % pages[0])
    monkeypatch.setattr(memory, "Path", lambda path: statm)
    monkeypatch.setattr(memory.os, "sysconf", lambda name: 1000)
    libc = SimpleNamespace(malloc_trim=lambda pad: trims.append(pages[0]) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    surplus = memory.Surplus(0.125)

    def given_back(*held: int) -> list[int]:
        trims.clear()
        for pages[0] in held:
            surplus.give_back()
        return list(trims)

    assert given_back(200, 100, 200, 100) == [200, 200]  # not at once: holes
    assert given_back(200, 200, 240, 249) == [200]
    assert given_back(251, 251, 350, 370) == [251, 350]
    assert given_back(380, 380, 380) == [380, 380, 380]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
    assert not memory.Surplus(0.0).give_back()
