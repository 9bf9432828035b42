"""Pages of the site that are made from other sources: the README, the help texts, the recipes."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from toolchain.cli.app import app
from toolchain.recipe import sections

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file holds."""
    pages = {
        "index.md": start_page(),
        "reference/command-line.md": command_line(),
        "reference/recipes.md": recipes(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def start_page() -> str:
    """The README, with its links as seen from ``docs``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?!http)([A-Z]+\.md)\)", r"\1 (`\2`)", text)


def command_line() -> str:
    """Every command with its options, from the same texts that ``--help`` shows."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="toolchain")
    text = get_docs_for_click(obj=group, ctx=context, name="toolchain")
    return text.replace("\\[", "[")  # as the help texts escape them for the terminal


def recipes() -> str:
    """Every section and field of a recipe: type, range, default, and its docstring."""
    lines = [
        "# Recipes",
        "",
        "A recipe is a TOML file: one section for each concern, every field with its range. "
        "`toolchain shrink MODEL --recipe FILE` takes one; what it leaves out has the default.",
        "",
    ]
    hints = typing.get_type_hints(sections.Recipe, include_extras=True)
    for name, hint in hints.items():
        kind = next((part for part in (hint, *typing.get_args(hint)) if is_section(part)), None)
        if kind is None:
            continue
        title = f"[{name}.TARGET]" if typing.get_origin(hint) is dict else f"[{name}]"
        lines += [f"## `{title}`", "", inspect.getdoc(kind) or "", ""]
        lines += ["| field | type | default | |", "|---|---|---|---|"]
        lines += table_rows(field_texts(class_of(kind)))
        lines.append("")
    return "\n".join(lines)


def class_of(kind: type) -> ast.ClassDef:
    """Return a class as it stands in the source."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    return node


def is_section(kind: object) -> bool:
    """Tell whether a type is a section of a recipe."""
    return isinstance(kind, type) and kind.__name__.endswith("Section")


def field_texts(node: ast.ClassDef) -> dict[str, tuple[str, str, str]]:
    """Field -> its annotation, its default and its docstring, as they stand in the source."""
    found = {}
    for place, line in enumerate(node.body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            after = node.body[place + 1] if place + 1 < len(node.body) else None
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = inspect.cleandoc(str(after.value.value))
            default = ast.unparse(line.value) if line.value else ""
            found[line.target.id] = ast.unparse(line.annotation), default, text
    return found


def table_rows(texts: dict[str, tuple[str, str, str]]) -> list[str]:
    """One row of Markdown for each field."""
    rows = []
    for name, (annotation, default, text) in texts.items():
        words = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
        shown = short_type(annotation).replace("|", "\\|")
        default = re.sub(r"field\(default_factory=(\w+)\)", r"\1()", default)
        rows.append(f"| `{name}` | {shown} | {f'`{default}`' if default else ''} | {words} |")
    return rows


def short_type(annotation: str) -> str:
    """Say ``float, 0 to 1`` in place of ``typing.Annotated[float, Range(0, 1)]``."""
    found = re.fullmatch(
        r"typing\.Annotated\[(.+?), Range\(([^,]+), ([^,)]+)(, [^)]*)?\)\]( \| None)?", annotation
    )
    if found:
        kind, low, high, ends, optional = found.groups()
        ends = ", ends left out" if ends else ""
        return f"{kind}, {low} to {high}{ends}" + (" or none" if optional else "")
    return f"`{annotation}`"
