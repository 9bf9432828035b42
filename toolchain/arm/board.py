"""Files on a real board over ssh: parity, and time measured there."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.arm import guest
from toolchain.arm.comparing import (
    Arrays,
    Inputs,
    compare_with_here,
    subject_of,
)
from toolchain.arm.remote import Board
from toolchain.bench.external import external_files, whole_sha256
from toolchain.bench.feeds import NOTHING, Told
from toolchain.bench.runs import PACKAGES, arrays_of, runtime_of
from toolchain.checking.pictures import Photo
from toolchain.deploy import packing
from toolchain.errors import InputError
from toolchain.records.certificate import companions_of
from toolchain.records.run_folder import name_of
from toolchain.records.timings import BoardCheck, BoardTiming

SCRIPTS = Path(guest.__file__).parent
LIMIT_SECONDS = 3600.0
WANDERING = 0.2
"""Spread between quartiles, as a share of the median, from which on times are called unsteady."""
HOT_CELSIUS = 80.0
ROOM = "$HOME/.cache/toolchain"
"""Where the environments lie on the board."""


def check_board(
    place: Path,
    names: Sequence[str] | None,
    target: str,
    board: Board,
    photos: Sequence[Photo],
    runs: int,
    threads: int,
    on_stage: Callable[[str], None],
    told: Told = NOTHING,
) -> BoardCheck:
    """Run and time files of an output folder, or one on its own; see :class:`BoardCheck`."""
    subject = subject_of(place, names, photos, told)
    paths = subject.paths
    on_stage(f"make ready on {board.host}")
    pythons = {kind: environment(board, kind) for kind in {path.suffix for path in paths}}
    program = {packing.NAME: packing.program()} if ".param" in pythons else {}
    timings = []
    with board.folder() as room:
        scripts = {name: (SCRIPTS / name).read_bytes() for name in ("guest.py", "timing.py")}
        board.send(room, scripts | program)
        for path in paths:
            own = subject.for_file(path)
            board.send(room, {"in.npz": packed_inputs(own.inputs)})
            on_stage(f"{name_of(path)} on {board.host}")
            found, facts = _run(board, room, path, pythons[path.suffix], own.inputs, runs, threads)
            same = compare_with_here(path, own, found)
            low, median, high = statistics.quantiles(facts["milliseconds"], n=4)
            timings.append(
                BoardTiming(
                    name_of(path),
                    whole_sha256(path),
                    runtime_of(path),
                    median,
                    low,
                    high,
                    runs,
                    threads,
                    same.apart,
                    same.boxes,
                    same.holds,
                    facts["before"],
                    facts["after"],
                    tuple(_warnings(facts, median, low, high)),
                )
            )
    return BoardCheck(
        subject.name,
        target,
        board.host,
        facts["board"],
        facts["machine"],
        facts["python"],
        facts["cores"],
        tuple(timings),
    )


def packed_inputs(inputs: Inputs) -> bytes:
    """Return inputs as the scripts read them, an ``.npz``."""
    packed = io.BytesIO()
    np.savez(packed, **arrays_of(inputs))  # type: ignore[arg-type]
    return packed.getvalue()


def _run(
    board: Board,
    place: str,
    path: Path,
    python: str,
    inputs: Inputs,
    runs: int,
    threads: int,
) -> tuple[Mapping[str, Arrays], dict[str, Any]]:
    board.run(["rm", "-f", *(f"{place}/{name}" for name in ("code", "out.npz", "facts.json"))])
    model, sent = sent_as("model", path)
    board.send(place, sent)
    files = [model, "in.npz", "out.npz", "facts.json"]
    words = [*python_there(python), "timing.py", *files, str(runs), str(threads)]
    board.job(place, words, LIMIT_SECONDS)
    back = board.fetch(place, ["out.npz", "facts.json"])
    with np.load(io.BytesIO(back["out.npz"]), allow_pickle=False) as arrays:
        found = {
            name: tuple(
                arrays[key] for key in sorted(arrays.files) if key.startswith(f"input{index}/")
            )
            for index, name in enumerate(inputs)
        }
    return found, json.loads(back["facts.json"])


def sent_as(stem: str, path: Path) -> tuple[str, dict[str, bytes]]:
    """Return what a file is called there, and the files that are sent for it."""
    if path.suffix != ".param":
        name, room = f"{stem}{path.suffix}", path.parent.resolve()
        beside = {str(each.relative_to(room)): each.read_bytes() for each in external_files(path)}
        if not beside:
            return name, {name: path.read_bytes()}
        parts = {f"{stem}/{key}": each for key, each in beside.items()}
        return f"{stem}/{name}", {f"{stem}/{name}": path.read_bytes()} | parts
    files = [path, *(path.with_name(name) for name in companions_of(path.name))]
    return f"{stem}/{path.name}", {f"{stem}/{file.name}": file.read_bytes() for file in files}


def python_there(python: str) -> list[str]:
    """Return the command of the board's Python, which finds the board's program beside it."""
    return ["env", f"PYTHONPATH={packing.NAME}", python]


def environment(board: Board, suffix: str) -> str:
    """Return the board's Python with the pinned runtime, after making it if it is not there.

    What says that an environment is whole is written last, so that one that was cut off is made
    again.
    """
    package = PACKAGES[suffix]
    packages = [f"numpy=={metadata.version('numpy')}", f"{package}=={metadata.version(package)}"]
    alone = ["--no-deps"] if suffix == ".param" else []  # what else it wants is for its model zoo
    name = f"venv-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    script = "; ".join(
        [
            "set -e",
            f'place="{ROOM}/{name}"',
            'if [ ! -f "$place/whole" ]; then rm -rf "$place"',
            f'mkdir -p "{ROOM}"',
            'python3 -m venv "$place" >&2',
            f'"$place/bin/python" -m pip install -q {shlex.join([*alone, *packages])} >&2',
            'touch "$place/whole"',
            "fi",
            'echo "$place/bin/python"',
        ]
    )
    problem = f"{' and '.join(packages)} cannot be installed there"
    answer = board.run(["sh", "-c", script], problem=problem).decode().strip().splitlines()
    if not answer or not answer[-1].startswith("/"):
        raise InputError(f"{board.host}: {problem} (it answers {answer[-1:]!r})")
    return answer[-1]


def _warnings(facts: Mapping[str, Any], median: float, low: float, high: float) -> Iterator[str]:
    """Yield what makes these times doubtful."""
    before, after = facts["before"], facts["after"]
    if after["throttled"] not in (None, "0x0"):
        yield f"the board was throttled ({after['throttled']}): cool it, or use a better supply"
    if (after["celsius"] or 0) >= HOT_CELSIUS:
        yield f"the board was at {after['celsius']:.0f} degrees Celsius"
    if before["governor"] not in (None, "performance"):
        yield f"its clock is governed by {before['governor']!r}: times vary with the load"
    if high - low > WANDERING * median:
        yield f"times wander: half of them lie between {low:.1f} and {high:.1f} ms"
