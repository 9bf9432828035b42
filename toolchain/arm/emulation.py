"""One file on one emulated board: its outputs, its instructions, its memory."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.arm import guest
from toolchain.arm.counting import (
    Counts,
    Ran,
    read_counts,
    read_layers,
    read_operators,
    read_stages,
)
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target
from toolchain.bench.runs import Given, arrays_of
from toolchain.deploy import packing
from toolchain.errors import InputError
from toolchain.records.run_folder import name_of
from toolchain.records.timings import StageCounts

LIMIT_SECONDS = 1800
STAGE_RUNS = 3


@dataclass(frozen=True)
class Peer:
    """What runs an ONNX file in place of our runtimes."""

    runtime: str
    """As the command line calls it."""
    name: str
    """With its version."""
    asked: Mapping[str, object]
    """The ``entry`` and the ``exits`` of the ONNX file, by name."""
    sites: tuple[Path, ...]
    """Folders of wheels beside those that every board gets."""


@dataclass(frozen=True)
class Emulated:
    """What a run told."""

    outputs: Mapping[str, tuple[NDArray[np.floating], ...]]
    """Input's name -> the outputs that the board gave."""
    counts: Counts
    resident_bytes: int
    """Memory that the guest's own mappings held after the inference."""


ATTEMPTS = 3
"""How often a file is run at most."""


def emulate(
    path: Path,
    inputs: Mapping[str, Given],
    target: Target,
    sysroot: Sysroot,
    *,
    half: bool = False,
) -> Emulated:
    """Run a file on inputs; raise :class:`InputError` if the board's runtime cannot.

    The first input is run again and counted; of two counts the smaller stands. ``half`` lets ncnn
    compute in half precision.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packages = [sysroot.site]
        if path.suffix == ".param":  # what lays out its input is the board's program
            packages.append(board_program(folder))
        words = [guest.__file__, str(path.absolute())]
        options = ["half"] if half else []
        problem = f"{name_of(path)} does not run on {target.name}"
        return _observed(folder, words, options, packages, inputs, target, sysroot, problem)


def emulate_peer(
    path: Path,
    peer: Peer,
    inputs: Mapping[str, Given],
    target: Target,
    sysroot: Sysroot,
) -> Emulated:
    """Run a file by a peer's runtime, as :func:`emulate` does by ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = folder / "asked.json"
        asked.write_text(json.dumps(peer.asked), encoding="utf-8")
        program = Path(guest.__file__).with_name("peer.py")
        words = [str(program), peer.runtime, str(path.absolute()), str(asked)]
        packages = [sysroot.site, *peer.sites]
        problem = f"{peer.name} cannot run it on {target.name}"
        return _observed(folder, words, (), packages, inputs, target, sysroot, problem)


def _observed(
    folder: Path,
    words: Sequence[str],
    options: Sequence[str],
    packages: Sequence[Path],
    inputs: Mapping[str, Given],
    target: Target,
    sysroot: Sysroot,
    problem: str,
) -> Emulated:
    """Run a guest under the plugin; ``words`` come before its files, ``options`` after them."""
    names = [f"input{index}" for index in range(len(inputs))]
    np.savez(folder / "in.npz", **arrays_of(inputs))  # type: ignore[arg-type]
    plugin = f"{sysroot.plugin},out={folder / 'counts'}"
    files = [str(folder / name) for name in ("in.npz", "out.npz", "facts.json")]
    python = guest_python(target, sysroot, "-plugin", plugin, packages=packages)
    for _ in range(ATTEMPTS):
        compiled = _compiled(sysroot)
        _run([*python, *words, *files, *options], sysroot, problem)
        facts = json.loads((folder / "facts.json").read_text())
        operators = facts.get("operators", ())
        counts = read_counts((folder / "counts").read_text(), operators, facts.get("layers", ()))
        # A run that compiles takes more memory and instructions; times of a run that the machine
        # held up do not tell operators apart.
        if _compiled(sysroot) == compiled and bool(counts.operators) >= bool(operators):
            break
    with np.load(folder / "out.npz") as found:
        outputs = {
            given: tuple(found[key] for key in sorted(found.files) if key.startswith(f"{short}/"))
            for given, short in zip(inputs, names, strict=True)
        }
    return Emulated(outputs, counts, int(facts["resident_bytes"]))


def count_operators(paths: Sequence[Path], target: Target, sysroot: Sysroot) -> list[Ran]:
    """Run ONNX files of one input once each in one process; return what their operators take.

    Raises :class:`InputError` if the board's runtime cannot run one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = f"{sysroot.plugin},out={folder / 'counts'}"
        program = (Path(guest.__file__).with_name("operators.py"), folder / "facts.json", *paths)
        command = [*guest_python(target, sysroot, "-plugin", plugin), *map(str, program)]
        _run(command, sysroot, f"a network of other widths does not run on {target.name}")
        facts = json.loads((folder / "facts.json").read_text())
        try:
            return read_operators((folder / "counts").read_text(), facts["operators"])
        except ValueError as error:
            raise InputError(
                f"{target.name}: {error}; run it again on a quieter machine"
            ) from error


def count_layers(
    layers: Sequence[tuple[str, str, Sequence[Sequence[int]]]],
    files: Sequence[Path],
    target: Target,
    sysroot: Sysroot,
) -> tuple[list[int], list[int]]:
    """Return what ncnn's layers take, each alone, and what whole files take.

    A layer is its kind, its parameters and the shapes (C, H, W) that it reads; a file is the
    folder of three. Raises :class:`InputError` if the runtime knows one not.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = folder / "layers.json"
        whole = [str(file.absolute()) for file in files]
        given.write_text(json.dumps({"layers": layers, "files": whole}), encoding="utf-8")
        plugin = f"{sysroot.plugin},out={folder / 'counts'}"
        program = (Path(guest.__file__).with_name("layers.py"), given)
        packages = [sysroot.site, board_program(folder)]
        options = ("-plugin", plugin)
        command = [*guest_python(target, sysroot, *options, packages=packages), *map(str, program)]
        _run(command, sysroot, f"layers of ncnn do not run on {target.name}")
        return read_layers((folder / "counts").read_text(), len(layers), len(files))


def run_program(path: Path, picture: Path, target: Target, sysroot: Sysroot) -> NDArray[np.float32]:
    """Run ``detect.py`` itself on a picture; return its boxes (K, 4), rounded as it does.

    Raises :class:`InputError` if it fails there.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(path.absolute()), str(picture), "--json", "--threads", "1"]
        command = [*guest_python(target, sysroot), str(board_program(Path(folder))), *arguments]
        said = _run(command, sysroot, f"detect.py fails on {target.name}")
    faces = json.loads(said.splitlines()[-1])["faces"]
    return np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)


def board_program(folder: Path) -> Path:
    """Write the one file that goes to a board into a folder; return it."""
    program = folder / packing.NAME
    program.write_bytes(packing.program())
    return program


def _run(command: Sequence[str], sysroot: Sysroot, problem: str) -> str:
    """Return what a program printed; raise :class:`InputError` with ``problem`` if it fails."""
    done = subprocess.run(
        command,
        env=emulator_environment(sysroot),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = (lines or [f"it ended with code {done.returncode}"])[-1][:300]
        raise InputError(f"{problem}: {reason}")
    return done.stdout


def count_stages(path: Path, picture: Path, target: Target, sysroot: Sysroot) -> StageCounts:
    """Return what the stages of ``detect.py`` take on a picture.

    Raises :class:`InputError` if it fails there.
    """
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        stages = Path(guest.__file__).with_name("stages.py")
        program = (stages, board_program(Path(folder)), path.absolute(), picture, STAGE_RUNS)
        _run(
            [
                *guest_python(target, sysroot, "-plugin", f"{sysroot.plugin},out={counts}"),
                *map(str, program),
            ],
            sysroot,
            f"detect.py fails on {target.name}",
        )
        return read_stages(counts.read_text())


def guest_python(
    target: Target, sysroot: Sysroot, *options: str, packages: Sequence[Path] = ()
) -> list[str]:
    """Return the command that is the board's Python; ``options`` are the emulator's.

    ``packages`` are where it looks for modules; none: where the wheels are.
    """
    root = _root_for(target, sysroot)
    guest_environment = {
        "LD_LIBRARY_PATH": "",
        "PYTHONPATH": os.pathsep.join(map(str, packages or (sysroot.site,))),
        # Compiling what a run imports takes longer there than all else: each file is compiled once.
        "PYTHONPYCACHEPREFIX": str(_bytecode(sysroot)),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    steady = shutil.which("setarch")  # addresses that stay make counts that repeat
    return [
        *([steady, platform.machine(), "-R"] if steady else []),
        str(sysroot.emulator),
        *("-cpu", target.emulated_core),
        *("-L", str(root)),
        *(word for name, value in guest_environment.items() for word in ("-E", f"{name}={value}")),
        *options,
        str(sysroot.python),
    ]


def _bytecode(sysroot: Sysroot) -> Path:
    """Return where the board's Python keeps what it compiled."""
    return sysroot.root.with_name("bytecode")


def _compiled(sysroot: Sysroot) -> int:
    """Return how many files the board's Python has compiled so far."""
    return sum(1 for _ in _bytecode(sysroot).rglob("*.pyc"))


def _root_for(target: Target, sysroot: Sysroot) -> Path:
    """Return a root that shows the target's own ``/proc/cpuinfo``, beside the common one."""
    root = sysroot.root.with_name(f"{sysroot.root.name}-{target.key}")
    (root / "proc").mkdir(parents=True, exist_ok=True)
    for entry in sysroot.root.iterdir():
        _point(root / entry.name, Path("..") / sysroot.root.name / entry.name)
    cpuinfo = root / "proc" / "cpuinfo"
    if not cpuinfo.exists() or cpuinfo.read_text() != target.cpuinfo:
        part = cpuinfo.with_name(f".cpuinfo-{os.getpid()}")
        part.write_text(target.cpuinfo)
        part.replace(cpuinfo)
    return root


def _point(link: Path, target: Path) -> None:
    """Make a link that is right wherever the cache is moved to; one that is stays."""
    if link.is_symlink() and link.readlink() == target:
        return
    part = link.with_name(f".{link.name}-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)


def emulator_environment(sysroot: Sysroot) -> dict[str, str]:
    """Return the environment that the emulator itself needs."""
    libraries = sysroot.host / "usr/lib/x86_64-linux-gnu"
    return {"LD_LIBRARY_PATH": str(libraries), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
