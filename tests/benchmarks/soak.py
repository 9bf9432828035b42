"""Does the surgery keep its promise on many random networks?

``make soak-surgery`` shrinks a network for each seed, counted up, and judges it as the property
tests do (tests/networks/). It may be stopped at any time and goes on where it was. A network that
is wrong, crashes, or takes too long or too much memory is printed, and makes the exit code 1.
``--counts`` only reads what is there; ``--again`` tries the failures once more.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from networks.drawing import description_of
from networks.promise import keep_promise, outline

from tests.benchmarks.soak_records import (
    Entry,
    InUseError,
    OtherGeneratorError,
    State,
    counts,
    entries_of,
    short,
    whole_lines,
)
from toolchain.surgery.removing import cut

MEMORY_BYTES = 4 << 30
"""What a network may take, beyond what the process has when it starts."""
REPORT_S = 30
FORK = multiprocessing.get_context("fork")


def generator() -> str:
    """What tells apart generators whose seeds stand for other networks."""
    some = "\n".join(repr(description_of(seed)) for seed in range(200))
    return hashlib.sha256(some.encode()).hexdigest()[:12]


def try_seed(seed: int) -> Entry:
    """Shrink and judge the network of a seed."""
    start = time.perf_counter()

    def entry(kind: str, reason: str = "", *shares: float | None) -> Entry:
        return Entry(seed, kind, reason, round(time.perf_counter() - start, 3), *shares)

    try:
        outcome = keep_promise(description_of(seed), cut)
    except AssertionError as error:
        return entry("wrong", outline(str(error)))
    except MemoryError:
        return entry("memory")
    except Exception as error:
        kind = "memory" if "allocate memory" in str(error) else "crashed"
        return entry(kind, f"{type(error).__name__}: {outline(str(error))}")
    return entry(outcome.kind, outcome.reason, outcome.exact, outcome.soft, outcome.shrunk)


def work(pipe: Connection, parent: int) -> None:
    """Take seeds and give entries until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, resource.RLIM_INFINITY)
    )
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    while os.getppid() == parent:
        if pipe.poll(5):
            pipe.send(try_seed(pipe.recv()))


@dataclass
class Worker:
    """A process that tries one seed after the other."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    seed: int
    started: float

    @staticmethod
    def start(seed: int) -> Worker:
        here, there = FORK.Pipe()
        process = FORK.Process(target=work, args=(there, os.getpid()), daemon=True)
        process.start()
        there.close()
        worker = Worker(process, here, seed, 0.0)
        worker.give(seed)
        return worker

    def give(self, seed: int) -> None:
        self.seed, self.started = seed, time.perf_counter()
        self.pipe.send(seed)

    def answer(self, limit_s: float) -> Entry | None:
        """The seed's entry, if it is there or overdue; an overdue or dead process has ended."""
        taken = time.perf_counter() - self.started
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            code = self.process.exitcode
            return Entry(self.seed, "crashed", f"the process ended with {code}", round(taken, 3))
        if taken > limit_s:
            self.stop()
            return Entry(self.seed, "timeout", "", round(taken, 3))
        return None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def run(seeds: list[int], jobs: int, limit_s: float) -> Iterator[Entry]:
    """Entries of all seeds, as they come."""
    left = iter(seeds)
    workers = [Worker.start(seed) for seed in itertools.islice(left, jobs)]
    try:
        while workers:
            wait([worker.pipe for worker in workers], timeout=1)
            for worker in list(workers):
                entry = worker.answer(limit_s)
                if entry is None:
                    continue
                yield entry
                hand_on(worker, next(left, None), workers)
    finally:
        for worker in workers:
            worker.stop()


def hand_on(worker: Worker, seed: int | None, workers: list[Worker]) -> None:
    """Give a worker that has answered the next seed; a dead one is replaced."""
    if seed is not None and worker.process.is_alive():
        worker.give(seed)
        return
    workers.remove(worker)
    worker.stop()
    if seed is not None:
        workers.append(Worker.start(seed))


def show_failure(entry: Entry) -> None:
    print(
        f"{entry.kind}: seed {entry.seed}: {entry.reason}\n  {description_of(entry.seed)!r}\n"
        f"  made small: PYTHONPATH=tests python -m networks.reducing {entry.seed}",
        flush=True,
    )


def soak(state: State, seeds: list[int], jobs: int, limit_s: float, all_seeds: range) -> None:
    """Try the seeds, enter them, and print how far it is."""
    start = told = time.perf_counter()
    for number, entry in enumerate(run(seeds, jobs, limit_s), 1):
        state.enter(entry)
        if entry.failed:
            show_failure(entry)
        now = time.perf_counter()
        if now - told > REPORT_S:
            told, rate = now, number / (now - start)
            done = [state.entries[seed] for seed in all_seeds if seed in state.entries]
            print(
                f"{len(done):,} of {len(all_seeds):,}: {short(done)}; {rate:.1f} a second, "
                f"{(len(seeds) - number) / rate / 60:.0f} minutes left",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="networks")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder")
    parser.add_argument("--seconds", type=float, default=60.0, help="what a network may take")
    parser.add_argument("--again", action="store_true", help="try failures once more")
    parser.add_argument("--counts", action="store_true", help="only print what is there")
    return parser.parse_args()


def main() -> int:
    """Return 0 where all networks kept the promise, 1 where one failed, 130 when stopped."""
    chosen = arguments()
    path = chosen.out / "networks.jsonl"
    if chosen.counts:
        found = {entry.seed: entry for entry in entries_of(whole_lines(path))}
        print("\n".join(counts(found.values())))
        return int(any(entry.failed for entry in found.values()))
    try:
        state = State(path, generator())
    except OtherGeneratorError:
        print(f"soak: {path} was begun with other networks; choose another OUT", file=sys.stderr)
        return 2
    except InUseError:
        print(f"soak: another soak writes to {path}", file=sys.stderr)
        return 2
    for name in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(name, signal.default_int_handler)
    every = range(chosen.seed, chosen.seed + chosen.count)
    before = state.entries
    left = [s for s in every if s not in before or (chosen.again and before[s].failed)]
    print(f"{len(every) - len(left):,} of {len(every):,} are done already, in {path}", flush=True)
    try:
        soak(state, left, chosen.jobs, chosen.seconds, every)
    except KeyboardInterrupt:
        print("stopped; the same command goes on")
        return 130
    done = [state.entries[seed] for seed in every]
    print("\n".join(counts(done)))
    return int(any(entry.failed for entry in done))


if __name__ == "__main__":
    sys.exit(main())
