"""A recovery's record told as a training's, so that what it made can be shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECORD = "recover.json"
"""What a recovery wrote of itself."""
RECOVERY = "recovery"
"""The entry of a file's metadata that holds a recovery's settings."""
TARGET = ("parameters", "macs", "instructions", "target", "runtime")
"""Settings that say how much goes, each named as its option."""


def as_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recovery's settings, or its record, by the names that a training's have.

    What it was before it was pruned is its teacher, and what it starts from if nothing is told.
    ``images`` are crops that it learnt from.
    """
    named = bool(settings.get("pruned_channels"))
    return {
        **settings,
        "recovery": True,
        "teacher": settings["weights"],
        "start": settings.get("start"),
        "rate": settings.get("rate") or 0.0,
        "criterion": "outputs" if named else settings["criterion"],
        "scope": "group",
        "images": (settings.get("steps") or 0) * settings["batch"],
    }


def command_words(record: Mapping[str, Any], teacher_file: str) -> list[str]:
    """Return the words of the command that makes it again, but for its recipe's fields."""
    words = ["toolchain", "recover", str(record["model"]), "--ckpt", teacher_file]
    if record.get("processes", 1) != 1:
        start = f"torchrun --nproc-per-node {record['processes']} -m toolchain.cli"
        words = start.split() + words[1:]
    words += ["--images", "WIDER/WIDER_train/images"]
    for name in ("steps", "batch", "threads", "seed", "device"):
        words += [f"--{name}", str(record[name])]
    words += ["--bfloat16"] if record["bfloat16"] else []
    if record["outputs"]:
        words += ["--outputs", ",".join(f"{key}={kind}" for key, kind in record["outputs"].items())]
    if record["blocks"] is not None:
        words += ["--blocks", ",".join(record["blocks"])]
    if record.get("learn") is not None:
        words += ["--learn", ",".join(record["learn"])]
    if record.get("soft_share"):
        soft = record.get("soft_steps")  # of minutes, what they came to
        share = soft / record["steps"] if soft else record["soft_share"]
        words += ["--soft-share", str(share)]
    words += ["--average"] if record.get("average") else []
    return words


def target_words(record: Mapping[str, Any]) -> list[str]:
    """Return the target that said how much goes, as options; none where a rate or a plan did."""
    given = [name for name in TARGET if record.get(name) is not None]
    return [word for name in given for word in (f"--{name}", str(record[name]))]
