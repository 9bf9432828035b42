"""The program: does its file's task on all inputs, or serves the page."""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from .benchmark import run_benchmark
from .decoding import checked_threshold
from .detecting import Detection, Detector
from .drawing import require_window, show
from .errors import DetectError, OutputError, one_line
from .opening import demand_arrays, open_worker
from .options import checked_options
from .outputs import OutputFolder, open_output, write_arrays
from .sources import Frame, Source, find_sources, frames, read_arrays
from .stopping import ask
from .telling import emit, record, report_failure, sentence, warn

if TYPE_CHECKING:
    from .opening import Worker
    from .tasks.running import Measured


def process(
    worker: Worker, source: Source, options: argparse.Namespace, target: Path | None
) -> bool:
    """Look at a source, write, show and report what is found; False if the user wants no more."""
    if source.is_arrays:
        run_arrays(worker, source, options, target)
        return True
    as_arrays = target is not None and target.suffix == ".npz"
    with open_output(source, None if as_arrays else target) as write:
        for frame in frames(source, options.limit):
            if frame.damage:
                warn(
                    f"{source.name}: is a damaged JPEG ({frame.damage}): {worker.noun} may be far "
                    "off; copy the file again"
                )
            measured = look(worker, source, frame, options.threshold)
            found, drawn = measured.found, frame.image
            if (target and not as_arrays) or options.show:
                drawn = found.drawn(drawn)
            write(drawn, frame.per_second)
            if target and as_arrays:
                write_arrays(target, found.arrays())
            facts = record(source.name, frame, found, measured.inference_ms)
            emit(json.dumps(facts) if options.json else sentence(facts, found.words(), target))
            if options.show and not show(drawn, wait=not source.is_stream):
                return False
    return True


def look(
    worker: Worker, source: Source, frame: Frame, threshold: float | None
) -> Detection | Measured:
    """Look at a picture; what goes wrong is told with the source's name."""
    try:
        return worker.measure(frame.image, threshold)
    except DetectError as error:
        raise DetectError(f"{source.name}: {error}") from error


def run_arrays(
    worker: Worker, source: Source, options: argparse.Namespace, target: Path | None
) -> None:
    """Run a file of arrays, write what comes as arrays, and report it."""
    arrays = read_arrays(source.name)
    try:
        measured = demand_arrays(worker, source).measure_arrays(arrays, options.threshold)
    except DetectError as error:
        raise DetectError(f"{source.name}: {error}") from error
    if target:
        write_arrays(target, measured.found.arrays())
    facts = record(source.name, None, measured.found, measured.inference_ms)
    emit(json.dumps(facts) if options.json else sentence(facts, measured.found.words(), target))


def all_sources(options: argparse.Namespace) -> tuple[list[Source], int]:
    """Return the sources of all inputs, and how many inputs are none; those are reported."""
    sources, failed = [], 0
    for text in options.inputs:
        try:
            sources += find_sources(text)
        except DetectError as error:
            report_failure(text, error, options)
            failed += 1
    return sources, failed


def warn_of_random_weights(worker: Worker) -> None:
    """Say on standard error that what is found means nothing, if so."""
    if not worker.specification.trained:
        warn(
            f"the weights are random (untrained): {worker.noun} mean nothing; export a trained "
            "checkpoint"
        )


def targets(
    worker: Worker, sources: list[Source], options: argparse.Namespace
) -> Callable[[Source], Path | None]:
    """Return what tells where each source's output goes: a file of arrays, a folder, or nowhere."""
    out: Path | None = options.out
    if out is None:
        return lambda _source: None
    if out.suffix.lower() != ".npz":
        folder = OutputFolder(out, sources)
        raw = worker.noun == "outputs"
        return lambda source: folder.target(
            source, as_arrays=source.is_arrays or (raw and not source.is_stream)
        )
    if len(sources) > 1 or any(source.is_stream for source in sources):
        raise DetectError(f"--out {out}: is one file of arrays, for one picture; give a folder")
    return lambda _source: out


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; return 0, or 2 if an input failed."""
    if options.show:
        require_window()
    if options.threads:
        cv2.setNumThreads(options.threads)
    worker = open_worker(
        options.model,
        threads=options.threads,
        size=options.size,
        half=options.half,
        labels=options.labels,
        decoder=options.decoder,
    )
    warn_of_random_weights(worker)
    if isinstance(worker, Detector):
        checked_threshold(worker.specification, options.threshold)
    if options.serve:
        from .live.service import serve  # what a picture needs starts sooner without it

        return serve(worker, options)
    sources, failed = all_sources(options)
    if options.benchmark:
        if sources:
            run_benchmark(worker, sources[0], options)
        return 2 if failed else 0
    failed += process_all(worker, sources, options)
    return 2 if failed else 0


def process_all(worker: Worker, sources: list[Source], options: argparse.Namespace) -> int:
    """Look at all sources; return how many failed."""
    failed, target_of = 0, targets(worker, sources, options)
    for source in sources:
        try:
            if not process(worker, source, options, target_of(source)):
                break
        except OutputError:
            raise
        except DetectError as error:
            report_failure(source.name, error, options)
            failed += 1
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code. Every error is one line, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be valid text
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(checked_options(arguments))
    except DetectError as error:
        print(f"detect.py: {error}", file=sys.stderr)
        return 2
    except (MemoryError, cv2.error) as error:
        reason = f"{one_line(error)}; use a smaller --size, or a smaller picture"
        print(f"detect.py: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("detect.py: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough: end as SIGPIPE would
        return 141


def start_program() -> None:
    """Run the command line as a process of its own; end with its exit code."""
    signal.signal(signal.SIGTERM, ask)  # clean up when a service stops
    sys.exit(main())
