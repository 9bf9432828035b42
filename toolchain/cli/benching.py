"""The command ``bench``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress
from toolchain.cli.options.alone import Alone
from toolchain.cli.options.grouping import grouped
from toolchain.cli.streams import print_json

if TYPE_CHECKING:
    from toolchain.records.timings import Bench


@app.command(
    epilog="Examples:  [bold]toolchain bench out/eresfd --photo group.jpg[/]   |   "
    "[bold]toolchain bench yunet.onnx --size 320x320[/]"
)
@grouped
def bench(
    folder: Annotated[
        Path, typer.Argument(help="An output folder of shrink, or a file: ONNX, TFLite, ncnn.")
    ],
    alone: Alone,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Of each runtime.")] = 1,
    photo: Annotated[Path | None, typer.Option(help="What is fed; random shapes without.")] = None,
    seconds: Annotated[float, typer.Option(min=0, max=3600, help="How long to measure.")] = 20.0,
    out: Annotated[Path | None, typer.Option(help="Folder; out/bench/NAME by default.")] = None,
    as_json: Json = False,
) -> None:
    """Time every file of a folder in turn: ratios, memory, operators, and a picture."""
    asking.need(folder, f"{asking.FOLDER}, or a model file")
    asking.need_photos([photo] if photo else ())
    asking.need_room(out)
    asking.need_model_file(folder)
    from toolchain.bench.interleaving import measure, read_photo
    from toolchain.errors import InputError
    from toolchain.records.run_folder import model_file
    from toolchain.report.costs.bench import bench_document
    from toolchain.report.document.html import html
    from toolchain.report.document.markdown import markdown
    from toolchain.system.files import as_json as json_bytes
    from toolchain.system.files import write_bytes

    told = alone.told(model_file(folder))
    if photo and model_file(folder).is_file():
        raise InputError(f"{folder}: how a photo is fed to it is not known; leave out --photo")
    picture = read_photo(photo)
    with stage_progress() as on_stage:
        found = measure(folder, threads, picture, seconds, on_stage, told)
    target = out or Path("out") / "bench" / found.folder
    document = bench_document(found)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_bytes(target / "bench.json", json_bytes(dataclasses.asdict(found)))
        write_bytes(target / "bench.md", markdown(document).encode())
        write_bytes(target / "bench.html", html(document).encode())
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _print(found, target)


def _print(found: Bench, target: Path) -> None:
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "ms", "ratio", "quartiles", "bytes", "peak MB"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for file in found.files:
        table.add_row(
            escape(file.name),
            f"{file.median_ms:.2f}",
            f"{file.ratio:.2f}",
            f"{file.ratio_low:.2f}-{file.ratio_high:.2f}",
            f"{file.size_bytes:,}",
            f"{file.peak_bytes / 1e6:.0f}",
        )
    console.print(table)
    for note in found.notes:
        console.print(escape(note))
    console.print(
        f"{found.rounds} rounds, {found.threads} thread, {escape(found.processor)}; ratios to "
        f"{found.reference}. Look at [bold]{escape(str(target / 'bench.html'))}[/]."
    )
