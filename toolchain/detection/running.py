"""Running a detector over many photos: in parallel, resumable, photo by photo.

A folder belongs to one detector under one protocol. Every finished photo has its file in
``detections/`` in the official text format, written beside and renamed, so what is there is
whole; a photo that has its file is not run again.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.detections import has_detections, write_detections
from toolchain.data.wider import WiderImage
from toolchain.deploy import detect
from toolchain.detection.claiming import claimed, writing
from toolchain.detection.finders import Finder
from toolchain.detection.opening import FinderPlan, open_finder
from toolchain.detection.protocols import detections
from toolchain.errors import InputError
from toolchain.records.accuracy import OVERLAPS, BrokenPhoto, Subject
from toolchain.system.memory import SHARE, Surplus

OnPhoto = Callable[[int, int], None]
"""Called with how many photos are done, and of how many."""


@dataclass(frozen=True)
class Parallelism:
    """How the processors are used."""

    workers: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What one run over the photos did."""

    folder: Path
    """Where the detections lie."""
    broken: tuple[BrokenPhoto, ...]
    seconds: float
    resumed_images: int
    parallelism: Parallelism


Result = tuple[str, NDArray[np.float64], str]
"""Name, detections, and why the photo could not be read (empty if it could)."""


def best_parallelism(photos: int, workers: int | None, threads: int | None) -> Parallelism:
    """Return one worker of one thread per processor, as far as there are photos for them.

    Reading, decoding and suppression run on one thread only, and small layers gain little from
    more: on two cores EResFD did 100 photos in 10.1 s with two workers of one thread, and in 13.8
    and 14.9 s with one of two. A worker takes some seconds to start, so for a handful of photos
    there is one.
    """
    cores = len(os.sched_getaffinity(0))
    if workers is None:
        workers = max(1, cores // (threads or 1)) if photos > 4 * cores else 1
    return Parallelism(workers, threads or max(1, cores // workers))


def run_detector(
    plan: FinderPlan,
    identity: Mapping[str, Any],
    images: Sequence[WiderImage],
    folder: Path,
    parallelism: Parallelism,
    on_photo: OnPhoto,
) -> Outcome:
    """Find faces in all ``images`` that ``folder`` does not hold yet.

    ``identity`` says what the folder belongs to; a folder of another is refused. Raises
    :class:`InputError` also when another run is at work there, or when it cannot be written.
    """
    with claimed(folder, identity, "detections"):
        found = folder / "detections"
        with writing(folder, 0):
            found.mkdir(exist_ok=True)
        waiting = [image for image in images if not has_detections(found, image.name)]
        start, done = time.perf_counter(), len(images) - len(waiting)
        on_photo(done, len(images))
        for name, boxes, reason in _results(plan, waiting, parallelism):
            with writing(folder, done):
                if reason:
                    _note_broken(folder, name, reason)
                write_detections(found, name, boxes)
            done += 1
            on_photo(done, len(images))
        seconds = time.perf_counter() - start
        names = {image.name for image in images}
        broken = tuple(photo for photo in _read_broken(folder) if photo.name in names)
        return Outcome(found, broken, seconds, len(images) - len(waiting), parallelism)


def _note_broken(folder: Path, name: str, reason: str) -> None:
    """Append to the list of broken photos; it comes before the photo's own file."""
    with (folder / "broken.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"name": name, "reason": reason}) + "\n")


def _read_broken(folder: Path) -> list[BrokenPhoto]:
    """Read the list; a line that a killed run left half is of a photo that was run again."""
    try:
        lines = (folder / "broken.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    broken = {}
    for line in lines:
        try:
            photo = BrokenPhoto(**json.loads(line))
        except (ValueError, TypeError):
            continue
        broken[photo.name] = photo
    return [broken[name] for name in sorted(broken)]


def _results(
    plan: FinderPlan, images: Sequence[WiderImage], parallelism: Parallelism
) -> Iterator[Result]:
    """Give results as they come; in this process if there is one worker only."""
    if not images:
        return
    if parallelism.workers == 1:
        finder, surplus = open_finder(plan, parallelism.threads), Surplus()
        for image in images:
            yield _find(finder, plan, image)
            surplus.give_back()
        return
    pool = ProcessPoolExecutor(
        min(parallelism.workers, len(images)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_open_worker,
        initargs=(plan, parallelism),
    )
    try:
        futures: list[Future[Result]] = [pool.submit(_find_in_worker, image) for image in images]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, most likely for want of memory; finished photos are kept: run "
            "the same command with --workers 1, or with --max-side 2048"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@functools.cache
def _worker() -> dict[str, Any]:
    """What a worker process holds."""
    return {}


def _open_worker(plan: FinderPlan, parallelism: Parallelism) -> None:
    _end_with_parent()
    finder = open_finder(plan, parallelism.threads)
    _worker().update(plan=plan, finder=finder, surplus=Surplus(SHARE / parallelism.workers))


def _end_with_parent() -> None:
    """Let this process end when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _find_in_worker(image: WiderImage) -> Result:
    result = _find(_worker()["finder"], _worker()["plan"], image)
    _worker()["surplus"].give_back()
    return result


def _find(finder: Finder, plan: FinderPlan, image: WiderImage) -> Result:
    """Find faces; a photo that cannot be read has none."""
    try:
        pixels = detect.read_image(image.path, upright=False)
    except detect.DetectError as error:
        reason = str(error).removeprefix(f"{image.path}: ")
        return image.name, np.zeros((0, 5)), reason
    try:
        return image.name, detections(finder, pixels, plan.protocol), ""
    except detect.DetectError as error:
        raise InputError(f"{plan.path.name} on {image.name}: {error}") from error


def as_identity(
    plan: FinderPlan, subject: Subject, split_name: str, version: str
) -> dict[str, Any]:
    """Return what a folder of detections belongs to."""
    return {
        "weights": subject.sha256,
        "overlaps": subject.settings.get(OVERLAPS),
        "kind": plan.kind,
        "anchor_ratio": plan.anchor_ratio,
        "protocol": dataclasses.asdict(plan.protocol),
        "split": split_name,
        "version": version,
    }
