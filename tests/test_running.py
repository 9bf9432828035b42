"""Runs over many photos: resumed after a kill, one at a time in a folder, broken photos told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from widerface import make_wider

from toolchain.data.detections import read_detections
from toolchain.data.wider import Split, read_split
from toolchain.deploy import detect
from toolchain.detection import running
from toolchain.detection.claiming import claimed
from toolchain.detection.opening import FinderPlan
from toolchain.detection.protocols import PROTOCOLS
from toolchain.detection.running import Parallelism, best_parallelism, run_detector
from toolchain.errors import InputError
from toolchain.system.memory import SHARE, Surplus

IDENTITY = {"weights": "abc", "protocol": {"name": "single"}}
PLAN = FinderPlan(Path("weights.pth"), "network", PROTOCOLS["single"], "eresfd")


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return read_split(make_wider(tmp_path / "wider", 6))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replace the detector by one that finds a box as large as the photo; note each photo."""
    seen: list[tuple[int, int]] = []

    def find(image: detect.Image, scale: float) -> Any:
        height, width = image.shape[:2]
        seen.append((height, width))
        return np.array([[0.0, 0.0, width, height]]), np.array([0.5])

    monkeypatch.setattr(running, "open_finder", lambda plan, threads: find)
    return seen


def run(split: Split, folder: Path, **changes: Any) -> running.Outcome:
    told: list[tuple[int, int]] = changes.pop("told", [])
    return run_detector(
        PLAN,
        changes.pop("identity", IDENTITY),
        split.images,
        folder,
        Parallelism(1, 1),
        lambda done, total: told.append((done, total)),
    )


def test_every_photo_gets_its_file(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    outcome = run(split, tmp_path / "run", told=told)
    assert len(looked_at) == len(split.images)
    assert told == [(i, len(split.images)) for i in range(len(split.images) + 1)]
    assert (outcome.broken, outcome.resumed_images) == ((), 0)
    for image, (height, width) in zip(split.images, looked_at, strict=True):
        found = read_detections(outcome.folder / f"{image.name}.txt")
        np.testing.assert_array_equal(found, [[0, 0, width, height, 0.5]])


def test_memory_is_given_back_after_every_photo(
    split: Split,
    looked_at: list[tuple[int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By one process, and by each of four workers from a quarter on."""
    shares: list[float] = []
    monkeypatch.setattr(Surplus, "give_back", lambda surplus: shares.append(surplus.share))
    run(split, tmp_path / "run")
    assert shares == [SHARE] * len(split.images)
    monkeypatch.setattr(running, "_end_with_parent", lambda: None)
    running._open_worker(PLAN, Parallelism(4, 1))
    running._find_in_worker(split.images[0])
    running._worker().clear()
    assert shares[len(split.images) :] == [SHARE / 4]


def test_a_second_run_repeats_no_finished_photo(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    outcome = run(split, tmp_path / "run")
    (outcome.folder / f"{split.images[2].name}.txt").unlink()
    looked_at.clear()
    outcome = run(split, tmp_path / "run")
    assert len(looked_at) == 1
    assert outcome.resumed_images == len(split.images) - 1


def test_a_broken_photo_is_told_and_has_no_detections_also_when_resumed(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    cut, empty = split.images[1], split.images[3]
    cut.path.write_bytes(cut.path.read_bytes()[:200])
    empty.path.write_bytes(b"")
    for _ in range(2):
        outcome = run(split, tmp_path / "run")
        assert {photo.name: photo.reason.split(";")[0] for photo in outcome.broken} == {
            cut.name: "is cut off",
            empty.name: "is empty",
        }
    assert len(read_detections(outcome.folder / f"{cut.name}.txt")) == 0
    assert len(looked_at) == len(split.images) - 2


def test_a_half_line_in_the_list_of_broken_photos_is_passed_over(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    run(split, tmp_path / "run")
    (tmp_path / "run" / "broken.jsonl").write_text('{"name": "a/b", "rea')
    assert run(split, tmp_path / "run").broken == ()


def test_a_folder_of_another_run_is_refused(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    run(split, tmp_path / "run")
    other = {**IDENTITY, "protocol": {"name": "paper"}}
    with pytest.raises(InputError, match=r"protocol\.name was single, is paper now"):
        run(split, tmp_path / "run", identity=other)


def test_two_runs_into_one_folder_are_refused(
    split: Split, looked_at: list[tuple[int, int]], tmp_path: Path
) -> None:
    with (
        claimed(tmp_path / "run", IDENTITY, "detections"),
        pytest.raises(InputError, match="another run is at work here"),
    ):
        run(split, tmp_path / "run")
    run(split, tmp_path / "run")


def test_a_full_disk_is_told_and_what_is_done_is_kept(
    split: Split,
    looked_at: list[tuple[int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = running.write_detections

    def full(folder: Path, name: str, boxes: Any) -> Path:
        if name == split.images[4].name:
            raise OSError(28, "No space left on device")
        return write(folder, name, boxes)

    monkeypatch.setattr(running, "write_detections", full)
    with pytest.raises(InputError, match=r"No space left on device\); 4 photos are done and kept"):
        run(split, tmp_path / "run")
    monkeypatch.setattr(running, "write_detections", write)
    assert run(split, tmp_path / "run").resumed_images == 4


def test_one_worker_for_a_handful_and_one_per_processor_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert best_parallelism(3, None, None) == Parallelism(1, 4)
    assert best_parallelism(300, None, None) == Parallelism(4, 1)
    assert best_parallelism(300, None, 2) == Parallelism(2, 2)
    assert best_parallelism(300, 3, None) == Parallelism(3, 1)
    assert best_parallelism(300, 8, None) == Parallelism(8, 1)


COMMAND = [sys.executable, "-m", "toolchain.cli", "evaluate"]


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.long
def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_figure(tmp_path: Path) -> None:
    """SIGKILL while two workers run; the second run repeats nothing, and ends bit for bit equal."""
    import torch

    from toolchain.models.registry import build

    torch.save(build("eresfd", 3).state_dict(), tmp_path / "eres.pth")
    data = make_wider(tmp_path / "wider", 40)
    command = [*COMMAND, str(tmp_path / "eres.pth"), "--data", str(data), "--workers", "2"]
    whole = tmp_path / "whole"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, "--out", str(killed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(killed.rglob("detections/*/*.txt"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(is_running(worker) for worker in workers):  # nobody told them
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = {path: path.stat().st_mtime_ns for path in killed.rglob("detections/*/*.txt")}
    assert 5 <= len(done) < 40
    assert not (killed / "eval.json").exists()

    subprocess.run([*command, "--out", str(killed)], check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    first, second = (json.loads((out / "eval.json").read_text()) for out in (whole, killed))
    assert first["ap"] == second["ap"]
    assert second["resumed_images"] == len(done)
    for path in whole.rglob("detections/*/*.txt"):
        assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes()
