"""What the documentation says is tried: its Python runs, its commands parse, its words exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import ROOT

from toolchain.cli.app import app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(*kinds: str) -> list[tuple[str, str]]:
    """Page and content of every fenced block of these kinds."""
    return [
        (str(page.relative_to(ROOT)), content)
        for page in PAGES
        for kind, content in FENCE.findall(page.read_text(encoding="utf-8"))
        if kind in kinds
    ]


def commands() -> list[tuple[str, list[str]]]:
    """Page and words of every line that calls the toolchain or make."""
    found = []
    for page, content in blocks("sh", "text"):
        for line in content.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name in ("toolchain", "make"):
                found.append((page, words))
    return found


COMMANDS = commands()


def named(case: tuple[str, list[str]]) -> str:
    return f"{case[0]}: {' '.join(case[1])}"


def test_there_is_something_to_try() -> None:
    assert len(COMMANDS) >= 30
    assert {page for page, _ in blocks("python")} >= {"README.md", "docs/python.md"}
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize(
    "case", [case for case in COMMANDS if not case[1][0].endswith("make")], ids=named
)
def test_a_command_is_one_that_the_command_line_takes(case: tuple[str, list[str]]) -> None:
    """Its name, options and values are read as they would be, and nothing is run."""
    _, (_, name, *words) = case
    group = typer.main.get_command(app)
    if name.startswith("-"):
        options = (option for parameter in group.params for option in parameter.opts)
        assert name in {"--help", *options}
        return
    command = group.commands[name]  # type: ignore[attr-defined]
    if "--help" not in words:
        made = command.make_context(name, [word for word in words if word != "..."])
        assert made.args == []


@pytest.mark.parametrize(
    "case", [case for case in COMMANDS if case[1][0].endswith("make")], ids=named
)
def test_a_target_of_make_and_its_variables_exist(case: tuple[str, list[str]]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in case[1][1:]:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{name} \??=" if is_variable else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), word


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, _ in blocks("python")}))
def test_the_python_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """All of a page in one process, as a reader would go through it."""
    code = "\n".join(content for name, content in blocks("python") if name == page)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_messages_of_the_troubleshooting_page_are_really_said() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = re.findall(r'^## "(.+)"$', text, re.MULTILINE)
    assert len(said) >= 8
    files = [path for room in ("toolchain", "deploy") for path in (ROOT / room).rglob("*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a message may be divided over lines
    for words in said:
        assert words in source, words


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists() or made_by_hooks(page, link), (
                f"{page.name}: {link}"
            )


def made_by_hooks(page: Path, link: str) -> bool:
    """Tell whether the site has the page from another source."""
    made = {"docs/index.md", "docs/reference/command-line.md", "docs/reference/recipes.md"}
    place = os.path.normpath(page.parent / link)
    return os.path.relpath(place, ROOT) in made
