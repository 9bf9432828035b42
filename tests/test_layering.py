"""Imports point one way: a room knows only rooms that come before it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = (
    "errors",
    "system",
    "recipe",
    "records",
    "models",
    "operators",
    "surgery",
    "exporting",
    "checking",
    "data",
    "report",
    "zoo",
    "lineage",
    "bench",
    "arm",
    "bundle",
    "scoring",
    "pruning",
    "detection",
    "balancing",
    "evaluating",
    "train",
    "recovery",
    "widths",
    "workflows",
    "gate",
    "library",
    "cli",
    "__main__",
)
"""Modules and folders of ``toolchain``, each after all that it may import."""

BOARD_ROOMS = {
    "exporting",
    "checking",
    "lineage",
    "bench",
    "arm",
    "bundle",
    "detection",
    "balancing",
    "evaluating",
    "train",
    "workflows",
    "gate",
}
"""The rooms that may run what goes to the board."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path) -> list[str]:
    parts = module_of(path).split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; ``from a import b`` gives a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                []
                if node.level == 0
                else package_of(path)[: len(package_of(path)) - node.level + 1]
            )
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    """The room of a module of the toolchain; None for others and for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "toolchain" and len(parts) > 1 else None


def known_imports(path: Path) -> set[str]:
    """The rooms that a file imports; names that are no module (``__version__``) are left out."""
    return {name for name in map(room, imports(path)) if name in ROOMS}


def package_roots(paths: Iterable[Path]) -> set[str]:
    return {module.split(".")[0] for path in paths for module in imports(path)}


def rooms_with_files() -> dict[str, list[Path]]:
    rooms: dict[str, list[Path]] = {}
    for path in sources("toolchain"):
        name = room(module_of(path))
        if name is not None:
            rooms.setdefault(name, []).append(path)
    return rooms


def test_every_room_has_its_place() -> None:
    unplaced = set(rooms_with_files()) - set(ROOMS)
    assert not unplaced, f"put {sorted(unplaced)} into ROOMS, after all that they may import"
    assert len(set(ROOMS)) == len(ROOMS)


def test_the_page_on_design_has_the_rooms_in_their_order() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert [name for name in told if name != "deploy"] == [
        name for name in ROOMS if name != "__main__"
    ]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_rooms_before_it(name: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(name) + 1])
    files = rooms_with_files()[name]
    assert files
    for path in files:
        wrong = known_imports(path) - allowed
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.slow
def test_one_file_alone_knows_torch_pruning() -> None:
    users = {
        module_of(path)
        for path in [*sources("toolchain"), *sources("deploy")]
        if "torch_pruning" in package_roots([path])
    }
    assert users == {"toolchain.surgery.dependencies"}


def test_the_package_itself_loads_no_room_when_it_runs() -> None:
    heavy = "name.startswith('toolchain.') or name in ('torch', 'numpy', 'cv2')"
    code = f"import sys, toolchain; sys.exit(', '.join(name for name in sys.modules if {heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.stderr.strip() == ""


def test_the_board_needs_neither_toolchain_nor_torch() -> None:
    files = sources("deploy")
    assert ROOT / "deploy" / "detect.py" in files
    allowed = {"cv2", "ncnn", "numpy", "onnxruntime", "deploy", "detector"} | set(
        sys.stdlib_module_names
    )
    assert package_roots(files) - {""} <= allowed


def test_the_boards_program_has_no_circle() -> None:
    """Each file, and each folder, needs only such that do without it."""
    files = {module_of(path): set(imports(path)) for path in sources("deploy")}
    waiting = {name: needed & files.keys() - {name} for name, needed in files.items()}
    while ready := {name for name, needed in waiting.items() if not needed}:
        waiting = {name: needed - ready for name, needed in waiting.items() if name not in ready}
    assert not waiting


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["deploy", "recipes"])
def test_folders_of_the_top_level_have_one_name(folder: str) -> None:
    """In code they are the toolchain's; a project may have folders of the same names."""
    assert (ROOT / "toolchain" / folder).resolve() == ROOT / folder
    users = {
        path.relative_to(ROOT).as_posix()
        for path in [*sources("toolchain"), *sources("tests")]
        if folder in package_roots([path])
    }
    assert not users


@pytest.mark.slow
def test_a_users_folders_of_the_same_names_break_nothing(tmp_path: Path) -> None:
    for folder in ("deploy", "recipes"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise ImportError('the user's own')\n")
    code = (
        "from toolchain.deploy import detect, packing; from toolchain.bundle import contents\n"
        "from toolchain.recipe.loading import default_recipe; default_recipe('eresfd')\n"
        "files = [*contents.program_files().values(), *contents.licence_files([]).values()]\n"
        "print(all(isinstance(file, bytes) or file.is_file() for file in files))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_few_rooms_run_what_goes_to_the_board() -> None:
    users = {
        room(module_of(path))
        for path in sources("toolchain")
        if "deploy" in map(room, imports(path))
    }
    assert users <= BOARD_ROOMS


def test_nothing_imports_tests() -> None:
    plugin = ROOT / "toolchain" / "gate" / "plugin.py"
    others = [path for path in sources("toolchain") if path != plugin]
    roots = package_roots([*others, *sources("deploy"), *sources("recipes")])
    assert not roots & {"tests", "conftest", "networks", "pytest", "hypothesis"}
    assert not package_roots([plugin]) & {"tests", "conftest", "networks", "hypothesis"}


@pytest.mark.parametrize("name", ["report", "errors", "records", "recipe", "system"])
def test_rooms_without_torch(name: str) -> None:
    """Neither they nor any room that they import."""
    rooms = rooms_with_files()
    reached, waiting = set(), {name}
    while waiting:
        current = waiting.pop()
        reached.add(current)
        found = {other for path in rooms[current] for other in known_imports(path)}
        waiting |= found - reached
    for current in reached:
        assert "torch" not in package_roots(rooms[current]), current


@pytest.mark.parametrize(
    "modules",
    [
        "toolchain.report.document.html, toolchain.report.run.report, toolchain.report.run.summary",
        "toolchain.cli",
        "toolchain.zoo.reading, toolchain.arm.kept",
        "toolchain.workflows.recommending.answering, toolchain.workflows.recommending.failing",
        "toolchain.deploy.detect",
    ],
)
def test_torch_is_not_loaded_by(modules: str) -> None:
    """The command line answers ``--help`` at once, the board never sees torch."""
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# The tests' own tools ---------------------------------------------------------------------------


def test_imports_are_found_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    folder = tmp_path / "toolchain" / "surgery"
    folder.mkdir(parents=True)
    path = folder / "flow.py"
    path.write_text(
        "import toolchain.cli as c\nfrom toolchain import workflows, __version__\n"
        "from .layers import Layer\nfrom ..exporting import fold\nfrom .. import checking\n"
        "def f():\n    from toolchain.report.document.html import html\n"
    )
    assert known_imports(path) == {"cli", "workflows", "surgery", "exporting", "checking", "report"}
