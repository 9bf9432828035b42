"""Recipes as files, as they ship, and as the command line changes them."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from toolchain.errors import RecipeError, did_you_mean, in_one_line
from toolchain.recipe.checking import hints_of
from toolchain.recipe.numbers import PHOTO
from toolchain.recipe.reader import Reader
from toolchain.recipe.renamed import key_now
from toolchain.recipe.sections import InputSection, ModelSection, PruneSection, Recipe


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raise :class:`RecipeError` naming the file, the line and what was expected."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe ({error})") from error
    return _with_labels(parse_recipe(text, str(path)), path)


def _with_labels(recipe: Recipe, path: Path) -> Recipe:
    """Return ``recipe`` with the labels that the file it names holds, beside the recipe."""
    name = recipe.task.labels_file
    if name is None:
        return recipe
    try:
        lines = (path.parent / name).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: task.labels_file {name!r} is not in UTF-8; save it as UTF-8"
        ) from error
    except OSError as error:
        raise RecipeError(
            f"{path}: task.labels_file {name!r} cannot be read ({in_one_line(error)})"
        ) from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise RecipeError(f"{path}: task.labels_file {name!r} holds no names; write one a line")
    task = dataclasses.replace(recipe.task, labels=labels, labels_file=None)
    return dataclasses.replace(recipe, task=task)


def default_recipe(model: str) -> Recipe:
    """Return the recipe that ships for ``model``, or a plain one for a network of one's own."""
    if ":" in model:
        return Recipe(
            model=ModelSection(name=model),
            input=InputSection(height=224, width=224),
            prune=PruneSection(protected=()),
        )
    known = models_with_recipe()
    if model not in known:
        raise RecipeError(
            f"no recipe for model {model!r}; there are: {', '.join(known)}, and module:factory "
            f"for a network of your own{_hint(model, known)}"
        )
    resource = resources.files("toolchain.recipes").joinpath(f"{model}.toml")
    return parse_recipe(resource.read_text(encoding="utf-8"), f"recipes/{model}.toml")


def _hint(model: str, known: Sequence[str]) -> str:
    """Return what may have been meant by a model's name."""
    if Path(model).suffix in (".pth", ".pt", ".ckpt", ".safetensors"):
        return f"; weights are given by --ckpt {model}"
    return did_you_mean(model, known)


def models_with_recipe() -> list[str]:
    """Return the names that have a recipe of their own."""
    files = resources.files("toolchain.recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".toml"))


def parse_recipe(text: str, name: str) -> Recipe:
    """Make a :class:`Recipe` of TOML ``text``; ``name`` is what errors call it."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # huge numbers, deep nesting
        raise RecipeError(f"{name}: not valid TOML: {error}") from error
    reader = Reader(text, name)
    recipe = reader.section(Recipe, table, ())
    _check_input(recipe.input, reader)
    _check_evaluation(recipe, reader)
    anchors = recipe.anchors
    if anchors is not None and not anchors.sizes:
        line = Reader(text, name).line(("anchors", "sizes"))
        raise RecipeError(f"{name}:{line}: anchors.sizes must have at least one entry (got [])")
    if anchors is not None and len(anchors.sizes) != len(anchors.strides):
        line = Reader(text, name).line(("anchors", "sizes"))
        raise RecipeError(
            f"{name}:{line}: anchors.sizes must have one entry per stride "
            f"({len(anchors.strides)}; got {len(anchors.sizes)})"
        )
    _check_task(recipe, Reader(text, name))
    return _with_photos(recipe, Reader(text, name))


def _with_photos(recipe: Recipe, reader: Reader) -> Recipe:
    """Return ``recipe``; raise :class:`RecipeError` if it is for photos and those are too small."""
    if ":" in recipe.model.name and recipe.anchors is None:
        return recipe
    for side in ("height", "width"):
        pixels = getattr(recipe.input, side)
        if pixels not in PHOTO:
            reader.fail(("input", side), f"must be {PHOTO} (got {pixels!r})")
    return recipe


def _check_input(section: InputSection, reader: Reader) -> None:
    """Raise :class:`RecipeError` naming the field of ``[input]`` that does not fit the others."""
    problem = section.problem()
    if problem is not None:
        field, words = problem
        reader.fail(("input", field), words)


def _check_evaluation(recipe: Recipe, reader: Reader) -> None:
    """Raise :class:`RecipeError` naming the field of ``[evaluate]`` that cannot be."""
    problem = recipe.evaluate.problem()
    if problem is not None:
        field, words = problem
        reader.fail(("evaluate", field), words)


def _check_task(recipe: Recipe, reader: Reader) -> None:
    """Raise :class:`RecipeError` naming the field of ``[task]`` that does not fit the others."""
    problem = recipe.task_problem()
    if problem is not None:
        field, words = problem
        reader.fail(tuple(field.split(".")), words)


def parse_assignment(text: str) -> tuple[str, object]:
    """Read ``SECTION.FIELD=VALUE``, the value as TOML has it; bare words are texts."""
    path, sign, value = text.partition("=")
    path, sections = path.strip(), {field.name for field in dataclasses.fields(Recipe)}
    section, _, name = path.partition(".")
    if not sign or section not in sections or not name.isidentifier():
        raise RecipeError(
            f"--set must be SECTION.FIELD=VALUE, for example train.epochs=20 (got {text!r}); "
            f"sections: {', '.join(sorted(sections))}"
        )
    try:
        return path, tomllib.loads(f"value = {value.strip()}")["value"]
    except ValueError:
        return path, value.strip()


def override(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """Return ``recipe`` with some fields changed, for example ``{"prune.rate": 0.1}``.

    Values are checked as those of a file are; errors call them by their names.
    """
    reader = Reader("", "command line")
    for given, value in values.items():
        path = key_now(given)
        section_name, field_name = path.split(".")
        section = getattr(recipe, section_name)
        if section is None:
            raise RecipeError(f"{recipe.model.name} has no {section_name}, so no {path}")
        hints = hints_of(type(section))
        if field_name not in hints:
            hint = did_you_mean(field_name, hints)
            raise RecipeError(f"{path} is unknown; known here: {', '.join(hints)}{hint}")
        checked = reader.value(hints[field_name], value, (section_name, field_name))
        section = dataclasses.replace(section, **{field_name: checked})
        recipe = dataclasses.replace(recipe, **{section_name: section})
    _check_input(recipe.input, reader)
    _check_evaluation(recipe, reader)
    _check_task(recipe, reader)
    return _with_photos(recipe, reader)
