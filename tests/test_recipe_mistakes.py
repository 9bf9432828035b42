"""Mistakes in recipes: each is told with its place, what is due, what is there.

The expected messages are written out by hand; they are what a person reads.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import InputError, RecipeError
from toolchain.recipe import load_recipe, parse_recipe

HEAD = '[model]\nname = "eresfd"\n'
"""Lines 1 and 2 of most recipes here."""


def refusal(text: str) -> str:
    """Return the message with which a recipe is refused; it must be one line."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.toml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


SECTIONS = (
    "model, input, anchors, decode, task, prune, train, teach, crops, export, evaluate, proof, "
    "budget, gate"
)

MISTAKES = {
    "unknown key": (
        HEAD + "[input]\nheigth = 480\n",
        "r.toml:4: input.heigth is unknown; known here: height, width, color_order, mean, "
        "scale, std, range, dtype, fit, shapes; did you mean 'height'?",
    ),
    "unknown table": (
        HEAD + "\n[inputs]\nheight = 480\n",
        "r.toml:4: inputs is unknown; known here: " + SECTIONS + "; did you mean 'input'?",
    ),
    "unknown key at the top": (
        "seed = 1\n" + HEAD,
        "r.toml:1: seed is unknown; known here: " + SECTIONS,
    ),
    "text for a number": (
        HEAD + '[input]\nheight = "480"\n',
        "r.toml:4: input.height must be int (got '480')",
    ),
    "number for text": ("[model]\nname = 3\n", "r.toml:2: model.name must be str (got 3)"),
    "real for whole": (
        HEAD + "[input]\nheight = 480.0\n",
        "r.toml:4: input.height must be int (got 480.0)",
    ),
    "bool for whole": (HEAD + "seed = true\n", "r.toml:3: model.seed must be int (got True)"),
    "bool for real": (
        HEAD + "[decode]\nnms_iou = true\n",
        "r.toml:4: decode.nms_iou must be float (got True)",
    ),
    "bool in a list": (
        HEAD + "[input]\nmean = [1, false, 3]\n",
        "r.toml:4: input.mean must be float (got False)",
    ),
    "date": (
        HEAD + "[input]\nheight = 2020-01-02\n",
        "r.toml:4: input.height must be int (got datetime.date(2020, 1, 2))",
    ),
    "below the range": (
        HEAD + "[input]\n# small\nheight = 15\n",
        "r.toml:5: input.height must be >= 16 and <= 8192 (got 15)",
    ),
    "above the range": (
        HEAD + "[input]\nwidth = 8193\n",
        "r.toml:4: input.width must be >= 1 and <= 8192 (got 8193)",
    ),
    "at an open end above": (
        HEAD + "[prune]\nrate = 1\n",
        "r.toml:4: prune.rate must be >= 0 and < 1 (got 1)",
    ),
    "at an open end below": (
        HEAD + "[decode]\nvariances = [0.1, 0]\n",
        "r.toml:4: decode.variances must be > 0 and <= 1e+06 (got 0)",
    ),
    "not a number": (
        HEAD + "[decode]\nscore_threshold = nan\n",
        "r.toml:4: decode.score_threshold must be >= 0 and <= 1 (got nan)",
    ),
    "no such choice": (
        HEAD + '[prune]\ncriterion = "l2"\n',
        "r.toml:4: prune.criterion must be one of fpgm, l1 (got 'l2')",
    ),
    "a list for a choice": (
        HEAD + '[prune]\nscope = ["group"]\n',
        "r.toml:4: prune.scope must be one of group, layer (got ['group'])",
    ),
    "too short": (
        HEAD + "[input]\nmean = [1, 2]\n",
        "r.toml:4: input.mean must have 1 or 3 entries for RGB (got 2: [1.0, 2.0])",
    ),
    "too long": (
        HEAD + "[decode]\nvariances = [1, 2, 3]\n",
        "r.toml:4: decode.variances must have 2 entries (got 3)",
    ),
    "no list": (HEAD + "[input]\nmean = 104\n", "r.toml:4: input.mean must be a list (got 104)"),
    "wrong entry of a list over several lines": (
        HEAD + '[prune]\nrate = 0.1\nprotected = [\n  "a",\n  3,\n]\n',
        "r.toml:5: prune.protected must be str (got 3)",
    ),
    "missing table": ("# nothing\n", "r.toml:1: model is missing"),
    "missing key": ("\n[model]\nseed = 1\n", "r.toml:2: model.name is missing"),
    "missing key of a table that may be left out": (
        HEAD + "[anchors]\nstrides = [4]\n",
        "r.toml:3: anchors.sizes is missing",
    ),
    "no table": ("\nmodel = 3\n", "r.toml:2: model must be a table (got 3)"),
    "lists of unequal length": (
        HEAD + "[anchors]\nstrides = [4, 8]\nsizes = [16, 32, 64]\n",
        "r.toml:5: anchors.sizes must have one entry per stride (2; got 3)",
    ),
    "dotted key": (
        'model.name = "eresfd"\nmodel.seed = -1\n',
        "r.toml:2: model.seed must be >= 0 and <= 2.14748e+09 (got -1)",
    ),
    "header with spaces and a comment": (
        HEAD + "[ input ] # [decode]\nheight = 3\n",
        "r.toml:4: input.height must be >= 16 and <= 8192 (got 3)",
    ),
    "same key in two tables": (
        HEAD + "[input]\nwidth = 64\nheight = 64\n[decode]\nheight = 1\n",
        "r.toml:7: decode.height is unknown; known here: variances, score_threshold, nms_iou, "
        "max_detections, support, postprocess",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_told_with_line_field_expected_and_found(name: str) -> None:
    text, message = MISTAKES[name]
    assert refusal(text) == message


def test_a_mistake_is_an_input_error() -> None:
    assert issubclass(RecipeError, InputError)
    assert RecipeError.exit_code == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('# first\n\nmodel = {name = "eresfd", seed = "x"}\n', 3),
        ('# first\n[model]\n"name" = 3\n', 3),
        ("# first\n[[model]]\nseed = 1\n", 2),
        ('# first\n["model"]\nname = 3\n', 3),
    ],
    ids=["inline table", "quoted key", "array of tables", "quoted table"],
)
def test_line_is_right_however_toml_is_written(text: str, line: int) -> None:
    assert refusal(text).startswith(f"r.toml:{line}: model")


@pytest.mark.parametrize(
    "text", ["[model\n", "name =\n", "a = 1\na = 2\n", "[model]\n[model]\n", 'x = "\n']
)
def test_bad_toml_is_told_with_its_line(text: str) -> None:
    message = refusal("# first\n" + text)
    assert message.startswith("r.toml: not valid TOML: ")
    assert "at line" in message or "at end of document" in message


@pytest.mark.parametrize("value", ["9" * 400, "9" * 5000, "[" * 5000], ids=["400", "5000", "deep"])
@pytest.mark.parametrize("field", ["mean = [1, 2, VALUE]", "height = VALUE"])
def test_values_that_no_machine_number_holds_are_refused(field: str, value: str) -> None:
    assert refusal(f"{HEAD}[input]\n{field.replace('VALUE', value)}\n").startswith("r.toml:")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_mean_must_be_finite(value: str) -> None:
    message = refusal(f"{HEAD}[input]\nmean = [1, {value}, 3]\n")
    assert message.startswith("r.toml:4: input.mean must be ")
    assert message.endswith(f"(got {value})")


def test_a_detector_has_at_least_one_level() -> None:
    message = refusal(f"{HEAD}[anchors]\nsizes = []\nstrides = []\n")
    assert message.startswith("r.toml:4: anchors.sizes must have ")


def test_a_key_with_a_line_break_is_told_in_one_line() -> None:
    assert "is unknown" in refusal(HEAD + '"a\\nb" = 1\n')


# Files ------------------------------------------------------------------------------------------


def test_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + "[prune]\nrate = 2\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}:4: prune.rate must be >= 0 and < 1 (got 2)"


def test_unreadable_files_are_told_by_name(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'[model]\nname = "\xe9"\n')
    for path, reason in [
        (tmp_path / "missing.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "utf-8"),
    ]:
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be read as a recipe (")
        assert reason in message
        assert "\n" not in message
