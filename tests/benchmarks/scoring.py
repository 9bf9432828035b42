"""How long does scoring take, against the loops of the official evaluation?

``python -m tests.benchmarks.scoring`` times ``score()`` on a set as large as WIDER FACE's
validation set, with 200 boxes a photo, and the literal loops of ``tests/literal_wider.py`` on a
sample of its photos (``--full``: on all of them, some minutes). Both must agree on that sample.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests import literal_wider
from toolchain.scoring.average_precision import score

PHOTOS, FACES, MOST_FACES = 3226, 39_708, 709
LEVEL_SHARES = {"easy": 0.18, "medium": 0.33, "hard": 0.80}
"""Share of the faces that count at each level, nested: about that of the official lists."""


@dataclass(frozen=True)
class Set:
    """Photos with their detections, faces, and which of these count."""

    detections: list[NDArray[np.float64]]
    boxes: list[NDArray[np.float64]]
    counted: dict[str, list[NDArray[np.bool_]]]

    def part(self, photos: slice) -> Set:
        counted = {level: masks[photos] for level, masks in self.counted.items()}
        return Set(self.detections[photos], self.boxes[photos], counted)

    def best(self, per_photo: int) -> Set:
        """Return the set with fewer detections per photo."""
        return Set([photo[:per_photo] for photo in self.detections], self.boxes, self.counted)

    @property
    def size(self) -> str:
        found, faces = (sum(map(len, photos)) for photos in (self.detections, self.boxes))
        return f"{len(self.boxes):,} photos, {found:,} detections, {faces:,} faces"


def make(per_photo: int, seed: int = 0) -> Set:
    """Return a set with as many photos and faces as WIDER FACE's validation set."""
    random = np.random.default_rng(seed)
    boxes = [_boxes(random, count) for count in _faces_per_photo(random)]
    detections = [_detections(random, faces, per_photo) for faces in boxes]
    ease = [random.random(len(faces)) for faces in boxes]
    counted = {level: [e < share for e in ease] for level, share in LEVEL_SHARES.items()}
    return Set(detections, boxes, counted)


def _faces_per_photo(random: np.random.Generator) -> NDArray[np.intp]:
    """Return a heavy tail: most photos have a few faces, one has the most."""
    weights = np.minimum(random.pareto(1.1, PHOTOS) + 0.2, 120)
    counts = np.clip(np.rint(weights * FACES / weights.sum()), 1, MOST_FACES).astype(np.intp)
    counts[0] = MOST_FACES
    while (excess := int(counts.sum()) - FACES) != 0:
        movable = np.flatnonzero((counts > 1) & (counts < MOST_FACES))
        chosen = random.permutation(movable)[: abs(excess)]
        counts[chosen] -= np.sign(excess)
    return random.permutation(counts)


def _boxes(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    sides = np.rint(np.exp(random.uniform(np.log(5), np.log(200), count)))
    corners = np.rint(random.uniform(0, 1, (count, 2)) * (1024 - sides[:, None]))
    return np.column_stack([corners, sides, np.rint(sides * 1.25)])


def _detections(
    random: np.random.Generator, faces: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Return detections near faces, twice near some, and elsewhere; better ones score higher."""
    near = faces[random.permutation(len(faces))][: count // 2]
    near = np.concatenate([near, near[: len(near) // 5]])
    near = near + random.normal(0, 0.12, near.shape) * near[:, 2:3]
    away = _boxes(random, count - len(near))
    scores = np.concatenate([random.beta(4, 2, len(near)), random.beta(1, 5, len(away))])
    rows = np.column_stack([np.concatenate([near, away]), scores])
    return random.permutation(rows)


def seconds(task: Callable[[], object], times: int = 3) -> float:
    """Return the best of several runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        task()
        taken.append(time.perf_counter() - start)
    return min(taken)


def time_growth(whole: Set) -> float:
    """Print how long a quarter, half and all of the boxes take; return the last, in seconds."""
    per_photo = len(whole.detections[0])
    for share in (per_photo // 4, per_photo // 2, per_photo):
        some = whole.best(share)
        taken = seconds(lambda some=some: score(some.detections, some.boxes, some.counted))
        count = share * len(some.boxes)
        print(f"score()        {some.size}: {taken:.2f} s, {count / taken:,.0f} detections/s")
    return taken


def compare(sample: Set, photos: int, fast_s: float) -> None:
    """Time the literal loops on ``sample``, extrapolate to ``photos``, and demand agreement."""
    start = time.perf_counter()
    expected = literal_wider.curves(sample.detections, sample.boxes, sample.counted)
    literal_s = time.perf_counter() - start
    same_s = seconds(lambda: score(sample.detections, sample.boxes, sample.counted))
    print(f"literal loops  {sample.size}: {literal_s:.1f} s; score() on these: {same_s:.3f} s")
    whole_s = literal_s * photos / len(sample.boxes)
    measured = "" if len(sample.boxes) == photos else "extrapolated by photos, not measured: "
    print(f"literal loops  {photos:,} photos: {measured}{whole_s:.0f} s")
    print(f"ratio          {literal_s / same_s:.0f} on the sample, {whole_s / fast_s:.0f} on all")
    worst = 0.0
    for curve in score(sample.detections, sample.boxes, sample.counted):
        other = expected[curve.level]
        assert curve.faces == other.faces
        worst = max(worst, abs(curve.ap - other.ap))
        worst = max(worst, *np.abs(curve.precision - other.precision))
        worst = max(worst, *np.abs(curve.recall - other.recall))
        print(f"AP             {curve.level}: {curve.ap:.12f}, literal {other.ap:.12f}")
    assert worst <= 1e-9, worst
    print(f"agreement      of AP, precision and recall everywhere: within {worst:.1e}")


def main() -> None:
    """Print the machine, the timings and the agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the literal loops on all photos")
    parser.add_argument("--sample", type=int, default=100, help="photos for the literal loops")
    parser.add_argument("--boxes", type=int, default=200, help="detections per photo")
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"machine        {cores} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}"
    )
    whole = make(chosen.boxes)
    fast_s = time_growth(whole)
    step = 1 if chosen.full else max(1, PHOTOS // chosen.sample)
    compare(whole.part(slice(None, None, step)), PHOTOS, fast_s)


if __name__ == "__main__":
    main()
