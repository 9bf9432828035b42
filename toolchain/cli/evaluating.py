"""The commands ``evaluate``, ``score`` and ``tables``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, messages
from toolchain.cli.options.data import AnyData, Data, Limit, SplitName
from toolchain.cli.options.networks import DetectorName
from toolchain.cli.photo_progress import photo_progress
from toolchain.cli.streams import print_json
from toolchain.errors import DataError, InputError

if TYPE_CHECKING:
    from toolchain.detection.opening import FinderPlan
    from toolchain.records.accuracy import Evaluation, Protocol
    from toolchain.workflows.evaluation import Scored

ProtocolOption = Annotated[
    Literal["single", "paper"],
    typer.Option("--protocol", help="One pass, or several scales, mirrored, and box voting."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Processes.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, max=256, help="Threads in each.")]
Peers = Annotated[
    list[Path] | None,
    typer.Option("--peer", help="A model that OpenCV's FaceDetectorYN runs; may be repeated."),
]


@app.command(
    epilog="Examples:  [bold]toolchain evaluate ERES10_FPGM.pth --data WIDER[/]   |   "
    "[bold]toolchain evaluate out/eresfd --data WIDER --peer yunet.onnx --worst 10[/]   |   "
    "[bold]toolchain evaluate --data WIDER --compare ERES.pth ERES50_FPGM.pth[/]   |   "
    "[bold]toolchain evaluate out/mine/model_int8.onnx --data PHOTOS --function top[/]"
)
def evaluate(
    data: AnyData,
    detector: Annotated[
        Path | None,
        typer.Argument(help="Weights, an output folder, or an ONNX, TFLite or ncnn file."),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option(
            help="wider, top, miou, coco, points, module:function; by default the recipe's."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="What a file on its own was made by; whose \\[evaluate] counts."),
    ] = None,
    protocol: ProtocolOption = "single",
    split: SplitName = "val",
    limit: Limit = None,
    peer: Peers = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Two detectors; draws the photos where they differ most."),
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", min=0, max=200, help="Draw the photos with most missed faces.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; out/eval/NAME by default.")
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option("--max-side", min=64, max=20_000, help="Shrink larger photos, in pixels."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH: fit photos into it, as a file of that size has them."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The network, where the weights do not tell.")
    ] = None,
    anchor_ratio: Annotated[
        float | None, typer.Option(help="Anchor height over width, if the weights need another.")
    ] = None,
    workers: Workers = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure what the recipe names, such as average precision; an interrupted run goes on."""
    asking.need_folder(data, "the data, such as WIDER FACE's folder, with WIDER_val")
    asking.need_room(out)
    from toolchain.cli import figures

    paths = [path for path in (detector, *(compare or ())) if path is not None]
    others = figures.Others(protocol, split, tuple(peer or ()), worst, max_side, anchor_ratio, size)
    asked = figures.Asked(tuple(dict.fromkeys(paths)), data, function, recipe, model, limit, out)
    if figures.is_for(asked):
        figures.evaluate(asked, others, as_json=as_json)
        return
    from toolchain.data.wider import read_split
    from toolchain.detection.opening import plan_for
    from toolchain.workflows.evaluation import Settings, write_results
    from toolchain.workflows.evaluation import evaluate as evaluate_one

    chosen = _protocol(protocol, max_side, size)
    ours = list(asked.paths)
    plans = [plan_for(path, chosen, model=model, anchor_ratio=anchor_ratio) for path in ours]
    plans += [plan_for(path, chosen, peer=True) for path in peer or ()]
    if not plans:
        raise InputError("there is nothing to evaluate: give weights, a file, --compare or --peer")
    try:
        photos = read_split(data, split).spread(limit)
    except DataError as error:
        if function or recipe:
            raise
        raise DataError(
            f"{error}; other data need --function (top, miou, coco, points, module:function), or "
            f"--recipe with [evaluate]"
        ) from error
    settings = Settings(
        out=out or Path("out") / "eval" / _folder_name(plans[0]),
        workers=workers,
        threads=threads,
        worst=worst,
        compared=tuple(ours.index(path) for path in compare or ()),
        command=shlex.join(["toolchain", *sys.argv[1:]]),
    )
    with photo_progress() as on_photo:
        scored = [evaluate_one(plan, photos, settings, on_photo) for plan in plans]
    folder, content = write_results(scored, photos, settings)
    if as_json:
        print_json(content)
    else:
        _print(scored, folder)


def _protocol(name: Literal["single", "paper"], max_side: int | None, size: str | None) -> Protocol:
    import dataclasses

    from toolchain.cli.feeding import read_size
    from toolchain.detection.protocols import PROTOCOLS

    if max_side is not None and name != "single":
        raise InputError("--max-side belongs to the protocol 'single'; 'paper' sets its own scales")
    if size is not None and (name != "single" or max_side is not None):
        raise InputError("--size fits photos into one input: leave out --max-side, and 'paper'")
    fitted = None if size is None else read_size(size)
    return dataclasses.replace(PROTOCOLS[name], max_side=max_side, size=fitted)


def _folder_name(plan: FinderPlan) -> str:
    path = plan.path.resolve()
    generic = path.name in ("model.safetensors", "model.onnx")
    return path.parent.name if generic else path.stem


@app.command(
    epilog="Example:  [bold]toolchain score my-detections --data WIDER[/]   where my-detections "
    "holds EVENT/IMAGE.txt files in the official format"
)
def score(
    detections: Annotated[Path, typer.Argument(help="Folder of EVENT/IMAGE.txt files.")],
    data: Data,
    split: SplitName = "val",
    limit: Limit = None,
    all_listed: Annotated[
        bool, typer.Option("--all", help="Score all listed photos, also those not in DATA.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also write eval.json, curves and a page here.")
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", min=0, max=200, help="Draw the photos with most missed faces.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Score detections that another tool wrote, by the official rules."""
    from toolchain.data.wider import read_split
    from toolchain.workflows.evaluation import (
        Settings,
        as_json_content,
        evaluate_detections,
        write_results,
    )

    photos = read_split(data, split, images_needed=not all_listed).spread(limit)
    if not photos.levels:
        raise InputError(f"the split {split!r} has no ground truth to score against; use val")
    command = shlex.join(["toolchain", *sys.argv[1:]])
    scored = [evaluate_detections(detections, photos, command)]
    if out is not None:
        write_results(scored, photos, Settings(out=out, worst=worst, command=command))
    if as_json:
        print_json(as_json_content([scored[0].evaluation]))
    else:
        _print(scored, out)


def _print(scored: Sequence[Scored], folder: Path | None) -> None:
    from toolchain.report.accuracy.precision_words import (
        protocol_words,
        sample_words,
        terminal_rows,
    )

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    evaluations = [item.evaluation for item in scored]
    for evaluation in evaluations:
        _print_subject(console, evaluation)
    for words in dict.fromkeys(protocol_words(one.protocol) for one in evaluations):
        console.print(escape(words))
    console.print(escape(sample_words(evaluations[0].sample)))
    table = Table(box=None, pad_edge=False)
    levels = [curve.level for curve in evaluations[0].curves]
    for heading in ("average precision", *levels):
        table.add_column(heading, justify="left" if table.columns == [] else "right")
    for row in terminal_rows(evaluations):
        table.add_row(*map(escape, row))
    console.print(table)
    if folder is not None:
        console.print(
            f"Results are in [bold]{escape(str(folder))}[/]; look at report.html.", soft_wrap=True
        )


def _print_subject(console: Console, evaluation: Evaluation) -> None:
    subject = evaluation.subject
    settings = ", ".join(f"{key} {value}" for key, value in subject.settings.items())
    console.print(f"[bold]{escape(subject.name)}[/]: {escape(settings or subject.kind)}")
    for note in evaluation.notes:
        loud = note.startswith("UNTRAINED")
        console.print(f"  [bold yellow]{escape(note)}[/]" if loud else f"  {escape(note)}")
    if evaluation.seconds is not None:
        console.print(f"  {escape(_pace(evaluation))}")


def _pace(evaluation: Evaluation) -> str:
    fresh = evaluation.sample.images - evaluation.resumed_images
    resumed = f", {evaluation.resumed_images} were done before" if evaluation.resumed_images else ""
    if not fresh or not evaluation.seconds:
        return f"0 photos run{resumed}"
    split = f"workers: {evaluation.workers}, threads in each: {evaluation.threads}"
    pace = fresh / evaluation.seconds
    return f"{fresh} photos in {evaluation.seconds:.1f} s, {pace:.1f} a second ({split}){resumed}"


@app.command(
    epilog="Example:  [bold]toolchain tables --data WIDER --weights FOLDER --peer yunet.onnx[/]"
)
def tables(
    data: Data,
    weights: Annotated[
        Path, typer.Option("--weights", help="Folder with checkpoints, at any depth.")
    ],
    protocol: ProtocolOption = "single",
    split: SplitName = "val",
    limit: Limit = None,
    peer: Peers = None,
    model: Annotated[
        DetectorName | None, typer.Option("--model", help="Only this network.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("out/tables"),
    workers: Workers = None,
    threads: Threads = None,
) -> None:
    """Make the paper's tables and figures from checkpoints: soft, shrunk, and beside peers."""
    asking.need_folder(data, "the folder of WIDER FACE, with WIDER_val")
    asking.need_folder(weights, "a folder of checkpoints")
    asking.need_room(out)
    from toolchain.data.wider import read_split
    from toolchain.workflows.evaluation import Settings
    from toolchain.workflows.tables import TablesJob, make_tables

    job = TablesJob(
        weights=weights,
        protocol=_protocol(protocol, None, None),
        settings=Settings(out=out, workers=workers, threads=threads),
        peers=tuple(peer or ()),
        models=(model,) if model else (),
    )
    photos = read_split(data, split).spread(limit)
    with photo_progress() as on_photo:
        folder = make_tables(
            job, photos, lambda stage: messages.print(stage, markup=False), on_photo
        )
    print((folder / "tables.md").read_text(encoding="utf-8"), end="")
    messages.print(f"Results are in {folder}; look at tables.html.", markup=False)
