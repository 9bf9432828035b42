"""Recipes: what ships loads, what is set on the command line, what is written and read again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.recipe import (
    AnchorSection,
    CropSection,
    DecodeSection,
    InputSection,
    ModelSection,
    ProofSection,
    PruneSection,
    Range,
    Recipe,
    TrainSection,
    default_recipe,
    load_recipe,
    models_with_recipe,
    override,
    parse_recipe,
)

ROOT = Path(__file__).resolve().parents[1]
HEAD = '[model]\nname = "eresfd"\n'
"""Lines 1 and 2 of most recipes here."""


# What ships -------------------------------------------------------------------------------------


def test_every_detector_has_a_recipe() -> None:
    assert models_with_recipe() == ["eresfd", "extd", "yunet"]


@pytest.mark.parametrize(("model", "ratio"), [("eresfd", 1.25), ("extd", 1.0)])
def test_shipped_recipe_holds_the_published_preprocessing(model: str, ratio: float) -> None:
    recipe = default_recipe(model)
    assert recipe.model == ModelSection(name=model, seed=0)
    mean, given = (123.0, 117.0, 104.0), (-128.0, 128.0)
    assert recipe.input == InputSection(480, 640, "RGB", mean, range=given)
    assert recipe.anchors == AnchorSection(
        sizes=(16, 32, 64, 128, 256, 512), strides=(4, 8, 16, 32, 64, 128), aspect_ratio=ratio
    )
    assert recipe.decode.variances == (0.1, 0.2)
    assert recipe.prune == PruneSection(None, "fpgm", "group", ("loc.*", "conf.*"), align=4)
    assert recipe.proof == ProofSection(1e-5, 1e-4)


@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_shipped_recipe_is_the_file_in_the_repository(model: str) -> None:
    assert load_recipe(ROOT / "recipes" / f"{model}.toml") == default_recipe(model)


def test_a_network_of_ones_own_gets_a_plain_recipe() -> None:
    recipe = default_recipe("my_module:factory")
    assert recipe.model.name == "my_module:factory"
    assert recipe.anchors is None
    assert recipe.prune.protected == ()


def test_an_unknown_model_is_told_with_those_that_exist() -> None:
    with pytest.raises(RecipeError, match=r"no recipe for model 'nope'; there are: eresfd, extd"):
        default_recipe("nope")


def test_only_the_model_is_required() -> None:
    assert parse_recipe(HEAD, "r.toml") == Recipe(model=ModelSection("eresfd"))


def test_whole_numbers_are_taken_for_real_ones() -> None:
    recipe = parse_recipe(HEAD + "[input]\nmean = [1, 2, 3]\n", "r.toml")
    assert recipe.input.mean == (1.0, 2.0, 3.0)
    assert all(type(value) is float for value in recipe.input.mean)


# Overrides from the command line ----------------------------------------------------------------


def test_override_changes_only_what_it_names() -> None:
    recipe = default_recipe("eresfd")
    changed = override(recipe, {"prune.rate": 0.25, "input.height": 96})
    assert changed.prune == dataclasses.replace(recipe.prune, rate=0.25)
    assert changed.input == dataclasses.replace(recipe.input, height=96)
    assert dataclasses.replace(changed, prune=recipe.prune, input=recipe.input) == recipe
    assert recipe == default_recipe("eresfd")


def test_override_turns_whole_numbers_into_real_ones_as_a_file_does() -> None:
    changed = override(default_recipe("eresfd"), {"anchors.aspect_ratio": 1})
    assert changed.anchors is not None
    assert type(changed.anchors.aspect_ratio) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prune.rate": 1.0}, "prune.rate must be >= 0 and < 1 (got 1.0)"),
        ({"prune.criterion": "l2"}, "prune.criterion must be one of fpgm, l1 (got 'l2')"),
        ({"input.height": 8}, "input.height must be >= 16 and <= 8192 (got 8)"),
        ({"input.height": True}, "input.height must be int (got True)"),
    ],
)
def test_override_is_checked_like_a_file(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        override(default_recipe("eresfd"), values)
    assert str(caught.value) == f"command line: {message}"


def test_anchors_of_a_network_that_has_none_cannot_be_overridden() -> None:
    with pytest.raises(RecipeError, match=r"a:b has no anchors, so no anchors\.aspect_ratio"):
        override(default_recipe("a:b"), {"anchors.aspect_ratio": 1.25})


# All recipes ------------------------------------------------------------------------------------


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    levels = draw(st.integers(1, 4))
    positive = numbers(1e-3, 1e6)
    anchors = AnchorSection(
        sizes=draw(st.tuples(*[positive] * levels)),
        strides=draw(st.tuples(*[st.integers(1, 1024)] * levels)),
        aspect_ratio=draw(numbers(0.1, 10)),
    )
    return Recipe(
        model=ModelSection(draw(st.text(min_size=1)), draw(st.integers(0, 2**31 - 1))),
        input=InputSection(
            draw(st.integers(16, 8192)),
            draw(st.integers(16, 8192)),
            draw(st.sampled_from(["RGB", "BGR"])),
            draw(st.tuples(*[numbers(-255, 255)] * 3)),
        ),
        anchors=draw(st.sampled_from([None, anchors])),
        decode=DecodeSection(
            draw(st.tuples(positive, positive)),
            draw(numbers(0, 1)),
            draw(numbers(0, 1)),
            draw(st.integers(1, 100_000)),
        ),
        prune=PruneSection(
            draw(st.none() | numbers(0, 0.99)),
            draw(st.sampled_from(["fpgm", "l1"])),
            draw(st.sampled_from(["group", "layer"])),
            tuple(draw(st.lists(st.text(), max_size=3))),
        ),
        proof=ProofSection(draw(numbers(0, 1e-3)), draw(numbers(0, 1e-2))),
    )


def toml(value: Any) -> str:
    """Write a value as TOML does; strings are JSON's, but for the delete character."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    return repr(value)


def written(recipe: Recipe) -> str:
    lines = []
    for name, section in dataclasses.asdict(recipe).items():
        if section is not None:
            lines.append(f"[{name}]")
            lines += [
                f"{key} = {toml(value)}" for key, value in section.items() if value is not None
            ]
    return "\n".join(lines)


@pytest.mark.slow
@given(recipes().filter(lambda recipe: "\\ud" not in json.dumps(dataclasses.asdict(recipe))))
@settings(deadline=None, max_examples=60)
def test_a_recipe_that_is_written_and_read_is_the_same(recipe: Recipe) -> None:
    assert parse_recipe(written(recipe), "r.toml") == recipe


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        (Range(0, 1), [0, 0.5, 1], [-1e-9, 1.001, float("nan")], ">= 0 and <= 1"),
        (Range(0, 1, high_open=True), [0, 0.999], [-1e-9, 1], ">= 0 and < 1"),
        (Range(0, 1, low_open=True), [1e-9, 1], [0, 1.001], "> 0 and <= 1"),
        (Range(-2, 2, low_open=True, high_open=True), [0], [-2, 2], "> -2 and < 2"),
    ],
)
def test_range_holds_what_it_says(
    limits: Range, inside: list[float], outside: list[float], words: str
) -> None:
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in outside)
    assert str(limits) == words


# Sections made in Python --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneSection(rate=5.0), r"prune\.rate must be >= 0 and < 1 \(got 5\.0\)"),
        (lambda: PruneSection(rate=math.nan), r"prune\.rate must be >= 0 and < 1 \(got nan\)"),
        (lambda: PruneSection(rate=True), r"prune\.rate must be float \(got True\)"),
        (lambda: PruneSection(criterion="l2"), r"prune\.criterion must be one of fpgm, l1"),  # type: ignore[arg-type]
        (lambda: PruneSection(protected="head"), r"prune\.protected must be a list"),  # type: ignore[arg-type]
        (lambda: PruneSection(widths={"conv": 0}), r"prune\.widths\.conv must be >= 1"),
        (lambda: TrainSection(epochs=-1), r"train\.epochs must be >= 0"),
        (lambda: CropSection(scales=(0.0, 1.0)), r"crops\.scales must be > 0"),
        (lambda: Recipe(model="eresfd"), r"recipe\.model must be a ModelSection"),  # type: ignore[arg-type]
    ],
)
def test_a_section_made_in_python_is_held_to_the_same_ranges(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make()


def test_a_section_made_in_python_is_what_a_file_gives() -> None:
    made = PruneSection(rate=np.float32(0.5), protected=["head.*"], widths={"a.b": np.int64(3)})  # type: ignore[arg-type]
    text = 'rate = 0.5\nprotected = ["head.*"]\nwidths = {"a.b" = 3}'
    assert made == parse_recipe(f"{HEAD}[prune]\n{text}", "recipe.toml").prune
    assert type(made.rate) is float
    assert PruneSection(rate=0) == PruneSection(rate=0.0)
