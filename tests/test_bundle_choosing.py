"""Which file a bundle holds: by what check found, or the main file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from reports import parity_of

from toolchain.arm.checking import kept_check
from toolchain.arm.sysroot import runtime_of
from toolchain.arm.targets import estimate, find_target
from toolchain.bundle.choosing import choose
from toolchain.bundle.destination import find_destination
from toolchain.records.timings import FileCheck, Instructions, OperatorCount
from toolchain.system.files import as_json, sha256_of

LOCAL = find_destination("local", None, None)
RPI4 = find_destination("rpi4", None, None)


def checked(
    path: Path, instructions: int, *, parity: bool = True, board: str = "rpi4"
) -> FileCheck:
    """A check of nothing but what matters here."""
    target = find_target(board)
    return FileCheck(
        target=board,
        runtime=runtime_of(path.suffix, target),
        file=path.name,
        sha256=sha256_of(path),
        size=(96, 128),
        instructions_per_inference=instructions,
        instructions=Instructions(0, instructions, 0, 0),
        apart=parity_of((0.0, 1.0)),
        boxes=None,
        size_bytes=1,
        peak_memory_bytes=1,
        estimate_ms=estimate(instructions, target),
        estimate_error={},
        parity=parity,
        opening_instructions=1,
        operators=(),
        outputs=(),
    )


@pytest.mark.parametrize(
    ("name", "is_told", "count"),
    [("a.onnx", True, 1), ("a.onnx", False, 0), ("a.tflite", False, 1)],
)
def test_a_check_is_kept_unless_a_busy_machine_mixed_up_its_operators(
    name: str, is_told: bool, count: int, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"network")
    check = checked(tmp_path / name, 5)
    if is_told:
        check = dataclasses.replace(check, operators=(OperatorCount("conv", "Conv", 5),))
    for _ in range(2):
        assert kept_check([name], tmp_path, lambda: check) == check
    assert len(list(tmp_path.glob("checks/*.json"))) == count


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """Write checks into a cache; return the cache."""

    def write(*checks: FileCheck) -> Path:
        for check in checks:
            count = len(list(place.iterdir()))
            path = place / f"{count}.json"
            path.write_bytes(as_json(dataclasses.asdict(check)))
            os.utime(path, (count, count))
        return tmp_path / "cache"

    place = tmp_path / "cache" / "checks"
    place.mkdir(parents=True)
    (place / "0.json").write_text('{"of": "another version"}')
    return write


def test_the_file_that_check_found_cheapest(made: Path, keep: Callable[..., Path]) -> None:
    onnx, int8 = made / "model.onnx", made / "model_int8.onnx"
    cache = keep(checked(onnx, 2_000_000), checked(int8, 1_000_000))
    choice = choose(made, RPI4, None, cache)
    assert choice.path.name == "model_int8.onnx"
    assert choice.why == (
        "the fewest, 1.0 million instructions on Raspberry Pi 4B, by toolchain check"
    )
    keep(checked(int8, 3_000_000))  # the latest counts
    assert choose(made, RPI4, None, cache).path.name == "model.onnx"
    keep(checked(onnx, 4_000_000), checked(onnx, 1, board="rpi5"))
    assert choose(made, RPI4, None, cache).path.name == "model_int8.onnx"
    keep(checked(onnx, 1, parity=False))
    assert choose(made, RPI4, None, cache).path.name == "model_int8.onnx"


def test_a_file_that_was_never_checked_is_told(made: Path, keep: Callable[..., Path]) -> None:
    cache = keep(checked(made / "model_int8.onnx", 1_000_000))
    choice = choose(made, RPI4, None, cache)
    assert choice.path.name == "model_int8.onnx"
    assert choice.why.endswith("by toolchain check; model.onnx never checked there")


def test_without_a_check_it_is_the_main_file(made: Path, tmp_path: Path) -> None:
    choice = choose(made, RPI4, None, tmp_path)
    assert choice.path.name == "model.onnx"
    assert "no file was ever checked on Raspberry Pi 4B" in choice.why
    assert choose(made, LOCAL, None, tmp_path).path.name == "model.onnx"
