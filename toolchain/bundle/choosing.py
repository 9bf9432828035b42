"""Which file of a folder goes to a board, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from toolchain.arm.comparing import paths_of
from toolchain.arm.kept import earlier_checks
from toolchain.arm.layer_costs import costs_of_core
from toolchain.arm.targets import Target
from toolchain.bundle.destination import RUNTIMES, Destination
from toolchain.errors import InputError
from toolchain.exporting.ncnn.foreseen import foreseen_layers
from toolchain.lineage.links import common_graph
from toolchain.records.run_folder import NCNN, ONNX, RunFolder, name_of

SUFFIXES = {"onnxruntime": ".onnx", "litert": ".tflite", "ncnn": ".param"}
"""By the runtime, as it is called on the command line."""
FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".param": "ncnn"}
"""What makes files with the suffix."""


@dataclass(frozen=True)
class Choice:
    """The file that goes, and a sentence that says why."""

    path: Path
    why: str


def choose(folder: Path, destination: Destination, runtime: str | None, cache: Path) -> Choice:
    """Return the file with the fewest instructions of those that were checked on the board.

    Where none was, it is the ncnn file if a table of its layers' costs ships for the board, for of
    every network's float files that were counted ncnn's took the fewest; else ``model.onnx``, or
    the first of the runtime. Raises :class:`InputError` for what is no output folder, or where a
    file was changed since it was made.
    """
    run = RunFolder.open(folder)
    paths = [path for path in paths_of(folder, None) if path.suffix in RUNTIMES]
    if runtime is not None:
        suffix = SUFFIXES[runtime]
        paths = [path for path in paths if path.suffix == suffix]
        if not paths:
            raise InputError(
                f"{folder}: has no {suffix} file for --runtime {runtime}; make one by "
                f"shrink --formats {FORMATS[suffix]}"
            )
    choice = (
        _cheapest(paths, destination, cache)
        or estimated(paths, folder, destination)
        or _first(paths, destination)
    )
    run.demand_unchanged([name_of(choice.path)])
    return choice


def _cheapest(paths: list[Path], destination: Destination, cache: Path) -> Choice | None:
    if destination.board is None:
        return None
    checks = earlier_checks(paths, destination.board, cache)
    good = [path for path in paths if name_of(path) in checks and checks[name_of(path)].parity]
    if not good:
        return None
    best = min(good, key=lambda path: checks[name_of(path)].instructions_per_inference)
    count = checks[name_of(best)].instructions_per_inference
    unknown = [name_of(path) for path in paths if name_of(path) not in checks]
    left = f"; {', '.join(unknown)} never checked there" if unknown else ""
    fewest = "the fewest" if len(good) > 1 else "the only one checked"
    if len(paths) == 1:
        fewest = "the only file"
    why = f"{fewest}, {count / 1e6:.1f} million instructions on {destination.name}"
    return Choice(best, f"{why}, by toolchain check{left}")


def estimated(paths: list[Path], folder: Path, destination: Destination) -> Choice | None:
    """Return the ncnn file where the tables that ship tell its cost on the board; else None."""
    path, board = folder / NCNN, destination.board
    if board is None or path not in paths:
        return None
    count = _by_layers(folder, board)
    if count is None:
        return None
    others = [name_of(other) for other in paths if other != path]
    why = f"about {count / 1e6:.1f} million instructions on {board.name}, estimated from its layers"
    if others:
        why += (
            f"; {', '.join(others)} never checked there, and of every network's float files that "
            f"were counted ncnn's took the fewest"
        )
    return Choice(path, f"{why}; toolchain check --target {board.key} counts")


def _by_layers(folder: Path, board: Target) -> int | None:
    """Return what the folder's ncnn file takes on a board; None where some layer is not known."""
    recipe = RunFolder(folder).certificate.recipe
    table, graph = costs_of_core(board.core), common_graph(folder, recipe)
    if table is None or not graph.is_file():
        return None
    found = foreseen_layers(onnx.load(graph), for_detect=recipe.leaves_maps)
    if found is None or found.unknown:
        return None
    return table.total([layer.key for layer in found.layers])


def _first(paths: list[Path], destination: Destination) -> Choice:
    chosen = next((path for path in paths if path.name == ONNX), paths[0])
    is_main = chosen.name == ONNX
    if destination.board is None:
        which = "the main file" if is_main else "the first of that runtime"
        return Choice(chosen, f"{which}; toolchain bench compares the files on this machine")
    return Choice(
        chosen,
        f"no file was ever checked on {destination.name}, so "
        f"{'the main one' if is_main else 'the first of that runtime'}; toolchain check "
        f"--target {destination.key} tells which is best there",
    )
