"""What operators cost on a board, measured once and kept.

An operator's cost depends on its type, its attributes and the shapes of what it reads and writes,
so it is kept by these, in one file per core and runtime. Files of other networks share it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx

from toolchain.arm.counting import Ran
from toolchain.errors import AnalysisError
from toolchain.system.files import as_json, write_bytes
from toolchain.widths.template import Node, Template, Widths

TOGETHER = 16
"""Files that one process of the board runs: starting it takes as long as several of them."""

Run = Callable[[Sequence[Path]], list[Ran]]
"""Runs files on the board."""


@dataclass(frozen=True)
class Operator:
    """One that the runtime runs, of a template."""

    kind: str
    """As the runtime calls it, how many inputs it has, and what the file has in its place."""
    node: Node

    @property
    def groups(self) -> frozenset[str]:
        """Those whose widths its cost depends on."""
        return self.node.groups

    def key(self, removed: Widths) -> str:
        """Return what its cost depends on, when groups have lost so many channels."""
        return f"{self.kind}: {self.node.shapes(removed)}"


@dataclass
class Book:
    """Costs by key, in memory and in a file that several processes may share."""

    path: Path
    costs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, cache: Path, conditions: Sequence[str]) -> Book:
        """Return the costs that were measured under the very same conditions."""
        digest = hashlib.sha256("\n".join(conditions).encode()).hexdigest()[:16]
        book = cls(cache / "operators" / f"{digest}.json")
        book.costs = book._read()
        return book

    def add(self, found: Mapping[str, int]) -> None:
        """Take in costs, with those that others have written meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.costs = {**found, **self.costs, **self._read()}
            write_bytes(self.path, as_json(dict(sorted(self.costs.items()))))

    def _read(self) -> dict[str, int]:
        """Return what the file holds; one that is damaged is measured again."""
        try:
            content = json.loads(self.path.read_bytes())
            return {str(key): int(cost) for key, cost in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


class Touching(Protocol):
    """What the runtime runs, of a network at any widths."""

    @property
    def groups(self) -> frozenset[str]:
        """Those whose widths its cost depends on; none: the cost is fixed."""
        ...


class CostModel(ABC):
    """The costs of a network at any widths in one runtime: measured where they are asked for."""

    block = 1
    """Widths between two multiples of it cost what the wider one does."""
    template: Template
    book: Book

    @property
    @abstractmethod
    def operators(self) -> Sequence[Touching]:
        """What the runtime runs."""

    @abstractmethod
    def known(self, operator: Touching, widths: Widths) -> int | None:
        """Return what one of the operators takes at these widths; None if it is not measured."""

    @abstractmethod
    def measure(self, wanted: Sequence[Widths], on_stage: Callable[[str], None]) -> None:
        """Measure what is missing at these widths; each is kept at once."""

    def knows(self, widths: Widths) -> bool:
        """Tell whether the cost at these widths is measured, operator by operator."""
        return all(self.known(operator, widths) is not None for operator in self.operators)

    def total(self, widths: Widths) -> int:
        """Return the measured instructions at these widths; they must be known."""
        return sum(self.measured(operator, widths) for operator in self.operators)

    def measured(self, operator: Touching, widths: Widths) -> int:
        """Return what one of the operators takes at these widths; it must be known."""
        found = self.known(operator, widths)
        assert found is not None
        return found

    def measured_total(self, on_stage: Callable[[str], None]) -> Callable[[Widths], int]:
        """Return what gives the instructions at any widths, measured where they are not known."""

        def total(widths: Widths) -> int:
            self.measure([widths], on_stage)
            return self.total(widths)

        return total


class Costs(CostModel):
    """Those of onnxruntime, operator by operator, by its profiler."""

    def __init__(self, template: Template, book: Book, run: Run) -> None:
        """Run the whole network once, to learn which operators there are."""
        self.template, self.book, self.run = template, book, run
        (ran,) = run_files([template.file({})], run)
        self._operators = tuple(
            Operator(
                f"{each.type} of {inputs}, {_kind(template, each.name)}",
                template.nodes.get(each.name, Node(str(shapes), (), ())),
            )
            for each, (inputs, shapes) in zip(ran.operators, ran.shapes, strict=True)
        )
        self.names = tuple(each.name for each in ran.operators)
        self.book.add(self._found({}, ran))

    def keys(self, widths: Widths) -> list[str]:
        """Return the operators' keys at these widths."""
        removed = self.template.removed(widths)
        return [operator.key(removed) for operator in self.operators]

    @property
    def operators(self) -> Sequence[Operator]:
        """Those that the runtime's profiler names."""
        return self._operators

    def known(self, operator: Touching, widths: Widths) -> int | None:
        """Return what one of the operators takes at these widths; None if it is not measured."""
        assert isinstance(operator, Operator)
        return self.book.costs.get(operator.key(self.template.removed(widths)))

    def measure(self, wanted: Sequence[Widths], on_stage: Callable[[str], None]) -> None:
        """Measure what is missing at these widths, a few files at a time; each is kept at once."""
        missing = [widths for widths in wanted if not self.knows(widths)]
        for start in range(0, len(missing), TOGETHER):
            some = [each for each in missing[start : start + TOGETHER] if not self.knows(each)]
            if not some:
                continue
            if len(missing) > 1:
                on_stage(f"measure widths, {start} of {len(missing)} networks")
            files = [self.template.file(widths) for widths in some]
            for widths, ran in zip(some, run_files(files, self.run), strict=True):
                self.book.add(self._found(widths, ran))

    def _found(self, widths: Widths, ran: Ran) -> dict[str, int]:
        """Return the costs that a run at these widths told, by key."""
        names = tuple(each.name for each in ran.operators)
        if names != self.names:
            other = sorted(set(names) ^ set(self.names)) or ["their order"]
            raise AnalysisError(
                f"the runtime runs other operators at other widths ({other[0]}), so their costs "
                f"cannot be compared"
            )
        found: dict[str, list[int]] = {}
        for key, each in zip(self.keys(widths), ran.operators, strict=True):
            found.setdefault(key, []).append(each.instructions)
        return {key: round(sum(costs) / len(costs)) for key, costs in found.items()}


def _kind(template: Template, name: str) -> str:
    return template.nodes[name].kind if name in template.nodes else "made by the runtime"


def run_files(files: Sequence[onnx.ModelProto], run: Run) -> list[Ran]:
    """Run files of one process."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:04}.onnx" for number in range(len(files))]
        for path, file in zip(paths, files, strict=True):
            onnx.save(file, path)
        return run(paths)
