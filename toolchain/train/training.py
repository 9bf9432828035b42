"""A training run: prepare, take steps, keep the state, and leave a network that can be shrunk.

OUT/state.pt             the state, every minute and where a phase begins
OUT/model.safetensors    the soft-pruned network, when all steps are taken
OUT/train.json           settings, losses, and how long it took
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import toolchain
from toolchain.data.wider import Split
from toolchain.errors import InputError, ModelError
from toolchain.export.fold import fold_batch_norm
from toolchain.files import write_bytes
from toolchain.models.reading import read_pickle
from toolchain.models.registry import build
from toolchain.models.weights import save_native
from toolchain.prune.zeroing import zero_filters
from toolchain.recipe import AnchorSection, PruneSection, Recipe
from toolchain.sources import Loaded, example_input, load_network
from toolchain.train import keeping
from toolchain.train.batches import Batch, Crops, batches
from toolchain.train.crops import CropSettings
from toolchain.train.distillation import BLOCKS, LossWeights
from toolchain.train.keeping import Keeper, OnStep
from toolchain.train.masks import choose_masks
from toolchain.train.photos import Photos, prepare_photos
from toolchain.train.state import State, read_state
from toolchain.train.teaching import Teaching, TeachingPlan

LOOK_CROPS = 48
"""Crops on which the teacher's channels are looked at."""
LOOK, AVERAGE, PACE = 10**9, 2 * 10**9, 3 * 10**9
"""First numbers of the crops that are for other things than training."""
LOCAL_SHARE, SETTLE_SHARE = 0.3, 0.1
"""Shares of the images that are learnt from block by block; with batch norm by the batch."""


@dataclass(frozen=True)
class TrainingJob:
    """What a training with a teacher is asked for."""

    recipe: Recipe
    teacher: Path
    out: Path
    cache: Path
    images: int | None = None
    """Crops to learn from; None: as many as fit into ``minutes``."""
    minutes: float = 30.0
    batch: int = 2
    threads: int = 1
    workers: int = 0
    """Processes that draw crops ahead; 0 draws between the steps."""
    seed: int = 0
    labels: float = 0.0
    """Weight of the data set's own faces beside the teacher's word."""
    keep_every_seconds: float = 60.0
    """How often the state is written."""
    crop: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class Trained:
    """What a training left."""

    weights: Path
    images: int
    seconds: float
    """Of this run, without what was done before it was taken up."""
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Setup:
    """Teacher, photos, and the masks that follow from them."""

    loaded: Loaded
    photos: Photos
    crops: Crops
    masks: Mapping[str, Tensor]
    pruned_teacher: nn.Module


def train(
    job: TrainingJob, split: Split, on_photo: Callable[[int, int], None], on_step: OnStep
) -> Trained:
    """Train, or take a training up where it was; return where the weights are."""
    torch.set_num_threads(job.threads)
    setup = _prepare(job, split, on_photo)
    state = _state(job, setup)
    plan = _plan(job, state.settings["images"])
    teaching = _teaching(job, setup, plan, state)
    start, taken = time.perf_counter(), state.step
    state = _run(job, setup, teaching, plan, state, on_step)
    seconds = time.perf_counter() - start
    weights = _write_result(job, setup, teaching.student, state, seconds, plan.steps - taken)
    return Trained(weights, state.settings["images"], seconds, state.losses)


def _prepare(job: TrainingJob, split: Split, on_photo: Callable[[int, int], None]) -> Setup:
    model = job.recipe.model.name
    if model not in BLOCKS:
        raise ModelError(
            f"a teacher is known for {', '.join(BLOCKS)} only (got {model}); its blocks must be "
            f"named in toolchain/train/distillation.py"
        )
    loaded = load_network(job.recipe, job.teacher)
    loaded.network.eval()
    prune = job.recipe.prune
    example = example_input(loaded.network, job.crop.side, job.crop.side)
    photos = prepare_photos(split, job.cache, on_photo=on_photo)
    return Setup(
        loaded,
        photos,
        Crops(photos, job.crop, job.seed),
        choose_masks(loaded.network, example, prune),
        zero_filters(loaded.network, example, prune),
    )


def _settings(job: TrainingJob, setup: Setup, images: int) -> dict[str, Any]:
    prune: PruneSection = job.recipe.prune
    return {
        "tool": f"toolchain {toolchain.__version__}",
        "model": job.recipe.model.name,
        "teacher": setup.loaded.source.sha256,
        "rate": prune.rate or 0.0,
        "criterion": prune.criterion,
        "scope": prune.scope,
        "images": images,
        "batch": job.batch,
        "threads": job.threads,
        "seed": job.seed,
        "labels": job.labels,
        "crop": asdict(job.crop),
        "photos": len(setup.photos.photos),
    }


def _state(job: TrainingJob, setup: Setup) -> State:
    """Return the state that is there, or a new one."""
    path = job.out / "state.pt"
    if path.exists():
        images = job.images or _images_of(path)
        return read_state(path, _settings(job, setup, images))
    images = job.images or _images_in(job, setup)
    student = build(job.recipe.model.name, job.seed)
    plan = _plan(job, images)
    teaching = Teaching(*_parts(job, setup, student), plan, *_anchors(setup))
    teaching.begin(setup.loaded.network)
    return State(
        _settings(job, setup, images),
        0,
        student.state_dict(),
        teaching.optimizer.state_dict(),
        (),
    )


def _images_of(path: Path) -> int:
    """Return how many images a state was planned with: the pace of another hour is not asked."""
    content: Mapping[str, Any] = read_pickle(path)
    return int(json.loads(content["settings"])["images"])


def _images_in(job: TrainingJob, setup: Setup) -> int:
    """Measure the pace of a few steps of both kinds; return how many images fit into the time."""
    student = build(job.recipe.model.name, job.seed)
    plan = TeachingPlan(local_steps=12, settle_steps=12, joint_steps=12)
    teaching = Teaching(*_parts(job, setup, student), plan, *_anchors(setup))
    teaching.begin(setup.loaded.network)
    _look(setup, teaching)
    paces = []
    for first in (0, 12):
        teaching.enter(first)
        drawn = list(batches(setup.crops, job.batch, PACE, PACE + 2, 0))
        teaching.take(first, drawn[0])
        start = time.perf_counter()
        for step, batch in enumerate(batches(setup.crops, job.batch, PACE, PACE + 10, 0)):
            teaching.take(first + 1 + step, batch)
        paces.append(10 * job.batch / (time.perf_counter() - start))
    seconds = 60 * job.minutes
    share = LOCAL_SHARE / paces[0] + (1 - LOCAL_SHARE) / paces[1]
    return max(20 * job.batch, int(seconds / share))


def _plan(job: TrainingJob, images: int) -> TeachingPlan:
    steps = images // job.batch
    local = int(steps * LOCAL_SHARE)
    weights = LossWeights(labels=job.labels)
    return TeachingPlan(local, int(steps * SETTLE_SHARE), steps - local, weights=weights)


def _parts(
    job: TrainingJob, setup: Setup, student: nn.Module
) -> tuple[str, nn.Module, nn.Module, Mapping[str, Tensor]]:
    example = example_input(student, 128, 128)
    teacher = fold_batch_norm(copy.deepcopy(setup.loaded.network), example)
    return job.recipe.model.name, student, teacher, setup.masks


def _anchors(setup: Setup) -> tuple[AnchorSection, tuple[float, float]]:
    """Return the teacher's anchors, which are the student's, and the variances of the boxes."""
    recipe = setup.loaded.recipe
    assert recipe.anchors is not None
    return recipe.anchors, recipe.decode.variances


def _look(setup: Setup, teaching: Teaching) -> None:
    (looked,) = batches(setup.crops, LOOK_CROPS, LOOK // LOOK_CROPS, LOOK // LOOK_CROPS + 1, 0)
    teaching.look_at_channels(setup.pruned_teacher, looked.images)


def _teaching(job: TrainingJob, setup: Setup, plan: TeachingPlan, state: State) -> Teaching:
    """Return what takes the next step of ``state``."""
    student = build(job.recipe.model.name, job.seed)
    student.load_state_dict(state.network)
    teaching = Teaching(*_parts(job, setup, student), plan, *_anchors(setup))
    teaching.enter(state.step)
    teaching.optimizer.load_state_dict(dict(state.optimizer))
    _look(setup, teaching)
    return teaching


def _run(
    job: TrainingJob,
    setup: Setup,
    teaching: Teaching,
    plan: TeachingPlan,
    state: State,
    on_step: OnStep,
) -> State:
    """Take all steps that are left, phase by phase."""
    keeper = Keeper(
        job.out / "state.pt", job.keep_every_seconds, setup.photos, state, teaching, on_step
    )
    ends = [last for _, last in plan.phases]
    for (name, _), (first, last) in zip(plan.phases, pairwise([0, *ends]), strict=True):
        if state.step >= last and last < plan.steps:
            continue
        for step, batch in _numbered(job, setup, max(first, keeper.step), last):
            if step == plan.settle_steps:
                _freeze(setup, teaching)
            if step == plan.local_steps:
                teaching.enter(step)
            keeper.note(name, step + 1, teaching.take(step, batch))
    return keeper.keep()


def _numbered(job: TrainingJob, setup: Setup, first: int, last: int) -> Iterator[tuple[int, Batch]]:
    drawn = batches(setup.crops, job.batch, first, last, job.workers)
    return zip(range(first, last), drawn, strict=True)


def _freeze(setup: Setup, teaching: Teaching) -> None:
    first = AVERAGE // 16
    drawn = batches(setup.crops, 16, first, first + teaching.plan.averaged_batches, 0)
    teaching.average_batch_norm([batch.images for batch in drawn])


def _write_result(
    job: TrainingJob,
    setup: Setup,
    student: nn.Module,
    state: State,
    seconds: float,
    steps: int,
) -> Path:
    anchors = setup.loaded.recipe.anchors
    assert anchors is not None
    path = job.out / "model.safetensors"
    facts = {
        "model": job.recipe.model.name,
        "trained": True,
        "aspect_ratio": anchors.aspect_ratio,
        "training": dict(state.settings),
    }
    record = {
        **state.settings,
        "losses": list(state.losses),
        "steps_per_loss": keeping.STRETCH,
        "teacher_file": job.teacher.name,
        "seconds_of_last_run": round(seconds, 1),
        "images_per_second": round(steps * job.batch / seconds, 2) if steps else None,
        "broken_photos": [list(item) for item in setup.photos.broken],
    }
    try:
        save_native(student.eval(), path, facts)
        write_bytes(job.out / "train.json", json.dumps(record, indent=2).encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path
