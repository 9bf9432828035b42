"""What CONTRIBUTING.md says how to do can be done: files, names and targets exist."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

from toolchain import operators
from toolchain.arm import sysroot, targets
from toolchain.bundle import choosing, destination
from toolchain.exporting import rewriting
from toolchain.models import eresfd
from toolchain.recipe import sections
from toolchain.system import installation

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMES = {
    "BASE_FEATURES": targets,
    "DETECTOR": eresfd,
    "LACKING": rewriting,
    "ON_GRAPHS": rewriting,
    "RUNTIMES": destination,
    "Rewrite": sections,
    "SUFFIXES": choosing,
    "SYSTEMS": sysroot,
    "how_to_get": installation,
    "register": operators,
}
PATHS = sorted(
    set(re.findall(r"`((?:toolchain|tests|docs|recipes|deploy)/[\w./]*)`", TEXT)) | {".ci/run"}
)


@pytest.mark.parametrize("path", [path for path in PATHS if "NAME" not in path])
def test_a_file_or_folder_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_where_it_says(name: str) -> None:
    assert name in TEXT
    assert hasattr(NAMES[name], name)


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = set(re.findall(r"make ([a-z]+(?:-[a-z]+)?)(?=[ ,`;])", TEXT))
    assert {"setup", "lint", "test", "test-wheel", "docs", "gate"} <= found
    assert [name for name in found if f"\n{name}:" not in makefile] == []
