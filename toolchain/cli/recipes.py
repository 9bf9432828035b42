"""The recipe that a command line asks for, and names of folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.feeding import read_size, says_size
from toolchain.errors import RecipeError

if TYPE_CHECKING:
    from toolchain.recipe import Recipe


def recipe_for(
    model: str, path: Path | None, prune: Mapping[str, object], size: str | None
) -> Recipe:
    """Return the recipe with what the command line overrides, checked as a recipe is."""
    from toolchain.recipe import default_recipe, load_recipe, override

    recipe = load_recipe(path) if path else default_recipe(model)
    if recipe.model.name != model:
        raise RecipeError(f"{path} is a recipe for {recipe.model.name}, not for {model}")
    given = {f"prune.{key}": value for key, value in prune.items() if value is not None}
    if given.get("prune.scope") == "layer":
        given = {"prune.align": 1} | given  # blocks are of groups
    if size is not None:
        given["input.height"], given["input.width"] = read_size(size)
    elif path is not None and ":" in model and not says_size(path):
        plain = default_recipe(model).input  # a size that nobody said is as without a recipe
        given["input.height"], given["input.width"] = plain.height, plain.width
    return override(recipe, given)


def with_settings(
    recipe: Recipe, fields: Mapping[str, object], assignments: Sequence[str] | None
) -> Recipe:
    """Return ``recipe`` with the ``fields`` that are not None, and then what ``--set`` says."""
    from toolchain.recipe import override, parse_assignment

    given = {name: value for name, value in fields.items() if value is not None}
    return override(recipe, given | dict(parse_assignment(text) for text in assignments or ()))


def folder_name(model: str) -> str:
    """Return a network's name as that of a folder: arguments of a factory may hold anything."""
    return re.sub(r"[^\w.=,()+-]+", "-", model)
