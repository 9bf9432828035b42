"""The command line: parses, calls the pipeline, prints; every error is one line and a code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import toolchain
from toolchain.errors import InputError, RecipeError, ToolchainError

if TYPE_CHECKING:
    from toolchain.inspection import Inspection
    from toolchain.recipe import Recipe
    from toolchain.records import Report

app = typer.Typer(
    name="toolchain",
    help="Prune, physically shrink, export and prove a detector for an ARM board.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
messages = Console(stderr=True, soft_wrap=True, highlight=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0 (good), 1 (a proof failed) or 2 (bad input)."""
    # Threads that wait must not spin: on a busy machine that slows everything several times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="toolchain", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ToolchainError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; nothing half-made is left", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option, told by the command-line library
            return _fail(f"{error.format_message()} (see toolchain --help)", 2)
        if type(error).__name__ == "Abort":
            return _fail("stopped; nothing half-made is left", 130)
        if os.environ.get("TOOLCHAIN_DEBUG"):
            raise
        return _fail(
            f"internal error, please report it: {type(error).__name__}: {error} "
            f"(TOOLCHAIN_DEBUG=1 shows where)",
            1,
        )


def _fail(message: str, code: int) -> int:
    one_line = " ".join(message.split())
    messages.print(f"[bold red]toolchain:[/] {escape(one_line)}")
    return code


def _version(value: bool) -> None:
    if value:
        print(f"toolchain {toolchain.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Checkpoint = Annotated[Path | None, typer.Option("--ckpt", help="Weights; without, from a seed.")]


@app.command(
    epilog="Examples:  [bold]toolchain shrink eresfd --rate 0.1[/]   |   "
    "[bold]toolchain shrink eresfd --ckpt ERES30_FPGM.pth --photo group.jpg[/]   |   "
    "[bold]toolchain shrink mynet:build --size 224x224 --rate 0.3[/]"
)
def shrink(
    model: Annotated[str, typer.Argument(help="eresfd, extd, or module:factory for your own.")],
    rate: Annotated[
        float | None,
        typer.Option(help="Zero floor(rate * n) filters first; without, only what is zero goes."),
    ] = None,
    criterion: Annotated[
        Literal["fpgm", "l1"] | None, typer.Option(help="Which filters matter least.")
    ] = None,
    scope: Annotated[
        Literal["group", "layer"] | None, typer.Option(help="Choose by group, or as the paper.")
    ] = None,
    ckpt: Checkpoint = None,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/MODEL by default.")] = None,
    size: Annotated[str | None, typer.Option(help="Input size, HEIGHTxWIDTH.")] = None,
    photo: Annotated[list[Path] | None, typer.Option(help="A photo to prove and draw on.")] = None,
    dynamic: Annotated[bool, typer.Option(help="Leave height and width of the file free.")] = False,
    anchor_ratio: Annotated[
        float | None, typer.Option(help="Anchor height over width, if the weights need another.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe instead of the shipped one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Shrink a network, export it, and prove that nothing was lost."""
    from toolchain.pipeline import Job, run_shrink

    prune: dict[str, object] = {"rate": rate, "criterion": criterion, "scope": scope}
    job = Job(
        recipe=_recipe(model, recipe, prune, size),
        out=out or Path("out") / model.replace(":", "-"),
        checkpoint=ckpt,
        photos=tuple(photo or ()),
        dynamic=dynamic,
        anchor_ratio=anchor_ratio,
        command=shlex.join(["toolchain", *sys.argv[1:]]),
    )
    with _progress() as on_stage:
        report = run_shrink(job, on_stage)
    if as_json:
        print((job.out / "report.json").read_text(encoding="utf-8"), end="")
    else:
        _print_report(report, job.out)


@app.command(
    epilog="Examples:  [bold]toolchain inspect ERES30_FPGM.pth[/]   |   "
    "[bold]toolchain inspect weights.pth --model mynet:build --size 224x224[/]"
)
def inspect(
    ckpt: Annotated[Path, typer.Argument(help="A file of weights, or a folder of five.")],
    model: Annotated[
        str | None, typer.Option(help="The network, where the file does not tell.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Input size, HEIGHTxWIDTH.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what is in a checkpoint: layout, parameters, zero filters, and how much could go."""
    from toolchain.inspection import inspect_checkpoint, known_model

    name = known_model(ckpt, model)
    with _progress() as on_stage:
        on_stage("look")
        found = inspect_checkpoint(ckpt, _recipe(name, None, {}, size))
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        _print_inspection(found)


def _recipe(model: str, path: Path | None, prune: dict[str, object], size: str | None) -> Recipe:
    """Return the recipe with what the command line overrides, checked as a recipe is."""
    from toolchain.recipe import default_recipe, load_recipe, override

    recipe = load_recipe(path) if path else default_recipe(model)
    if recipe.model.name != model:
        raise RecipeError(f"{path} is a recipe for {recipe.model.name}, not for {model}")
    given = {f"prune.{key}": value for key, value in prune.items() if value is not None}
    if size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise InputError(f"--size must be HEIGHTxWIDTH, for example 480x640 (got {size!r})")
        given |= {"input.height": int(height), "input.width": int(width)}
    return override(recipe, given)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the stage at work: moving in a terminal, a line each elsewhere."""
    start = time.perf_counter()
    if messages.is_terminal:
        with messages.status("starting") as status:
            yield lambda name: status.update(f"{name} ...")
    else:
        yield lambda name: messages.print(
            f"[{time.perf_counter() - start:5.1f} s] {name}", markup=False
        )


def _print_report(report: Report, out: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for note in report.notes:
        loud = note.startswith("UNTRAINED")
        console.print(f"[bold yellow]{escape(note)}[/]" if loud else escape(note))
    console.print(_comparison(report))
    surgery, file = report.parity_surgery, report.parity_onnx
    console.print(
        f"proved: surgery {surgery.max_abs_diff:.1e} of a range of {surgery.output_range:.3g} "
        f"(limit {surgery.limit:.0e} of it), file {file.worst:.1e} (limit {file.limit:.0e})"
    )
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at report.html.")
    if report.photos or report.model in ("eresfd", "extd"):
        console.print(
            f"Next: copy {escape(str(out / 'model.onnx'))} and deploy/detect.py to the board and "
            f"run [bold]python3 detect.py model.onnx PHOTO --out found[/]",
        )


def _comparison(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    before, after = report.cost_before, report.cost_after
    size = {item.name: item.size_bytes for item in report.artifacts}["model.onnx"]
    for name, a, b in (
        ("deployed parameters", before.deployed_parameters, after.deployed_parameters),
        ("multiply-accumulates", before.macs, after.macs),
        ("model.onnx, bytes", report.onnx_before_bytes, size),
    ):
        table.add_row(name, f"{a:,}", f"{b:,}", f"{b / a - 1:+.1%}" if a else "")
    if report.latency is not None:
        latency = report.latency
        table.add_row(
            "time here, ms (1 thread)",
            f"{latency.before_ms:.1f}",
            f"{latency.after_ms:.1f}",
            f"x {latency.ratio:.2f} ({latency.ratio_low:.2f}-{latency.ratio_high:.2f})",
        )
    total = len(report.surgery.filters)
    kept = report.surgery.count("kept")
    table.add_row("zeroed filters", str(total), str(kept), f"{total - kept} removed")
    return table


def _print_inspection(found: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{escape(found.name)}: {found.layout} of {found.model}, SHA-256 {found.sha256}")
    console.print(
        f"{found.parameters:,} parameters, {found.nonzero_parameters:,} of them not zero; "
        f"deployed {found.deployed_parameters_before:,}, after shrinking "
        f"{found.deployed_parameters_after:,}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for heading in ("filters", "zero", "could go"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        if layer.zeroed_filters:
            going = layer.zeroed_filters - layer.kept
            table.add_row(
                layer.layer, str(layer.out_channels_before), str(layer.zeroed_filters), str(going)
            )
    if table.row_count:
        console.print(table)
    else:
        console.print("no filter is zero; shrink with --rate to zero some")
