"""What a training starts from: teacher, photos, a course, and the state that is there or new."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import toolchain
from toolchain.data.wider import Split
from toolchain.errors import InputError, ModelError
from toolchain.models.detector import teachable
from toolchain.models.reading import read_pickle
from toolchain.models.registry import build
from toolchain.recipe import InputSection, Recipe
from toolchain.system.files import sha256_of
from toolchain.train.batches import Batch, Crops, batches
from toolchain.train.course import DetectorCourse
from toolchain.train.devices import placed
from toolchain.train.distillation_plan import DistillationPlan, shares_of
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.filters import check_rate
from toolchain.train.job import TrainingJob
from toolchain.train.labels import LabelCourse, LabelPlan
from toolchain.train.photos import Photos, prepare_photos
from toolchain.train.ranks import agreed, demand_even, rank, ranks
from toolchain.train.recording import WARM_STEPS
from toolchain.train.state import STATE, State, read_state
from toolchain.zoo.sources import Loaded, example_input, load_network

EXAMPLE = 256
"""Pixels of the input on which a structure is looked at: two cells at the coarsest stride."""
LOOK_CROPS = 48
"""Crops on which the teacher's channels are looked at."""
SETTLING_BATCHES, SETTLING_CROPS = 16, 16
"""Batches, and crops in each, over which batch norm is averaged before it is frozen."""
LOOK, AVERAGE, PACE, SOLVE = 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9
"""First numbers of the crops that are for other things than training."""
PACE_STEPS, SOLVED_TO_SEE = 12, 2
MANY = 10**6
"""Crops of which every phase of a plan gets some."""


@dataclass(frozen=True)
class Setup:
    """Teacher, photos, and the recipe with the anchors that belong to the weights."""

    job: TrainingJob
    recipe: Recipe
    teacher: Loaded | None
    photos: Photos
    crops: Crops


def prepare(job: TrainingJob, split: Split, on_photo: Callable[[int, int], None]) -> Setup:
    """Read what a training starts from; raise before anything long is begun."""
    if job.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    model = job.recipe.model.name
    if job.recipe.anchors is None:
        raise ModelError(f"{model}: its recipe has no anchors, so there is nothing to train for")
    _check_batch(job, max(job.recipe.anchors.strides))
    network = build(model, job.seed)
    check_rate(network, example_input(network, 128, 128), job.recipe.prune)
    teacher = None
    if job.teacher is not None:
        teachable(model)
        teacher = load_network(job.recipe, job.teacher)
        teacher.network.eval()
    recipe = job.recipe
    if teacher is not None:
        recipe = teacher.recipe
    elif job.start is not None:
        recipe = load_network(job.recipe, job.start).recipe
    photos = prepare_photos(split, job.cache, on_photo=on_photo)
    return Setup(job, recipe, teacher, photos, Crops(photos, job.crop, job.seed))


def _check_batch(job: TrainingJob, coarsest: int) -> None:
    demand_even(job.batch)
    recalibrates = job.teacher is None or _plan(job, job.images or MANY).recalibration_steps > 0
    if recalibrates and job.batch == 1 and job.crop.side <= coarsest:
        raise InputError(
            f"batch norm cannot learn from one crop of {job.crop.side} pixels, a single cell at "
            f"stride {coarsest}; give --batch 2, or crops.side over {coarsest}"
        )


def settings_of(setup: Setup, images: int) -> dict[str, Any]:
    """Return all that the weights at the end depend on, as JSON has it."""
    job = setup.job
    prune = job.recipe.prune
    section = job.recipe.train if setup.teacher is None else job.recipe.teach
    return {
        "tool": f"toolchain {toolchain.__version__}",
        "model": job.recipe.model.name,
        "teacher": setup.teacher.source.sha256 if setup.teacher else None,
        "start": sha256_of(job.start) if job.start and job.start.is_file() else str(job.start),
        "rate": prune.rate or 0.0,
        **({"widths": dict(prune.widths)} if prune.widths else {}),
        **(
            {"pruned_channels": {g: list(named) for g, named in prune.pruned_channels.items()}}
            if prune.pruned_channels
            else {}
        ),
        **({"prune.align": prune.align} if prune.rate and prune.align != 1 else {}),
        "criterion": prune.chosen_by,
        "scope": prune.scope,
        "images": images,
        "threads": job.threads,
        "processes": ranks(),
        "seed": job.seed,
        "device": job.device,
        "bfloat16": job.half,
        "photos": len(setup.photos.photos),
        **{f"crop.{key}": value for key, value in asdict(job.recipe.crops).items()},
        **_fed(job.recipe.input),
        **{
            f"{'train' if setup.teacher is None else 'teach'}.{key}": value
            for key, value in asdict(section).items()
        },
    }


def _fed(shape: InputSection) -> dict[str, Any]:
    """Return what crops become; trainings of before there were scales are gone on with."""
    scaling = {"color_order": shape.color_order, "scale": shape.scale, "std": shape.stds}
    usual = shape.is_plain and shape.color_order == "RGB"
    return {
        "crop.mean": shape.means,
        **({} if usual else {f"crop.{name}": value for name, value in scaling.items()}),
    }


def state_of(setup: Setup) -> State:
    """Return the state that is there, or a new one."""
    path = setup.job.out / STATE
    if path.exists():
        images = setup.job.images if setup.teacher and setup.job.images else _images_of(path)
        return read_state(path, settings_of(setup, images))
    images = _images(setup)
    course = _started(setup, images)
    return State(
        settings_of(setup, images),
        0,
        course.student.state_dict(),
        course.optimizer.state_dict(),
        (),
        course.filters.masks,
    )


def _images(setup: Setup) -> int:
    if setup.teacher is None:
        section = setup.job.recipe.train
        return (section.epochs + section.hold_epochs) * epoch_of(setup) * section.batch
    return setup.job.images or _images_in_time(setup)


def epoch_of(setup: Setup) -> int:
    """Return the steps in an epoch."""
    return max(1, round(len(setup.photos.photos) / setup.job.batch))


def _images_of(path: Any) -> int:
    """Return how many images a state was planned with: the pace of another hour is not asked."""
    content: Mapping[str, Any] = read_pickle(path)
    return int(json.loads(content["settings"])["images"]) if "settings" in content else 0


def _images_in_time(setup: Setup) -> int:
    """Measure the pace of a few steps of each kind; return how many images fit into the time."""
    job, section = setup.job, setup.job.recipe.teach
    shares = shares_of(section, warm_start=job.start is not None)
    plan = DistillationPlan.of_each(PACE_STEPS, section)
    course = new_course(setup, 0, plan)
    assert isinstance(course, DistillationTrainer)
    seconds = sum(
        share / _pace(setup, course, number * PACE_STEPS)
        for number, share in enumerate(shares)
        if share
    )
    left = 60 * job.minutes - (_seconds_to_solve(setup, course) if job.start is None else 0)
    return max(20 * job.batch, int(agreed(max(left, 0.0) / seconds)))


def _seconds_to_solve(setup: Setup, course: DistillationTrainer) -> float:
    """Return how long it takes to solve layers by all the crops that the recipe wants."""
    wanted = setup.job.recipe.teach.solved
    if not wanted:
        return 0.0
    course.to_solve = partial(_to_solve, setup, SOLVED_TO_SEE)
    start = time.perf_counter()
    course.solve()
    return (time.perf_counter() - start) * wanted / SOLVED_TO_SEE


def _pace(setup: Setup, course: DetectorCourse, first: int) -> float:
    """Return crops a second in the phase that begins at step ``first``."""
    warm = WARM_STEPS + 2 if setup.job.device == "cuda" else 1  # recording takes a while
    course.enter(first)
    drawn = crops_from(setup, course, first, PACE, PACE + warm + PACE_STEPS - 1)
    for step, batch in enumerate(drawn):
        if step == warm:
            start = time.perf_counter()
        course.take(first + min(1, step), batch)
    return (PACE_STEPS - 1) * setup.job.batch / (time.perf_counter() - start)


def crops_from(
    setup: Setup, course: DetectorCourse, step: int, first: int, last: int, workers: int = 0
) -> Iterator[Batch]:
    """Give this process's share of batches ``first`` to ``last`` (without it), as ``step`` wants
    them.
    """
    job, size, mine = setup.job, setup.job.batch, (rank(), ranks())
    matching = course.matching if course.asks_labels(step) else None
    return batches(
        setup.crops, size, first, last, workers, *mine, device=job.device, matching=matching
    )


def new_course(setup: Setup, images: int, plan: DistillationPlan | None = None) -> DetectorCourse:
    """Return a course that can take its first step; ``plan`` replaces the recipe's."""
    course = _started(setup, images, plan)
    if isinstance(course, DistillationTrainer):
        _look(setup, course)
    return course


def _started(setup: Setup, images: int, plan: DistillationPlan | None = None) -> DetectorCourse:
    """Return a course with its student and filters as they begin; it has looked at no crop yet."""
    job = setup.job
    student = build(job.recipe.model.name, job.seed)
    if job.start is not None:
        student = load_network(job.recipe, job.start).network
    if setup.teacher is None:
        return _label_course(setup, student)
    course = _distillation(setup, student, plan or _plan(job, images))
    if job.start is None:
        course.begin()
    course.choose_in_teacher()
    return course


def resumed_course(setup: Setup, state: State) -> DetectorCourse:
    """Return what takes the next step of ``state``."""
    job = setup.job
    student = build(job.recipe.model.name, job.seed)
    student.load_state_dict(dict(state.network))
    if setup.teacher is None:
        course: DetectorCourse = _label_course(setup, student)
    else:
        course = _distillation(setup, student, _plan(job, int(state.settings["images"])))
    if state.masks is not None:
        course.filters.masks = {n: m.to(job.device) for n, m in state.masks.items()}
    course.enter(state.step)
    course.optimizer.load_state_dict(dict(state.optimizer))
    if isinstance(course, DistillationTrainer):
        _look(setup, course)
    return course


def _label_course(setup: Setup, student: nn.Module) -> LabelCourse:
    job = setup.job
    assert setup.recipe.anchors is not None
    return LabelCourse(
        placed(student, job.device),
        LabelPlan(job.recipe.train, epoch_of(setup)),
        job.recipe.prune,
        example_input(student, EXAMPLE, EXAMPLE),
        setup.recipe.anchors,
        setup.recipe.decode.variances,
        job.half,
    )


def _plan(job: TrainingJob, images: int) -> DistillationPlan:
    return DistillationPlan.of(job.recipe.teach, images, warm_start=job.start is not None)


def _distillation(setup: Setup, student: nn.Module, plan: DistillationPlan) -> DistillationTrainer:
    job = setup.job
    assert setup.teacher is not None
    assert setup.recipe.anchors is not None
    return DistillationTrainer(
        job.recipe.model.name,
        student,
        copy.deepcopy(setup.teacher.network),
        plan,
        job.recipe.prune,
        example_input(student, EXAMPLE, EXAMPLE),
        setup.recipe.anchors,
        setup.recipe.decode.variances,
        job.half,
        job.device,
    )


def _look(setup: Setup, course: DistillationTrainer) -> None:
    """Give the course the crops that it looks at, and those over which it averages."""
    first, device = LOOK // LOOK_CROPS, setup.job.device
    (looked,) = batches(setup.crops, LOOK_CROPS, first, first + 1, 0, device=device)
    course.look(looked.images)
    first = AVERAGE // SETTLING_CROPS
    last = first + SETTLING_BATCHES
    drawn = batches(setup.crops, SETTLING_CROPS, first, last, 0, device=device)
    course.recalibration_crops = [batch.images for batch in drawn]
    course.to_solve = partial(_to_solve, setup, setup.job.recipe.teach.solved)


def _to_solve(setup: Setup, count: int) -> Iterator[Tensor]:
    """Give the crops by which layers are solved, one at a time: all layers are seen at once."""
    for batch in batches(setup.crops, 1, SOLVE, SOLVE + count, 0, device=setup.job.device):
        yield batch.images
