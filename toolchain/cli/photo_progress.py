"""Photos done and time left, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from toolchain.cli.app import messages
from toolchain.cli.progress import LINE_EVERY_SECONDS


@contextlib.contextmanager
def photo_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show photos done and time left: a bar in a terminal, a line now and then elsewhere."""
    if not messages.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=messages) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(escape(name), total=total, completed=done)
            progress.update(tasks[name], completed=done)

        yield show


@dataclass
class _Lines:
    """Tells progress in lines, where there is no terminal."""

    name: str = ""
    start: float = 0.0
    first: int = 0
    told: float = 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if self.name != name:
            self.name, self.start, self.first = name, now, done
        elif now - self.told < LINE_EVERY_SECONDS and done < total:
            return
        self.told = now
        pace = (done - self.first) / max(now - self.start, 1e-9)
        left = f", {(total - done) / pace:.0f} s left" if pace and done < total else ""
        messages.print(f"{name}: {done} of {total} photos{left}", markup=False)
