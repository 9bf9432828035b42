"""What ``import toolchain`` offers."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import toolchain


def imports_for_type_checkers() -> dict[str, str]:
    """Return the names that ``toolchain/__init__.py`` imports under ``TYPE_CHECKING``."""
    tree = ast.parse(Path(toolchain.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_the_table_say_the_same() -> None:
    assert imports_for_type_checkers() == toolchain._MODULES
    assert set(toolchain.__all__) == {*toolchain._MODULES, "__version__"}


@pytest.mark.parametrize("name", sorted(toolchain._MODULES))
def test_every_public_name_is_there_and_told(name: str) -> None:
    found = getattr(toolchain, name)
    assert found is getattr(importlib.import_module(toolchain._MODULES[name]), name)
    assert found.__doc__
    assert name in dir(toolchain)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Softpruner'"):
        toolchain.Softpruner  # noqa: B018


def test_a_room_of_the_same_name_does_not_take_a_names_place() -> None:
    code = (
        "import toolchain, toolchain.prune.criteria; from toolchain.prune import criteria; "
        "from toolchain import prune; assert prune is toolchain.prune; "
        "assert callable(toolchain.prune) and callable(criteria.choose)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name, module in toolchain._MODULES.items():
        told = "::: toolchain.errors" if module == "toolchain.errors" else f"::: {module}.{name}\n"
        assert told in page, name
