"""ONNX files by runtimes that are peers of ours: MNN, and OpenCV's own engine.

They are measured to compare with; nothing is exported for them.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from toolchain.arm import mnn_conversion, peer_runtimes
from toolchain.arm.checking import file_check, kept_check, parts_of
from toolchain.arm.comparing import Subject, compare_with_here
from toolchain.arm.emulation import Peer, emulate_peer
from toolchain.arm.peer_runtimes import MNN, OPENCV
from toolchain.arm.sysroot import Sysroot, prepare_wheel
from toolchain.arm.targets import Target
from toolchain.bench.runs import Given, as_inputs
from toolchain.errors import InputError, last_line
from toolchain.records.run_folder import name_of
from toolchain.records.timings import FileCheck
from toolchain.system.installation import how_to_get
from toolchain.system.quiet import silent
from toolchain.system.sessions import open_session

PEERS = (MNN, OPENCV)
"""As the command line calls them."""
CONVERSION_SECONDS = 600


@dataclass(frozen=True)
class PeerRuntime:
    """A peer that is ready, here and on a board."""

    key: str
    name: str
    """With its version."""
    sites: tuple[Path, ...]
    """Folders of wheels that it needs on the board, beside those of every board."""


def demand_installed(runtime: str) -> None:
    """Raise :class:`InputError`, one line that says how to get it, where a peer is not here."""
    if runtime == MNN:
        try:
            metadata.version(MNN)
        except metadata.PackageNotFoundError as error:
            how = how_to_get("mnn")
            raise InputError(
                f"--runtime mnn needs MNN, which is not installed; run {how}"
            ) from error


def prepare_peer(
    runtime: str, target: Target, sysroot: Sysroot, cache: Path, on_stage: Callable[[str], None]
) -> PeerRuntime:
    """Return a peer; its wheel for the board is fetched if it is not there.

    Raises :class:`InputError` where the board has none.
    """
    demand_installed(runtime)
    if not sysroot.has_opencv:  # so has no board of 32 bits any of both
        raise InputError(f"--runtime {runtime}: {target.name} has no wheel of it")
    if runtime == OPENCV:
        return PeerRuntime(OPENCV, f"opencv {cv2.__version__}", ())
    site = prepare_wheel(MNN, target, cache, on_stage)
    return PeerRuntime(MNN, f"mnn {metadata.version(MNN)}", (site,))


def check_peer(
    path: Path, subject: Subject, peer: PeerRuntime, target: Target, sysroot: Sysroot, cache: Path
) -> FileCheck:
    """Run an ONNX file by a peer on the board: its outputs beside the ONNX file's own, its cost.

    Raises :class:`InputError` where the peer cannot run it.
    """

    for given in subject.inputs.values():
        fed = as_inputs(given, path)
        if len(fed) > 1:
            raise InputError(f"{name_of(path)}: takes {len(fed)} inputs; {peer.name} is fed one")
        if fed[0].dtype != np.float32:
            raise InputError(f"{name_of(path)}: takes pixels, and {peer.name} is fed floats")

    def made() -> FileCheck:
        with readable(path, peer) as file:
            asked = Peer(peer.key, peer.name, _asked(path), peer.sites)
            there = emulate_peer(file, asked, subject.inputs, target, sysroot)
        same = compare_with_here(path, subject, there.outputs)
        found = file_check(path, subject, target, there, same)
        name = f"{found.file}, {peer.key}"
        return dataclasses.replace(found, runtime=peer.name, file=name, operators=())

    sources = (peer.name, *(site.name for site in peer.sites))
    return kept_check((*sources, *parts_of(path, subject, target, sysroot)), cache, made)


def open_peer(path: Path, peer: PeerRuntime, given: Given, threads: int) -> Callable[[], object]:
    """Return a function that runs an ONNX file by a peer on this machine, on one array."""
    asked = _asked(path)
    with readable(path, peer) as file, silent():  # MNN tells what the processor can do
        run = peer_runtimes.open_peer(peer.key, str(file), **asked, threads=threads)
    (image,) = as_inputs(given, path)
    return lambda: run(image)


class Asked(TypedDict):
    """What of an ONNX file is asked for."""

    entry: str
    exits: list[str]


def _asked(path: Path) -> Asked:
    session = open_session(path)
    return {
        "entry": session.get_inputs()[0].name,
        "exits": [each.name for each in session.get_outputs()],
    }


@contextmanager
def readable(path: Path, peer: PeerRuntime) -> Iterator[Path]:
    """Give what the peer opens: the ONNX file itself, or for MNN one converted from it."""
    if peer.key == OPENCV:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "model.mnn"
        command = [sys.executable, mnn_conversion.__file__, str(path.absolute()), str(converted)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=CONVERSION_SECONDS
        )
        if done.returncode or not converted.is_file():
            reason = last_line(done.stderr or done.stdout)
            raise InputError(f"{name_of(path)}: {peer.name} cannot convert it ({reason})")
        yield converted
