"""The command ``compare``: files of many networks side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, messages, stage_progress, table_console
from toolchain.cli.feeding import read_size
from toolchain.cli.options.boards import CACHE, ArmCache, OwnTargets
from toolchain.cli.streams import print_json_text
from toolchain.cli.writing import write_all
from toolchain.errors import InputError, did_you_mean
from toolchain.system.files import as_json as as_json_bytes

if TYPE_CHECKING:
    from toolchain.records.timings import Comparison


@app.command(
    epilog="Example:  [bold]toolchain compare out/wide out/narrow yunet.onnx --target rpi4[/]"
)
def compare(
    places: Annotated[
        list[Path], typer.Argument(help="Output folders of shrink, and files; the first is 1.")
    ],
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH, of files on their own that take pictures of any size."),
    ] = None,
    target: Annotated[str, typer.Option(help="A board of toolchain targets.")] = "rpi4",
    threads: Annotated[int, typer.Option(min=1, max=256, help="On this machine.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, max=3600, help="Timed here, in all.")] = 20.0,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="mnn, opencv: ONNX files by these peers too. onnxruntime, litert, ncnn: the files "
            "of these alone. May be repeated."
        ),
    ] = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path, typer.Option(help="Folder.")] = Path("out") / "compare",
    cache: ArmCache = CACHE,
    as_json: Json = False,
) -> None:
    """Compare files: instructions on an emulated board, time on this machine, size."""
    from toolchain.arm.targets import find_target

    for place in places:
        asking.need(place, f"{asking.FOLDER}, or a model file")
    asking.need_room(out)
    board = find_target(target, targets_file)
    runtimes = _known(runtime or [])

    from toolchain.arm.sysroot import prepare
    from toolchain.bench.feeds import Told
    from toolchain.report.costs.comparison import comparison_document
    from toolchain.report.document.html import html
    from toolchain.report.document.markdown import markdown
    from toolchain.workflows.comparison import compare_files

    told = Told(None if size is None else read_size(size))
    with stage_progress() as on_stage:
        sysroot = prepare(board, cache, on_stage)
        found = compare_files(
            places, board, sysroot, cache, threads, seconds, on_stage, runtimes, told
        )
    content = as_json_bytes(dataclasses.asdict(found))
    document = comparison_document(found)
    write_all(
        out,
        {
            "compare.json": content,
            "compare.md": markdown(document).encode(),
            "compare.html": html(document).encode(),
        },
    )
    if as_json:
        print_json_text(content.decode())
    else:
        _print(found, out)


def _known(runtimes: list[str]) -> list[str]:
    """Return the runtimes that are asked for, which must be known and installed."""
    from toolchain.arm.peers import demand_installed
    from toolchain.workflows.comparison import RUNTIMES

    for name in runtimes:
        if name not in RUNTIMES:
            known = f"known are {', '.join(RUNTIMES)}"
            raise InputError(f"--runtime {name}: {known}{did_you_mean(name, RUNTIMES)}")
        demand_installed(name)
    return runtimes


def _print(found: Comparison, out: Path) -> None:
    from toolchain.report.costs.comparison import apart, conditions, notes

    console = table_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "instructions", "share", "apart", "time here", "bytes"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for each in found.candidates:
        table.add_row(
            escape(each.label),
            f"{each.instructions:,}",
            f"{each.share:.3f}",
            apart(each),
            f"{each.ratio:.3f}",
            f"{each.size_bytes:,}",
        )
    console.print(table)
    console.print(escape(conditions(found)))
    for note in notes(found):
        messages.print(escape(note))
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at compare.html.")
