"""What ``--help`` shows: all that is written, square brackets too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from rich.text import Text

from toolchain import cli
from toolchain.cli.app import app

STYLES = {"[bold]", "[/]"}
"""What is markup in the texts of help; all else in square brackets is meant as it stands."""


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return {name: group.commands[name] for name in sorted(group.commands)}


def texts(command: typer.core.TyperCommand) -> Iterator[str]:
    yield command.help or ""
    yield command.epilog or ""
    yield from (getattr(parameter, "help", None) or "" for parameter in command.params)


@pytest.mark.parametrize("name", commands())
def test_help_keeps_what_stands_in_square_brackets(name: str) -> None:
    for text in texts(commands()[name]):
        unmarked = re.sub(r"\\(\[)", r"\1", text)
        for style in STYLES:
            unmarked = unmarked.replace(style, "")
        assert Text.from_markup(text).plain == unmarked


@pytest.mark.parametrize(
    ("name", "words"),
    [("check", "[budget.TARGET]"), ("check", "[default: rpi4]"), ("gate", "[gate]")],
)
def test_sections_of_recipes_are_shown(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([name, "--help"]) == 0
    shown = " ".join(re.sub(r"[^\w\[\].: ]", " ", capsys.readouterr().out).split())
    assert words in shown


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["shrnk"], "did you mean 'shrink'?"),
        (["shrink", "eresfdd"], "did you mean 'eresfd'?"),
        (["shrink", "EXTD"], "did you mean 'extd'?"),
        (["shrink", "eresfd", "--formats", "onnx,tflit"], "did you mean 'tflite'?"),
        (["shrink", "eresfd", "--rewrites", "facters"], "did you mean 'factors'?"),
        (["shrink", "eresfd", "--rates", "0.3"], "--rate"),
        (["shrink", "eresfd.pth"], "weights are given by --ckpt eresfd.pth"),
        (["setup-arm", "--target", "rpi44"], "did you mean 'rpi4'?"),
        (["train", "eresfd", "--data", ".", "--set", "train.epoch=3"], "did you mean 'epochs'?"),
    ],
)
def test_a_misspelt_word_is_told_the_right_one(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words) == 2
    assert meant in capsys.readouterr().err.replace("Did", "did")


def test_a_shell_completes_commands_and_options() -> None:
    def completed(words: str, place: int) -> list[str]:
        asked = {"_TOOLCHAIN_COMPLETE": "complete_bash", "COMP_WORDS": words}
        done = subprocess.run(
            [sys.executable, "-m", "toolchain"], capture_output=True, text=True, check=True,
            env={**os.environ, **asked, "COMP_CWORD": str(place)},
        )  # fmt: skip
        assert not done.stderr
        return done.stdout.split()

    assert completed("toolchain shr", 1) == ["shrink"]
    assert completed("toolchain shrink --ra", 2) == ["--rate"]
