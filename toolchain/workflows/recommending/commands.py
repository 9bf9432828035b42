"""The lines to copy next: by make in a checkout that make has set up, else by the tool itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from toolchain.arm.targets import Target, read_targets
from toolchain.records.certificate import companions_of
from toolchain.records.run_folder import RunFolder
from toolchain.system.installation import checkout
from toolchain.zoo.picking import options_of
from toolchain.zoo.reading import Member

RUNTIMES = {".onnx": "onnxruntime", ".tflite": "litert", ".param": "ncnn"}
"""What runs a file with the suffix, as it is called on the command line."""


def is_made_by_make() -> bool:
    """Tell whether the environment at work is the one that ``make setup`` made."""
    root = checkout()
    return root is not None and Path(sys.prefix).resolve() == (root / ".venv").resolve()


def lines_of_member(member: Member, target: Target, size: tuple[int, int]) -> tuple[str, ...]:
    """Return what makes a shipped network's files, and what packs them for the board."""
    shape, folder = f"{size[0]}x{size[1]}", Path("out") / member.model
    options = {name: shlex.quote(value) for name, value in options_of(member).items()}
    formats = "ncnn" if "ncnn" in target.runtimes.values() else "tflite"
    if not is_made_by_make():
        words = " ".join(f"--{name} {value}" for name, value in options.items())
        made = f"toolchain shrink {member.model} {words} --size {shape} --formats onnx,{formats}"
    else:
        align = options.pop("align", None)
        words = " ".join(f"{name.upper()}={value}" for name, value in options.items())
        made = f"make shrink MODEL={member.model} {words} SIZE={shape}"
        made += "" if align is None else f" ARGS='--align {align}'"
        made += " FORMATS=onnx,tflite" if formats == "tflite" else ""
    if not _has_bundle(target):
        return made, _check_line(folder, target)
    return made, _bundle_line(folder, target, formats)


def lines_of_folder(run: RunFolder, best: Path | None, target: Target) -> tuple[str, ...]:
    """Return what brings the best file of an output folder to the board; None: what tells it."""
    if best is None:
        return (_check_line(run.path, target),)
    if run.certificate.recipe.anchors is not None and _has_bundle(target):
        return (_bundle_line(run.path, target, RUNTIMES[best.suffix]),)
    place = best.parent if companions_of(best.name) else best
    return (f"scp -r {shlex.quote(str(place))} pi@raspberrypi.local:",)


def _bundle_line(folder: Path, target: Target, runtime: str) -> str:
    if is_made_by_make():
        words = f"make bundle OUT={shlex.quote(str(folder))} TARGET={target.key}"
        return f"{words} RUNTIME={runtime} OFFLINE=1{_own_table(target)}"
    words = f"toolchain bundle {shlex.quote(str(folder))} --target {target.key}"
    return f"{words}{_own_table(target)} --runtime {runtime} --offline"


def _check_line(folder: Path, target: Target) -> str:
    if is_made_by_make():
        words = f"make check-arm OUT={shlex.quote(str(folder))} TARGET={target.key}"
    else:
        words = f"toolchain check {shlex.quote(str(folder))} --target {target.key}"
    return words + _own_table(target)


def _own_table(target: Target) -> str:
    """Return the option that a board of the user's own needs."""
    if target.key in read_targets():
        return ""
    return ' ARGS="--targets FILE"' if is_made_by_make() else " --targets FILE"


def _has_bundle(target: Target) -> bool:
    """Tell whether bundles are made for the board: those of 32 bits have none."""
    return target.architecture == "aarch64"
