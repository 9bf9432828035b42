"""Balancing: look at photos with known faces, choose shifts, write the weights that have them.

OUT/seen/SIZE/EVENT/IMAGE.npz    what the detector sees in a photo; kept, so that a run can go on
OUT/model.safetensors            the weights, with the shifts in the biases of the heads
OUT/balance.json                 the shifts, and what they find
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import toolchain
from toolchain.balancing.candidates import Candidates, looking
from toolchain.balancing.faces import kinds_of_faces
from toolchain.balancing.heads import shifted
from toolchain.balancing.looks import seen_in
from toolchain.balancing.search import Labelled, Precision, as_shown, best_shifts, weighed
from toolchain.balancing.suppressing import Overlapping, as_measured
from toolchain.data.wider import Split
from toolchain.deploy import detect
from toolchain.detection.claiming import claimed, writing
from toolchain.detection.network import with_anchors
from toolchain.errors import InputError, ModelError
from toolchain.models import detector
from toolchain.models.weights import save_native
from toolchain.recipe import default_recipe
from toolchain.records.accuracy import BrokenPhoto
from toolchain.records.balance import Balance, Half
from toolchain.system.files import as_json, write_bytes
from toolchain.workflows.evaluation import sample_of
from toolchain.workflows.stages.origin import native_metadata
from toolchain.zoo.balanced import BALANCE, RECORD
from toolchain.zoo.sources import Loaded, load_network

FEWEST = 20
"""Photos; shifts that fewer choose would be chance."""

MOST = 100
"""Times that a kind of faces may count."""
SAID_EVERY = 5.0
"""Seconds from one line of progress to the next."""

Size = tuple[int, int] | None
"""Height and width of an input into which photos are fitted; None: a photo's own size."""


@dataclass(frozen=True)
class BalanceJob:
    """What is balanced, and how."""

    model: str
    weights: Path
    out: Path
    threads: int
    sizes: tuple[Size, ...] = (None,)
    counts: Mapping[str, float] = field(default_factory=dict)
    """How much kinds of faces count in the mean, by name; 1 where they are not named."""
    command: str = ""


OnPhoto = Callable[[str, int, int], None]
"""Called with what is looked at, how many photos are done, and of how many."""


def balance(
    job: BalanceJob, split: Split, on_photo: OnPhoto, on_stage: Callable[[str], None]
) -> Balance:
    """Choose the shifts by which the detector finds most in ``split``, and write its weights anew.

    Each half of the photos chooses shifts too, which are measured on the other; where these gain
    nothing, nothing is written.

    Raises :class:`InputError` for fewer than 20 photos, :class:`DataError` where no faces are
    known, :class:`ModelError` for a network whose levels do not score by heads of their own.
    """
    loaded, heads = _loaded(job)
    kinds = kinds_of_faces(split)
    _demand_choice(job, split, kinds)
    identity = {
        "weights": loaded.source.sha256, "photos": split.sha256, "version": toolchain.__version__,
    }  # fmt: skip
    with claimed(job.out, identity, "what was seen"):
        run, told = with_anchors(loaded, job.threads)
        labelled, broken = [], dict[str, BrokenPhoto]()
        for size in job.sizes:
            name = f"{job.weights.name}, size {_words(size)}"
            seen, unread = seen_in(
                split, job.out / "seen" / _words(size), looking(run, told, size),
                partial(on_photo, name),
            )  # fmt: skip
            broken |= {photo.name: photo for photo in unread}
            on_stage("compare the boxes of each photo")
            labelled.append(_labelled(job, split, size, seen, told, kinds))
        found = _balanced(job, loaded, split, labelled, told, on_stage)
        found = dataclasses.replace(found, broken=tuple(broken.values()))
        on_stage("write the weights, and prove them")
        _write(job, loaded, heads, found)
        return found


def _demand_choice(job: BalanceJob, split: Split, kinds: Collection[str]) -> None:
    """Raise :class:`InputError` where there is nothing to choose by."""
    for name, count in job.counts.items():
        if name not in kinds or not 0 <= count <= MOST:
            raise InputError(
                f"--weigh {name}={count:g}: the kinds of faces of split {split.name} are "
                f"{', '.join(kinds)}, and each may count 0 to {MOST}"
            )
    if not any(job.counts.get(name, 1.0) for name in kinds):
        raise InputError(f"--weigh: one of {', '.join(kinds)} must count more than 0")
    if len(split.images) < FEWEST:
        raise InputError(f"{len(split.images)} photos choose nothing; give {FEWEST} or more")


def _labelled(
    job: BalanceJob,
    split: Split,
    size: Size,
    seen: Sequence[Candidates],
    told: detect.Specification,
    kinds: Mapping[str, Sequence[NDArray[np.bool_]]],
) -> Labelled:
    overlapping = [Overlapping(each, as_measured(told)) for each in seen]
    name = _words(size) if len(job.sizes) > 1 else ""
    return Labelled(name, overlapping, [truth.boxes for truth in split.truths], kinds)


def _loaded(job: BalanceJob) -> tuple[Loaded, tuple[str, ...]]:
    known = detector.find(job.model)
    heads = known.scores if known is not None else ()
    if not heads:
        able = ", ".join(each.name for each in detector.detectors() if each.scores)
        raise ModelError(
            f"{job.model}: balancing is for detectors each of whose levels scores by a head of its "
            f"own, and whose record names them: {able}"
        )
    loaded = load_network(default_recipe(job.model), job.weights)
    assert loaded.recipe.anchors is not None
    return loaded, heads


def _words(size: Size) -> str:
    return "own" if size is None else f"{size[0]}x{size[1]}"


def _balanced(
    job: BalanceJob,
    loaded: Loaded,
    split: Split,
    labelled: Sequence[Labelled],
    told: detect.Specification,
    on_stage: Callable[[str], None],
) -> Balance:
    start = said = time.perf_counter()
    looked = 0

    def search(photos: Sequence[Labelled], words: str) -> tuple[Precision, tuple[float, ...]]:
        precision = Precision(photos, job.counts)

        def on_look(best: float) -> None:
            nonlocal looked, said
            looked += 1
            if time.perf_counter() - said > SAID_EVERY:
                said = time.perf_counter()
                on_stage(f"choose by {words}: {looked} shifts looked at, {best:.4f} in the mean")

        return precision, best_shifts(precision, len(told.anchor_strides), on_look)

    nothing = (0.0,) * len(told.anchor_strides)
    halves = [[each.some(slice(first, None, 2)) for each in labelled] for first in (0, 1)]
    (one, by_one), (other, by_other) = (
        search(half, f"one half of the photos, {place} of 2")
        for place, half in enumerate(halves, start=1)
    )
    apart = (
        Half(one.of(nothing), one.of(by_other)),
        Half(other.of(nothing), other.of(by_one)),
    )
    precision, chosen = search(labelled, "all photos")
    shifts, shown = as_shown(labelled, chosen, told.score_threshold)
    return Balance(
        model=job.model,
        weights=str(loaded.source.sha256),
        file=job.weights.name,
        strides=tuple(told.anchor_strides),
        shifts=shifts,
        sizes=tuple(map(_words, job.sizes)),
        counts=dict(job.counts),
        sample=sample_of(split),
        before=precision.of(nothing),
        after=precision.of(shifts),
        halves=apart,
        shown=shown,
        threshold=told.score_threshold,
        broken=(),
        gained=_gained(apart, job.counts),
        looked=looked,
        seconds=round(time.perf_counter() - start, 1),
        command=job.command,
    )


def _gained(halves: Sequence[Half], counts: Mapping[str, float]) -> float:
    gains = [weighed(half.after, counts) - weighed(half.before, counts) for half in halves]
    return sum(gains) / len(gains)


def _write(job: BalanceJob, loaded: Loaded, heads: tuple[str, ...], found: Balance) -> None:
    """Write the weights, if the shifts gain; what an earlier search left is gone in any case."""
    path, record = job.out / "model.safetensors", job.out / RECORD
    network = shifted(loaded.network, heads, found.shifts)
    content = dataclasses.asdict(found)
    told = {name: content[name] for name in ("weights", "strides", "shifts")}
    with writing(job.out, found.sample.images):
        for each in (record, path):
            each.unlink(missing_ok=True)
        if found.gained > 0:
            save_native(network, path, {**native_metadata(loaded), BALANCE: told})
            write_bytes(record, as_json(content))
