"""The command ``ship``, for those who make the networks that come with the tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.app import app, stage_progress
from toolchain.errors import InputError


@app.command(
    hidden=True,
    epilog="Examples:  [bold]toolchain ship out/train/eresfd-0.3 --evaluation "
    "out/eval/mine/eval.json[/]   |   [bold]toolchain ship[/] (all cards again)",
)
def ship(
    training: Annotated[
        Path | None,
        typer.Argument(help="Output of train, recover or balance; without, all cards again."),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="The eval.json of its weights, all photos of val.")
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(help="Weights that a training started from, if they are not shipped."),
    ] = None,
    teacher_name: Annotated[str | None, typer.Option(help="Of an unknown teacher.")] = None,
    teacher_licence: Annotated[str | None, typer.Option(help="Of an unknown teacher.")] = None,
    data_words: Annotated[str | None, typer.Option(help="What it learnt from, in words.")] = None,
    bad_at: Annotated[
        list[str] | None, typer.Option(help="A sentence about what it finds badly; repeatable.")
    ] = None,
    terms: Annotated[str | None, typer.Option(help="How it may be used, in words.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder; the one of the shipped networks by default.")
    ] = None,
) -> None:
    """Make a shipped network, and its card, from a training and the evaluation of its weights."""
    from toolchain.workflows.member_costs import write_costs
    from toolchain.zoo.shipping import BAD_AT, Wanted, make_member, write_cards

    if training is None:
        for path in (write_costs(into), *write_cards(into)):
            print(path)
        return
    if evaluation is None:
        raise InputError(
            f"--evaluation must name the eval.json of {training}; make it by: toolchain evaluate "
            f"{training / 'model.safetensors'} --data WIDER"
        )
    wanted = Wanted(
        training, evaluation, tuple(start or ()), teacher_name, teacher_licence, data_words,
        tuple(bad_at or BAD_AT), terms,
    )  # fmt: skip
    with stage_progress() as on_stage:
        on_stage("shrink and prove")
        member = make_member(wanted, into)
        on_stage("tell its cost on boards")
        costs = write_costs(into)
        cards = write_cards(into)  # one that is new may be chosen before another
    for path in (member.path, costs, *cards):
        print(path)
