"""Measure the surgery on public architectures, one process each; what is measured stays.

``python -m tests.benchmarks.public [NAMES] --out DIR``. Results are DIR/NAME.json and DIR/table.md;
a network that was measured in the same state of the code is left out the next time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.public.catalogue import ENTRIES, Entry
from tests.benchmarks.public.measuring import STAGES, measure
from tests.benchmarks.public.records import Measured, path_of, state
from tests.benchmarks.public.table import markdown

HERE = "tests.benchmarks.public"


def main() -> int:
    """Return 0 where all were measured, 1 where a process failed, 2 for an unknown name."""
    given = _arguments()
    unknown = sorted(set(given.names) - {entry.name for entry in ENTRIES})
    if unknown:
        names = ", ".join(entry.name for entry in ENTRIES)
        print(
            f"public: no network is called {', '.join(unknown)}; they are {names}", file=sys.stderr
        )
        return 2
    chosen = [entry for entry in ENTRIES if entry.name in given.names or not given.names]
    given.out.mkdir(parents=True, exist_ok=True)
    if given.here:
        return _here(chosen, given)
    failed = [entry.name for entry in chosen if not _in_a_process(entry, given)]
    measured = [path_of(entry.name, given.out) for entry in ENTRIES]
    words = markdown([Measured.read(path) for path in measured if path.exists()])
    (given.out / "table.md").write_text(words)
    print(words)
    if failed:
        print(f"public: not measured: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _here(entries: list[Entry], given: argparse.Namespace) -> int:
    for entry in entries:
        for found in measure(entry, given.stages, _known(entry, given)):
            found.write(given.out)
    return 0


def _known(entry: Entry, given: argparse.Namespace) -> Measured | None:
    """What was measured in the same state of the code."""
    path = path_of(entry.name, given.out)
    found = Measured.read(path) if path.exists() and not given.again else None
    return found if found is not None and found.state == state() else None


def _in_a_process(entry: Entry, given: argparse.Namespace) -> bool:
    """Measure a network in a process of its own; return False if that fails or takes too long."""
    path = path_of(entry.name, given.out)
    known = _known(entry, given)
    if known is not None and known.done and set(given.stages) <= set(known.done):
        return True
    start = time.perf_counter()
    command = [sys.executable, "-m", HERE, entry.name, "--here", "--out", str(given.out)]
    command += ["--stages", *given.stages, *(["--again"] if given.again else [])]
    log = path.with_suffix(".log")
    with log.open("w") as told:
        try:
            done = subprocess.run(
                command,
                stdout=told,
                stderr=told,
                timeout=given.seconds,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{entry.name}: over {given.seconds:.0f} s, stopped", flush=True)
            return False
    ended = "" if done.returncode == 0 else f", ended with {done.returncode}: see {log}"
    print(f"{entry.name}: {time.perf_counter() - start:.0f} s{ended}", flush=True)
    return done.returncode == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="public", description=__doc__)
    parser.add_argument("names", nargs="*", help="networks; all if none is named")
    parser.add_argument("--out", type=Path, default=Path("out/public"), help="folder")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="these alone")
    parser.add_argument("--seconds", type=float, default=1800.0, help="what a network may take")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument("--here", action="store_true", help="in this process, without a table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
