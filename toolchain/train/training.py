"""A training run: prepare, take steps, keep the state, and leave a network that can be shrunk.

OUT/state.pt             the state, every minute
OUT/model.safetensors    the soft-pruned network, when all steps are taken
OUT/train.json           settings, losses, and how long it took
OUT/train.html           how it goes
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import torch

from toolchain.data.wider import Split
from toolchain.errors import InputError
from toolchain.models.weights import save_native
from toolchain.system.files import write_bytes
from toolchain.system.memory import SHARE, Surplus, keep_freed_memory
from toolchain.train.batches import Batch
from toolchain.train.course import DetectorCourse
from toolchain.train.devices import own_stream, placed
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.job import Trained, TrainingJob
from toolchain.train.keeping import Keeper, OnStep
from toolchain.train.masks import apply_masks
from toolchain.train.ranks import joined, rank, ranks, total
from toolchain.train.sample import Sample
from toolchain.train.setup import Setup, crops_from, prepare, resumed_course, state_of
from toolchain.train.state import State


def train(
    job: TrainingJob,
    split: Split,
    others: Split | None,
    on_photo: Callable[[int, int], None],
    on_step: OnStep,
) -> Trained:
    """Train, or take a training up where it was; return where the weights are.

    ``others`` are photos that nobody learns from: average precision on them is shown on the way.
    """
    torch.set_num_threads(job.threads)
    cv2.setNumThreads(0)  # crops are small, and a pool of threads would not survive a fork
    keep_freed_memory()
    with joined(job.device), own_stream(job.device):
        setup = prepare(job, split, on_photo)
        state = state_of(setup)
        total(torch.zeros(1))  # nobody goes on before all have read it
        course = resumed_course(setup, state)
        sample = Sample(others, setup.recipe, job.threads) if others and others.images else None
        keeper = Keeper(job, setup.photos, state, course, sample, on_step)
        if isinstance(course, DistillationTrainer):
            course.on_solved = lambda done, of: on_step(
                f"solve layers, {done} of {of}", 0, course.steps, math.nan
            )
        start = time.perf_counter()
        _run(setup, course, keeper)
        seconds = time.perf_counter() - start
        if keeper.step > state.step:  # else all was done before, and is kept
            state = keeper.keep()
        weights = job.out / "model.safetensors"
        if rank() == 0:
            _write_result(weights, setup, course, state, keeper, seconds)
        photos = setup.photos
        return Trained(
            weights,
            state.settings["images"],
            seconds,
            state.losses,
            photos.broken,
            photos.dropped_faces,
        )


def _run(setup: Setup, course: DetectorCourse, keeper: Keeper) -> None:
    """Take all steps that are left, phase by phase."""
    surplus = Surplus(SHARE / ranks())
    ends = [last for _, last in course.phases]
    for (name, _), (first, last) in zip(course.phases, pairwise([0, *ends]), strict=True):
        for step, batch in _numbered(setup, course, max(first, keeper.step), last):
            course.before(step)
            keeper.note(name, step + 1, course.take(step, batch))
            surplus.give_back()


def _numbered(
    setup: Setup, course: DetectorCourse, first: int, last: int
) -> Iterator[tuple[int, Batch]]:
    if first < last:
        drawn = crops_from(setup, course, first, first, last, setup.job.workers)
        yield from zip(range(first, last), drawn, strict=True)


def _write_result(
    path: Path, setup: Setup, course: DetectorCourse, state: State, keeper: Keeper, seconds: float
) -> None:
    anchors, job = setup.recipe.anchors, setup.job
    assert anchors is not None
    student = placed(course.student, "cpu").eval()
    if state.masks is not None:
        apply_masks(student, {name: mask.cpu() for name, mask in state.masks.items()})
    facts = {
        "model": job.recipe.model.name,
        "trained": True,
        "aspect_ratio": anchors.aspect_ratio,
        "training": dict(state.settings),
    }
    record = {
        **state.settings,
        "losses": list(state.losses),
        "steps_per_loss": keeper.stretch,
        "samples": [dict(sample) for sample in state.samples],
        "teacher_file": job.teacher.name if job.teacher else None,
        "seconds": round(state.seconds, 1),
        "seconds_of_last_run": round(seconds, 1),
        "images_per_second": keeper.pace(),
        "broken_photos": [list(item) for item in setup.photos.broken],
    }
    try:
        save_native(student, path, facts)
        write_bytes(job.out / "train.json", json.dumps(record, indent=2).encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
