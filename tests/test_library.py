"""What ``import toolchain`` offers."""

from __future__ import annotations

import ast
import importlib
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


def test_no_room_has_a_public_name() -> None:
    """Loading ``toolchain.NAME`` as a room would put it in the place of what has the name."""
    modules = [*(ROOT / "toolchain").glob("*.py"), *(ROOT / "toolchain").glob("*/__init__.py")]
    rooms = {path.stem if path.stem != "__init__" else path.parent.name for path in modules}
    assert not rooms & toolchain._MODULES.keys()


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name, module in toolchain._MODULES.items():
        told = "::: toolchain.errors" if module == "toolchain.errors" else f"::: {module}.{name}\n"
        assert told in page, name
