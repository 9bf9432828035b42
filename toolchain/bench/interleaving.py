"""Measuring the files of a folder: interleaved, in random order, as ratios within rounds."""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from toolchain.bench import fresh
from toolchain.bench.external import whole_size
from toolchain.bench.feeds import NOTHING, Told, given_alone, picture_size
from toolchain.bench.runs import Given, Picture, as_inputs, open_run, operators, runtime_of
from toolchain.checking.pictures import (
    Photo,
    as_fed,
    board_view,
    floats_for,
    photo_input,
    smooth_input,
)
from toolchain.deploy import detect, packing
from toolchain.errors import InputError, last_line
from toolchain.lineage.links import bare_of
from toolchain.records.certificate import Certificate
from toolchain.records.run_folder import (
    CERTIFICATE,
    ONNX,
    WEIGHTS,
    RunFolder,
    model_file,
    name_of,
)
from toolchain.records.timings import Bench, FileTiming
from toolchain.zoo.sources import load_network

REFERENCE = ONNX
WARM_UP, FEWEST_ROUNDS, MOST_ROUNDS = 3, 5, 2000
BUSY = 0.5
"""Load per processor from which on a machine is said to be busy."""


def measure(
    folder: Path,
    threads: int,
    photo: Photo | None,
    seconds: float,
    on_stage: Callable[[str], None],
    told: Told = NOTHING,
) -> Bench:
    """Measure every file of an output folder of ``shrink`` for about ``seconds``, or one file.

    ``told`` is of a file on its own: what it is fed. Raises :class:`InputError` if the folder has
    no ``model.onnx`` or no certificate, or the file cannot be run.
    """
    if model_file(folder).is_file():
        return _file_alone(model_file(folder), threads, seconds, on_stage, told)
    paths = RunFolder(folder).files
    if folder / REFERENCE not in paths or not (folder / CERTIFICATE).is_file():
        raise InputError(
            f"{folder}: has no {REFERENCE} with its {CERTIFICATE}; give an output folder of shrink"
        )
    run = RunFolder.open(folder)
    certificate = run.certificate
    run.demand_unchanged([*map(name_of, paths), WEIGHTS])
    image, words = _input(folder, certificate, photo)

    def fed(path: Path) -> Given:
        return floats_for(image, certificate.recipe) if path.suffix == ".param" else image

    given = {path: fed(path) for path in paths}
    name = folder.resolve().name
    return _measured(name, REFERENCE, words, given, threads, seconds, on_stage, certificate)


def _file_alone(
    path: Path, threads: int, seconds: float, on_stage: Callable[[str], None], told: Told
) -> Bench:
    words, given, fed = given_alone(path, told)
    name = path.name.partition(".")[0]
    words = f"{words}: {fed}" if fed else words
    return _measured(name, name_of(path), words, {path: given}, threads, seconds, on_stage, None)


def _measured(
    name: str,
    reference: str,
    words: str,
    given: Mapping[Path, Given],
    threads: int,
    seconds: float,
    on_stage: Callable[[str], None],
    certificate: Certificate | None,
) -> Bench:
    load = os.getloadavg()[0]
    on_stage(f"time {len(given)} files in turn for {seconds:g} s")
    start = time.perf_counter()
    times = interleaved(
        {name_of(path): open_run(path, fed, threads) for path, fed in given.items()}, seconds
    )
    spent = time.perf_counter() - start
    files = []
    for path, fed in given.items():
        on_stage(f"look into {name_of(path)}")
        files.append(_timing(path, times, reference, fed, threads, certificate))
    return Bench(
        name,
        reference,
        words,
        picture_size(next(iter(given.values()))),
        threads,
        len(times[reference]),
        round(spent, 1),
        machine_name(),
        processor_name(),
        round(load, 2),
        tuple(files),
        tuple(busy_notes(load)),
    )


def _input(folder: Path, certificate: Certificate, photo: Photo | None) -> tuple[Picture, str]:
    recipe = certificate.recipe
    if photo is not None:
        proof = photo_input(photo, recipe, board_view(recipe))
    else:
        example = load_network(recipe, folder / WEIGHTS).image
        proof = smooth_input(example, recipe.model.seed, recipe.input.given)
    return as_fed(proof.image.numpy(), recipe), proof.name


def interleaved(runs: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Return each file's times in seconds, one per round; every round runs all in random order."""
    order, shuffle = list(runs), random.Random(0)
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < FEWEST_ROUNDS or (time.perf_counter() < end and rounds < MOST_ROUNDS):
        shuffle.shuffle(order)
        for name in order:
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return times


def _timing(
    path: Path,
    times: Mapping[str, Sequence[float]],
    reference: str,
    given: Given,
    threads: int,
    certificate: Certificate | None,
) -> FileTiming:
    own = times[name_of(path)]
    ratios = [mine / other for mine, other in zip(own, times[reference], strict=True)]
    low, median, high = (1e3 * quartile for quartile in statistics.quantiles(own, n=4))
    ratio_low, ratio, ratio_high = statistics.quantiles(ratios, n=4)
    link = None
    if certificate is not None:
        bare = bare_of(name_of(path), certificate.recipe)
        link = next((link for link in certificate.links if link.after == bare), None)
    return FileTiming(
        name_of(path),
        runtime_of(path),
        whole_size(path),
        _peak(path, given, threads),
        median,
        low,
        high,
        ratio,
        ratio_low,
        ratio_high,
        link.mean if link else None,
        operators(path, given, threads),
    )


def _peak(path: Path, given: Given, threads: int) -> int:
    fed = (given,) if path.suffix == ".param" else as_inputs(given, path)
    named = {f"{index:03}": array for index, array in enumerate(fed)}
    environment = {**os.environ, "PYTHONPATH": str(packing.PACKAGE.parent)}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", **named)  # type: ignore[arg-type]
        words = [str(path), str(Path(folder) / "in.npz"), str(threads)]
        done = subprocess.run(
            [sys.executable, fresh.__file__, *words],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    if done.returncode:
        reason = last_line(done.stderr)
        raise InputError(f"{name_of(path)}: does not run in a process of its own ({reason})")
    return int(done.stdout.split()[-1])


def machine_name() -> str:
    """Return this machine's system and how many processors it has."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def processor_name() -> str:
    """Return what the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def busy_notes(load: float) -> list[str]:
    """Return what is to be said of times that were taken under such a load."""
    if load <= BUSY * (os.cpu_count() or 1):
        return []
    return [
        f"The machine was busy (load {load:.1f}): times are of a busy machine; ratios, taken "
        f"within rounds, suffer less."
    ]


def read_photo(path: Path | None) -> Photo | None:
    """Read the photo that is to be fed; raise :class:`InputError` if it cannot be."""
    if path is None:
        return None
    try:
        return Photo(path.name, detect.read_image(path))
    except detect.DetectError as error:
        raise InputError(str(error)) from error
