"""The command ``pareto``: what all that ships finds, against what it costs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.feeding import read_size
from toolchain.cli.options.boards import OwnTargets
from toolchain.cli.options.data import Data, Limit
from toolchain.cli.photo_progress import photo_progress
from toolchain.cli.streams import print_json_text
from toolchain.cli.writing import write_all
from toolchain.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from toolchain.records.front import Front

SIZES = ("320x320", "480x640")


@app.command(
    epilog="Example:  [bold]toolchain pareto --data WIDER --target rpi4 --peer yunet.onnx[/]   and "
    "the same command again goes on where it was"
)
def pareto(
    data: Data,
    model: Annotated[
        list[str] | None, typer.Option(help="One that ships; may be repeated; without, all.")
    ] = None,
    target: Annotated[str, typer.Option(help="A board of toolchain targets.")] = "rpi4",
    size: Annotated[
        list[str] | None,
        typer.Option(help="HEIGHTxWIDTH that photos are fitted into; may be repeated."),
    ] = None,
    peer: Annotated[
        list[Path] | None, typer.Option(help="A model that OpenCV's FaceDetectorYN runs.")
    ] = None,
    limit: Limit = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Threads in each.")] = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path, typer.Option(help="Folder.")] = Path("out") / "pareto",
    as_json: Json = False,
) -> None:
    """Draw average precision against cost, of all that ships and of peers, and who beats whom."""
    asking.need_folder(data, "the folder of WIDER FACE, with WIDER_val")
    asking.need_room(out)
    from toolchain.arm.targets import find_target
    from toolchain.data.wider import read_split
    from toolchain.report.charts.picture import as_file
    from toolchain.report.document.html import html
    from toolchain.report.document.markdown import markdown
    from toolchain.report.front import front_document, picture
    from toolchain.system.files import as_json as as_json_bytes
    from toolchain.workflows.evaluation import Settings
    from toolchain.workflows.front import FrontJob, measure_front

    job = FrontJob(
        models=_models(model or ()),
        peers=tuple(peer or ()),
        sizes=tuple(read_size(text) for text in dict.fromkeys(size or SIZES)),
        target=find_target(target, targets_file),
        settings=Settings(out=out, workers=workers, threads=threads),
    )
    photos = read_split(data, "val").spread(limit)
    with stage_progress() as on_stage, photo_progress() as on_photo:
        front = measure_front(job, photos, on_photo, on_stage)
    document, content = front_document(front), as_json_bytes(dataclasses.asdict(front))
    files = {
        "pareto.json": content,
        "pareto.md": markdown(document).encode(),
        "pareto.html": html(document).encode(),
        "pareto.svg": as_file(picture(front)),
    }
    write_all(out, files)
    if as_json:
        print_json_text(content.decode())
    else:
        _print(front, out)


def _models(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    from toolchain.models import detector

    known = detector.names()
    for name in names:
        if name not in known:
            raise InputError(
                f"--model {name}: ships are {', '.join(known)}{did_you_mean(name, known)}"
            )
    return tuple(dict.fromkeys(names)) or tuple(known)


def _print(front: Front, out: Path) -> None:
    from toolchain.report.front import HEAD, NUMERIC, conditions, rows

    console = table_console()
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(HEAD):
        table.add_column(heading, justify="right" if place in NUMERIC else "left")
    for cells in rows(front):
        table.add_row(*map(escape, cells))
    console.print(table)
    console.print(escape(conditions(front)))
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at pareto.html.")
