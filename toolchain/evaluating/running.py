"""One evaluation run: sample by sample, each kept as soon as it is known, so that it can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import toolchain
from toolchain.deploy import detect
from toolchain.detection.claiming import claimed, writing
from toolchain.errors import DataError, InputError
from toolchain.evaluating.boxes import COCO_MAP
from toolchain.evaluating.functions import Score, checked_figures, figures_of, find_function
from toolchain.evaluating.masks import MIOU
from toolchain.evaluating.model import Model
from toolchain.evaluating.points import POINTS
from toolchain.evaluating.samples import BuiltIn, Sample, hash_of, spread
from toolchain.evaluating.top import TOP
from toolchain.recipe import Recipe
from toolchain.records.accuracy import BrokenPhoto
from toolchain.records.figures import DataFacts, Figures
from toolchain.system.files import sha256_of

OnSample = Callable[[int, int], None]
"""Called with how many samples are done, and of how many."""
BUILT_IN: dict[str, BuiltIn] = {"top": TOP, "miou": MIOU, "coco": COCO_MAP, "points": POINTS}
RESULTS = "results.jsonl"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """An evaluation that can be run on any model of a recipe; its data were read."""

    function: str
    data: Path
    facts: DataFacts
    score: Score | None = None
    """A function of one's own; None for a built-in one."""
    samples: tuple[Sample, ...] = ()

    def figures(
        self,
        model: Model,
        kept: Path | None = None,
        sha256: str = "",
        on_sample: OnSample = lambda _done, _total: None,
    ) -> Figures:
        """Evaluate a model; built-in evaluations go on with what ``kept`` holds of ``sha256``.

        Raises :class:`InputError` in one line for whatever is wrong.
        """
        start = time.perf_counter()
        if self.score is not None:
            values = figures_of(self.score, self.function, model, self.data)
            return Figures(self.function, values, self.facts, (), time.perf_counter() - start)
        if kept is None:
            found = _looked(self, model, {}, lambda _: None, on_sample)
            return _added_up(self, found, start, 0)
        identity = _identity(self, model.recipe, sha256)
        with claimed(kept, identity, "results"):
            known = _read(kept / RESULTS)
            with writing(kept, 0), (kept / RESULTS).open("a", encoding="utf-8") as stream:
                stream.write("\n" if stream.tell() else "")  # after a line that was left half

                def keep(line: dict[str, Any]) -> None:
                    stream.write(json.dumps(line) + "\n")
                    stream.flush()

                found = _looked(self, model, known, keep, on_sample)
            resumed = sum(sample.name in known for sample in self.samples)
            return _added_up(self, found, start, resumed)


def evaluator(
    recipe: Recipe, data: Path, *, limit: int | None = None, score: Score | None = None
) -> Evaluator:
    """Return what evaluates models of a recipe on the data in a folder.

    ``score`` is a function of one's own, in place of what the recipe names. Raises
    :class:`InputError` for data that are none, and where the recipe names nothing.
    """
    name = recipe.evaluation if score is None else _called(score)
    if name is None or name == "wider":
        raise InputError(
            f"{recipe.model.name} is no face detector that is known here, and its recipe names "
            f"nothing else that evaluates it; say evaluate.function in the recipe: "
            f"{', '.join(BUILT_IN)}, or module:function of your own"
        )
    if not data.is_dir():
        raise DataError(f"{data}: is no folder; give the data that evaluate.function takes")
    if name in BUILT_IN:
        listed = BUILT_IN[name].read(data, recipe)
        samples = spread(listed, limit)
        facts = DataFacts(data.resolve().name, len(samples), len(listed), hash_of(samples))
        return Evaluator(name, data, facts, None, samples)
    if limit is not None:
        raise InputError(
            f"--limit is for {', '.join(BUILT_IN)}; {name} decides itself what it sees"
        )
    return Evaluator(name, data, _facts(data), score or find_function(name))


def _called(score: Score) -> str:
    name = getattr(score, "__qualname__", type(score).__qualname__)
    return f"{getattr(score, '__module__', '?')}:{name}".replace("<locals>.", "")


def _facts(data: Path) -> DataFacts:
    """Return what a function of one's own may see: all files of the folder, by name and bytes."""
    digest, count = hashlib.sha256(), 0
    for path in sorted(data.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(data).as_posix()}\0{sha256_of(path)}\0".encode())
            count += 1
    return DataFacts(data.resolve().name, count, count, digest.hexdigest())


def _identity(asked: Evaluator, recipe: Recipe, sha256: str) -> dict[str, Any]:
    """Return what kept results belong to."""
    return {
        "weights": sha256,
        "function": asked.function,
        "data": asked.facts.sha256,
        "input": dataclasses.asdict(recipe.input),
        "task": dataclasses.asdict(recipe.task),
        "version": toolchain.__version__,
    }


def _looked(
    asked: Evaluator,
    model: Model,
    known: dict[str, dict[str, Any]],
    keep: Callable[[dict[str, Any]], None],
    on_sample: OnSample,
) -> dict[str, dict[str, Any]]:
    """Return what is found of every sample, by its name: ``found``, or ``broken`` with why."""
    results = dict(known)
    total = len(asked.samples)
    on_sample(0, total)
    for done, sample in enumerate(asked.samples, start=1):
        if sample.name not in results:
            line = {"name": sample.name, **_look(asked, model, sample)}
            keep(line)
            results[sample.name] = line
        on_sample(done, total)
    return results


def _look(asked: Evaluator, model: Model, sample: Sample) -> dict[str, Any]:
    try:
        pixels = detect.read_image(sample.picture, upright=BUILT_IN[asked.function].upright)
    except detect.DetectError as error:
        return {"broken": str(error).removeprefix(f"{sample.picture}: ")}
    try:
        return {"found": BUILT_IN[asked.function].look(model, pixels, sample)}
    except InputError:
        raise
    except Exception as error:  # runtimes' errors share no root but Exception
        raise InputError(f"{model.name} on {sample.name}: {detect.one_line(error)}") from error


def _added_up(
    asked: Evaluator, results: dict[str, dict[str, Any]], start: float, resumed: int
) -> Figures:
    lines: Sequence[dict[str, Any]] = [results[sample.name] for sample in asked.samples]
    values = BUILT_IN[asked.function].add_up(asked.samples, [line.get("found") for line in lines])
    broken = tuple(BrokenPhoto(line["name"], line["broken"]) for line in lines if "broken" in line)
    return Figures(
        asked.function,
        checked_figures(values, asked.function),
        asked.facts,
        broken,
        time.perf_counter() - start,
        resumed,
    )


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read what an earlier run kept; a line that a killed run left half is run again."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    known = {}
    for line in lines:
        try:
            entry = json.loads(line)
            known[str(entry["name"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return known
