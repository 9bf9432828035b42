"""A recovery from a folder of photos, as the command line runs it: its files, and its resume.

OUT/state.pt             the state, every minute
OUT/soft/                the same of its first steps, where filters may come back in them
OUT/model.safetensors    the pruned network, when all steps are taken
OUT/recover.json         settings, and how near it came
OUT/recover.html         how it goes
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import torch

import toolchain
from toolchain.checking.parity import run_network
from toolchain.errors import InputError, ModelError
from toolchain.library.recovering import blocks_of, pair_by_section, pair_of
from toolchain.lineage.links import agreement
from toolchain.models import detector
from toolchain.models.choosing import Choice
from toolchain.models.layouts import read_checkpoint
from toolchain.models.weights import load_into, save_native
from toolchain.recipe import Recipe
from toolchain.records.certificate import BoxAgreement
from toolchain.records.cost_tables import Reached
from toolchain.recovery.finding import finder, has_boxes
from toolchain.recovery.levels import in_levels, strides_of
from toolchain.recovery.outputs import told_kinds
from toolchain.recovery.photos import PhotoFeed
from toolchain.recovery.plan import crops_of_step
from toolchain.recovery.report import RecoveryReport
from toolchain.recovery.returning import give_back, take_out
from toolchain.recovery.running import Pair, Tell, Wanted, recover
from toolchain.recovery.soft import recover_softly
from toolchain.recovery.tree import tree_lines
from toolchain.system.files import sha256_of, write_bytes
from toolchain.system.memory import keep_freed_memory
from toolchain.train.keeping import OnStep
from toolchain.train.ranks import demand_even, joined, rank, ranks
from toolchain.workflows.stages.origin import native_metadata
from toolchain.zoo.sources import Loaded, load_network

LOOKED_FOR_BOXES = 40
"""Photos kept out on which boxes are looked for, at most."""


@dataclass(frozen=True)
class RecoveryJob:
    """What the command line asks for."""

    recipe: Recipe
    ckpt: Path | None
    choice: Choice
    images: Path | None
    """None shows blocks alone."""
    out: Path
    minutes: float
    steps: int | None
    batch: int | None
    """Crops in a step; None: :func:`~toolchain.recovery.plan.crops_of_step`."""
    outputs: Mapping[str, str]
    blocks: tuple[str, ...] | None
    half: bool
    device: Literal["cpu", "cuda"]
    threads: int
    workers: int
    seed: int
    cache: Path
    keep_every_seconds: float
    start: Path | None = None
    """What an earlier recovery made of the same filters, to go on from."""
    target: Mapping[str, Any] = field(default_factory=dict)
    """What a pruner is given in place of a rate: a target, and its board perhaps."""
    learn: tuple[str, ...] | None = None
    """The modules that learn; None: all."""
    soft_share: float = 0.0
    """Of the steps, the first ones, in which filters are chosen anew and may come back."""
    average: bool = False
    """True if it ends halfway between ``start`` and what it learnt."""


def shown_blocks(job: RecoveryJob) -> list[str]:
    """Return lines that show what would learn from what, and what a target comes to."""
    pair, _ = _prepared(job)
    reached = [] if pair.reached is None else [str(pair.reached)]
    return [*tree_lines(blocks_of(pair, job.blocks)), *reached]


def recover_from_photos(
    job: RecoveryJob, on_photo: Callable[[int, int], None], on_step: OnStep, tell: Tell
) -> RecoveryReport:
    """Prune and recover a network, or take a recovery up where it was; write its files.

    Of processes that ``torchrun`` started each takes its share of a batch, and the first writes.
    Raises what :func:`toolchain.recover` raises, and :class:`CheckpointError` for a state of other
    settings.
    """
    if job.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    torch.set_num_threads(job.threads)
    cv2.setNumThreads(0)  # crops are small
    keep_freed_memory()
    if job.soft_share and job.start is not None:
        raise InputError(
            "--from: an earlier recovery's filters are chosen for good; leave it out, or "
            "--soft-share"
        )
    if job.average and job.start is None:
        raise InputError(
            "--average: it ends halfway between what it begins with and what it learns; give by "
            "--from what an earlier recovery made, to begin with"
        )
    with joined(job.device):
        if job.batch is not None:
            demand_even(job.batch)
        return _recovered(job, on_photo, on_step, tell)


def _recovered(
    job: RecoveryJob, on_photo: Callable[[int, int], None], on_step: OnStep, tell: Tell
) -> RecoveryReport:
    pair, loaded = _prepared(job)
    goes_on = job.start is not None and _go_on(pair, job.start, loaded, tell)
    if job.average and not goes_on:
        raise InputError(
            f"--average: {job.start} has filters that go now, and a mean is of one network; "
            f"first recover from it without, and give what comes of that by --from"
        )
    for note in loaded.notes:
        tell(note)
    if pair.reached is not None:
        tell(str(pair.reached))
    blocks, recipe = blocks_of(pair, job.blocks), loaded.recipe
    job = replace(job, batch=_batch(job, recipe))
    feed = _feed(job, pair, loaded, on_photo)
    settings = _settings(job, loaded, feed, pair.reached)
    wanted = Wanted(
        job.minutes, job.steps, _kinds(job), job.learn, half=job.half,
        soft_share=job.soft_share, goes_on=goes_on, average=job.average, out=job.out,
        settings=settings,
        images_after=3 * LOOKED_FOR_BOXES * has_boxes(recipe),
        keep_every_seconds=job.keep_every_seconds, photos=feed.photos, broken=feed.broken,
    )  # fmt: skip
    with in_levels((pair.teacher, pair.student, pair.plain), strides_of(recipe)):
        begin = recover_softly if job.soft_share else recover
        report = begin(pair, blocks, feed, wanted, on_step, tell)
    pair.student.cpu()
    if rank() == 0:
        report = replace(report, boxes=_boxes(pair, loaded, feed))
        _write(job, pair, {**native_metadata(loaded), "trained": True}, settings, report)
    return report


def _batch(job: RecoveryJob, recipe: Recipe) -> int:
    """Return how many crops a step takes, in all processes together."""
    if job.batch is not None:
        return job.batch
    return crops_of_step(recipe.input.height, recipe.input.width, job.device, ranks())


def _feed(
    job: RecoveryJob, pair: Pair, loaded: Loaded, on_photo: Callable[[int, int], None]
) -> PhotoFeed:
    """Return the crops; raise :class:`InputError` where they are not what the network takes."""
    recipe, channels = loaded.recipe, loaded.image.shape[1]
    if channels != recipe.input.channels:
        raise InputError(
            f"photos are fed as {recipe.input.color_order}, and the network takes {channels} "
            f"channels; say the color_order (RGB, BGR, GRAY) in [input] of a recipe"
        )
    assert job.images is not None
    assert job.batch is not None
    # A copy: what finds boxes reads outputs whose levels are joined.
    find = finder(copy.deepcopy(pair.plain), recipe, loaded.outputs)
    return PhotoFeed(
        job.images, recipe, job.batch, job.seed, job.cache, job.workers, job.device, on_photo, find
    )


def _go_on(pair: Pair, start: Path, loaded: Loaded, tell: Tell) -> bool:
    """Give the student what an earlier recovery made of it, and the teacher's filters beyond that.

    Returns False where filters of it go now: then all is learnt as from the teacher's weights.
    """
    checkpoint = read_checkpoint(start)
    for network in (pair.student, pair.plain_student):
        load_into(network, checkpoint, loaded.recipe.model.name)
    for network in (pair.student, pair.plain_student):
        gone = take_out(network, pair.masks)
        back = give_back(pair.plain, network, pair.masks)
    if gone:
        tell(f"filters that {start.name} has, and that go now: {_counts(gone)}")
    if back:
        tell(f"filters that {start.name} has not, and that stay, begin as before: {_counts(back)}")
    return not gone


def _counts(by_layer: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in by_layer.items())


def _kinds(job: RecoveryJob) -> dict[str, str]:
    return {**told_kinds(job.recipe), **job.outputs}


def _boxes(pair: Pair, loaded: Loaded, feed: PhotoFeed) -> dict[str, BoxAgreement]:
    """Return how many boxes both networks find, where the recipe says how outputs become boxes."""
    recipe = loaded.recipe
    if not has_boxes(recipe):
        return {}
    photos = feed.pictures(LOOKED_FOR_BOXES)
    before, pruned, recovered = map(run_network, (pair.plain, pair.plain_student, pair.student))
    return {
        name: agreement(photos, before, after, recipe, loaded.outputs)
        for name, after in (("pruned", pruned), ("recovered", recovered))
    }


def _prepared(job: RecoveryJob) -> tuple[Pair, Loaded]:
    loaded = load_network(job.recipe, job.ckpt, choice=job.choice)
    if job.ckpt is None and job.recipe.model.name in detector.names():
        raise InputError(
            f"{job.recipe.model.name} needs trained weights to learn from; give --ckpt"
        )
    if len(loaded.example) != 1 or loaded.example[0].ndim != 4:
        raise ModelError(
            f"{job.recipe.model.name}: a folder of photos is for networks of one image; for others "
            f"there is toolchain.recover in Python"
        )
    network = loaded.network.to(job.device) if job.images is not None else loaded.network
    prune = loaded.recipe.prune
    if prune.widths or prune.pruned_channels:
        return pair_by_section(network, loaded.image, prune), loaded
    pair = pair_of(
        network,
        loaded.image,
        **(job.target or {"rate": prune.rate}),
        criterion=prune.criterion,
        ignored=[pattern for pattern in prune.protected if _names_any(network, pattern)],
        align=prune.align,
    )
    return pair, loaded


def _names_any(network: torch.nn.Module, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name, _ in network.named_modules())


def _settings(
    job: RecoveryJob, loaded: Loaded, feed: PhotoFeed, reached: Reached | None
) -> dict[str, Any]:
    """Return all that the weights at the end depend on, as JSON has it."""
    prune = loaded.recipe.prune
    return {
        "tool": f"toolchain {toolchain.__version__}",
        "model": job.recipe.model.name,
        "weights": loaded.source.sha256,
        "rate": prune.rate if reached is None else reached.rate,
        **job.target,
        "criterion": prune.criterion,
        "prune.align": prune.align,
        **({"widths": dict(prune.widths)} if prune.widths else {}),
        **(
            {"pruned_channels": {name: list(each) for name, each in prune.pruned_channels.items()}}
            if prune.pruned_channels
            else {}
        ),
        "minutes": None if job.steps else job.minutes,
        "steps": job.steps,
        "batch": job.batch,
        "outputs": _kinds(job),
        "blocks": None if job.blocks is None else list(job.blocks),
        **({} if job.learn is None else {"learn": list(job.learn)}),
        **({"soft_share": job.soft_share} if job.soft_share else {}),
        **({"average": True} if job.average else {}),
        "threads": job.threads,
        **({"processes": ranks()} if ranks() > 1 else {}),
        "seed": job.seed,
        "device": job.device,
        "bfloat16": job.half,
        "photos": feed.photos,
        **({"start": sha256_of(job.start)} if job.start is not None else {}),
        **{f"input.{key}": value for key, value in asdict(loaded.recipe.input).items()},
    }


def _write(
    job: RecoveryJob,
    pair: Pair,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    report: RecoveryReport,
) -> None:
    path = job.out / "model.safetensors"
    record = {**settings, **asdict(report)}
    try:
        save_native(pair.student, path, {**facts, "recovery": dict(settings)})
        write_bytes(job.out / "recover.json", json.dumps(record, indent=2).encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
