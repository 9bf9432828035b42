"""The program: finds the faces of all inputs, or serves the page."""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
from pathlib import Path

import cv2

from .benchmark import run_benchmark
from .decoding import checked_threshold
from .detecting import Detector
from .drawing import draw, require_window, show
from .errors import DetectError, OutputError, one_line
from .options import checked_options
from .outputs import OutputFolder, open_output
from .sources import Source, find_sources, frames
from .stopping import ask
from .telling import emit, record, report_failure, sentence, warn


def process(
    detector: Detector, source: Source, options: argparse.Namespace, target: Path | None
) -> bool:
    """Find, write, show and report the faces of a source; False if the user wants no more."""
    with open_output(source, target) as write:
        for frame in frames(source, options.limit):
            if frame.damage:
                warn(
                    f"{source.name}: is a damaged JPEG ({frame.damage}): boxes may be far off; "
                    "copy the file again"
                )
            found = detector.measure(frame.image, options.threshold)
            drawn = frame.image
            if target or options.show:
                drawn = draw(drawn, found.boxes, found.scores)
            write(drawn, frame.per_second)
            facts = record(source, frame, found)
            emit(json.dumps(facts) if options.json else sentence(facts, target))
            if options.show and not show(drawn, wait=not source.is_stream):
                return False
    return True


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


def warn_of_random_weights(detector: Detector) -> None:
    """Say on standard error that boxes mean nothing, if so."""
    if not detector.specification.trained:
        warn("the weights are random (untrained): boxes mean nothing; export a trained checkpoint")


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; return 0, or 2 if an input failed."""
    if options.show:
        require_window()
    if options.threads:
        cv2.setNumThreads(options.threads)
    detector = Detector(
        options.model, threads=options.threads, size=options.size, half=options.half
    )
    warn_of_random_weights(detector)
    checked_threshold(detector.specification, options.threshold)
    if options.serve:
        from .live.service import serve  # what a picture needs starts sooner without it

        return serve(detector, options)
    sources, failed = all_sources(options)
    if options.benchmark:
        if sources:
            run_benchmark(detector, sources[0], options)
        return 2 if failed else 0
    folder = OutputFolder(options.out, sources) if options.out else None
    for source in sources:
        try:
            if not process(detector, source, options, folder.target(source) if folder else None):
                break
        except OutputError:
            raise
        except DetectError as error:
            report_failure(source.name, error, options)
            failed += 1
    return 2 if failed else 0


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
