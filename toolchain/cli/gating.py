"""The commands ``gate`` and ``history``."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, messages, run, stage_progress, table_console
from toolchain.cli.measuring import accuracy_measure
from toolchain.cli.options.alone import Alone
from toolchain.cli.options.boards import Emulation, Ssh
from toolchain.cli.options.gates import Change, read_scores
from toolchain.cli.options.grouping import grouped
from toolchain.cli.streams import print_json
from toolchain.errors import InputError, ToolchainError

if TYPE_CHECKING:
    from toolchain.gate.running import Request
    from toolchain.records.verdicts import Verdict
    from toolchain.workflows.accuracy import AccuracyMeasure

BASELINES = Path("recipes") / "baselines"


@app.command(
    epilog="Examples:  [bold]toolchain gate out/eresfd --baseline eresfd.json --update[/]   |   "
    "[bold]toolchain gate out/eresfd --baseline eresfd.json[/]"
)
@grouped
def gate(
    emulation: Emulation,
    ssh: Ssh,
    change: Change,
    alone: Alone,
    candidate: Annotated[
        Path | None,
        typer.Argument(
            help="An output folder of shrink, or a file; without it, models are made anew."
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A file; or a folder of them, whose models are made anew.")
    ] = None,
    target: Annotated[str, typer.Option(help="A board of toolchain targets.")] = "rpi4",
    recipe: Annotated[
        Path | None, typer.Option(help="Limits (\\[gate]); of a file on its own \\[evaluate], too.")
    ] = None,
    photo: Annotated[
        list[Path] | None, typer.Option(help="Boxes on it must stay; the same as the baseline's.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="WIDER FACE, or what evaluate.function takes: gate the figures, too."),
    ] = None,
    update: Annotated[bool, typer.Option(help="Write the baseline, if nothing stops it.")] = False,
    rebase: Annotated[
        bool, typer.Option(help="Measure the baseline's model again, under today's conditions.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="The baseline's model: its output folder, or file.")
    ] = None,
    keep_model: Annotated[
        bool, typer.Option(help="With --update: keep the model beside the baseline.")
    ] = False,
    made: Annotated[
        str, typer.Option(help="With --update: words after shrink that make the model anew.")
    ] = "",
    time: Annotated[
        bool, typer.Option("--time", help="Measure time, too, beside the baseline's model.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="At most, of measuring time.")] = 60,
    out: Annotated[Path, typer.Option(help="Folder of the verdict.")] = Path("out") / "gate",
    as_json: Json = False,
) -> None:
    """Stop a change that makes a model slower, bigger or different on an emulated board."""
    from toolchain.arm.targets import find_target

    asking.need(candidate, f"{asking.FOLDER}, or a model file")
    asking.need(model, f"{asking.FOLDER}, or a model file")
    asking.need_folder(data, "the data: WIDER FACE, or what evaluate.function takes")
    asking.need_photos(photo)
    asking.need_room(out)
    board_here = find_target(target, emulation.targets_file)
    places = _baselines(baseline, target, candidate)
    if not update:
        asking.need(
            places[0], "a baseline, which toolchain gate FOLDER --baseline FILE --update writes"
        )

    from toolchain.checking.pictures import read_photos
    from toolchain.gate.running import Request, Timed
    from toolchain.recipe import load_recipe
    from toolchain.records.run_folder import model_file

    own = load_recipe(recipe) if recipe else None
    board = ssh.board
    timed = Timed(seconds, board=board) if time or board else None
    request = Request(
        candidate or Path(),
        places[0],
        board_here,
        emulation.cache,
        photos=read_photos(photo or ()),
        accuracy_of=_accuracy_of(data, candidate),
        limits=own.gate if own else None,
        recipe=own,
        made=tuple(shlex.split(made)),
        update=update,
        accept=tuple(change.accept or ()),
        why=change.why,
        retrained=change.retrained,
        scores=read_scores(change.score or ()),
        told=alone.told(candidate and model_file(candidate)),
        rebase=rebase,
        model=model,
        keep=keep_model,
        timed=timed,
    )
    verdicts, problems = [], []
    for place in places:
        try:
            verdicts.append(_one(dataclasses.replace(request, baseline=place), candidate, out))
        except ToolchainError as error:
            if len(places) == 1:
                raise
            problems.append(str(error))
    _finish(verdicts, out, as_json=as_json)
    for problem in problems:
        messages.print(f"[bold red]not compared:[/] {escape(problem)}")
    if problems or not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(2 if problems else 1)


def _accuracy_of(data: Path | None, candidate: Path | None) -> AccuracyMeasure | None:
    """Return what measures files; the data that a folder's recipe needs are read now."""
    from toolchain.records.run_folder import CERTIFICATE, RunFolder

    if data is None:
        return None
    found = accuracy_measure(data)
    if candidate is not None and (candidate / CERTIFICATE).is_file():
        found.prepare(RunFolder.open(candidate).certificate.recipe)
    return found


def _baselines(place: Path | None, target: str, candidate: Path | None) -> list[Path]:
    if candidate is not None:
        if place is None:
            raise InputError("gate FOLDER, or a model file, needs --baseline FILE")
        return [place]
    folder = place or BASELINES / target
    if folder.is_file():
        return [folder]
    found = sorted(folder.glob("*.json"))
    if not found:
        raise InputError(f"{folder}: has no baselines; give a FOLDER and --baseline FILE --update")
    return found


def _one(request: Request, candidate: Path | None, out: Path) -> Verdict:
    """Gate one model; without a candidate it is made as its baseline says."""
    from toolchain.gate.baselines import read_baseline
    from toolchain.gate.running import run_gate

    if candidate is None:
        words = read_baseline(request.baseline).made
        if not words:
            raise InputError(
                f"{request.baseline}: does not tell how its model is made; give a FOLDER"
            )
        place = out / request.baseline.stem
        messages.print(f"shrink {shlex.join(words)}", markup=False)
        with contextlib.redirect_stdout(io.StringIO()):
            code = run(["shrink", *words, "--out", str(place)])
        if code:
            raise InputError(f"{request.baseline.stem}: cannot be made (shrink ends with {code})")
        request = dataclasses.replace(request, candidate=place)
    with stage_progress() as on_stage:
        return run_gate(request, on_stage)


def _finish(verdicts: Sequence[Verdict], out: Path, *, as_json: bool) -> None:
    """Write and print one verdict in all renderings."""
    from toolchain.report.document.html import html
    from toolchain.report.document.markdown import markdown
    from toolchain.report.gate.junit import gate_junit
    from toolchain.report.gate.verdicts import gate_document
    from toolchain.system.files import as_json as json_bytes
    from toolchain.system.files import write_bytes

    content = [
        {**dataclasses.asdict(verdict), "passed": verdict.passed, "improved": verdict.improved}
        for verdict in verdicts
    ]
    document = gate_document(verdicts)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / "gate.json", json_bytes(content))
        write_bytes(out / "gate.md", markdown(document).encode())
        write_bytes(out / "gate.xml", gate_junit(verdicts))
        write_bytes(out / "gate.html", html(document).encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    if as_json:
        print_json(content)
        return
    for verdict in verdicts:
        _print(verdict)
    table_console().print(f"Results are in [bold]{escape(str(out))}[/]; look at gate.html.")


def _print(verdict: Verdict) -> None:
    from toolchain.report.gate import words

    console = table_console()
    rows = [row for row in words.shown(verdict) if row.change or row.status != "same"]
    if rows:
        table = Table(box=None, pad_edge=False)
        last = len(words.HEADINGS) - 1  # it names the options that let a figure through: all of it
        for index, heading in enumerate(words.HEADINGS):
            justify: JustifyMethod = "right" if 0 < index < 5 else "left"
            table.add_column(heading, justify=justify, no_wrap=index != last, overflow="fold")
        for row in rows:
            style = "bold red" if row.stops else "green" if row.status == "better" else ""
            table.add_row(*map(escape, words.cells(row)), style=style)
        console.print(table)
    for reason in words.reasons(verdict):
        console.print(f"  why: {escape(reason)}")
    for way in words.ways(verdict):
        console.print(escape(way))
    for note in verdict.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(f"[bold]{escape(words.headline(verdict))}[/] ({len(verdict.rows)} figures)")


@app.command(epilog="Example:  [bold]toolchain history recipes/baselines[/]")
def history(
    place: Annotated[
        Path, typer.Argument(help="A baseline or a folder of them, in git; or a folder of copies.")
    ] = BASELINES,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("out") / "history.html",
) -> None:
    """Draw every figure of the baselines over time, with where it got worse."""
    from toolchain.gate.history import read_history
    from toolchain.report.document.html import html
    from toolchain.report.gate.history import history_document
    from toolchain.system.files import write_bytes

    found = read_history(place)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, html(history_document(found)).encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    for name, points in found.items():
        worse = sum(row.status == "worse" for point in points for row in point.rows)
        print(f"{name}: {len(points)} versions, {worse} figures got worse on the way")
    print(f"Look at {out}")
