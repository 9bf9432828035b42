"""How good a file is, by what its recipe names: for certificates and gates.

The data are read once, and before anything that takes long.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from toolchain.data.wider import Split, read_split
from toolchain.detection.opening import plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.errors import DataError
from toolchain.evaluating.functions import Score
from toolchain.evaluating.model import file_model
from toolchain.evaluating.running import Evaluator, evaluator
from toolchain.recipe import Recipe
from toolchain.records.accuracy import OVERLAPS, ProtocolName
from toolchain.records.figures import Accuracy
from toolchain.records.members import MemberAccuracy
from toolchain.workflows.evaluation import Settings, evaluate

SINGLE: ProtocolName = "single"
"""The protocol by which face detectors are measured."""


class AccuracyMeasure:
    """Measures files on the data in a folder: average precision of faces, or the recipe's figures.

    ``score`` is a function of one's own in place of what the recipe names; ``on_file`` is told what
    is measured as it begins.
    """

    def __init__(
        self,
        data: Path,
        on_file: Callable[[str], None] = lambda _words: None,
        score: Score | None = None,
    ) -> None:
        self.data = data
        self.score = score
        self._on_file = on_file
        self._known: dict[str, Evaluator | Split] = {}

    def prepare(self, recipe: Recipe) -> None:
        """Read the data that a recipe needs; raise :class:`InputError` if they are none."""
        self._evaluator(recipe)

    def __call__(self, path: Path, recipe: Recipe) -> Accuracy:
        """Return how good a file is; raises :class:`InputError` where that cannot be told."""
        asked = self._evaluator(recipe)
        if isinstance(asked, Split):
            self._on_file(f"average precision of {path.name}")
            return _average_precision(path, asked)
        self._on_file(f"{asked.function} of {path.name}")
        return asked.figures(file_model(path, recipe))

    def _evaluator(self, recipe: Recipe) -> Evaluator | Split:
        key = repr((recipe.evaluation, recipe.task))
        if key not in self._known:
            if self.score is None and recipe.evaluation == "wider":
                self._known[key] = _photos(self.data)
            else:
                self._known[key] = evaluator(recipe, self.data, score=self.score)
        return self._known[key]


def _photos(data: Path) -> Split:
    photos = read_split(data, "val")
    if not photos.levels:
        raise DataError(f"{data}: its val has no ground truth, so no average precision is known")
    return photos


def _average_precision(path: Path, photos: Split) -> MemberAccuracy:
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_for(path, PROTOCOLS[SINGLE])
        found = evaluate(plan, photos, Settings(Path(folder)), lambda *_: None).evaluation
    easy, medium, hard = (found.ap(level) or 0.0 for level in ("easy", "medium", "hard"))
    return {
        "protocol": SINGLE,
        "photos": found.sample.images,
        "overlaps": found.subject.settings.get(OVERLAPS),
        "easy": easy,
        "medium": medium,
        "hard": hard,
    }
