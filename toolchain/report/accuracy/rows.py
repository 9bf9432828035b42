"""The rows of the tables: each checkpoint's measured figures beside the paper's, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolchain.data.published.reading import paper_rows
from toolchain.records.accuracy import LEVELS, Evaluation, Member, PublishedRow
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import NOTHING, figure, same_figure
from toolchain.report.accuracy.sizes import row_label

SAME_NETWORK = "same network: nothing was removed"
NOT_EVALUATED = "not evaluated"
ORDER = ("original", "reproduced", "pruned")


@dataclass(frozen=True)
class Row:
    """A checkpoint: the paper's row, the measured one, or both."""

    model: str
    published: PublishedRow | None
    member: Member | None

    @property
    def label(self) -> str:
        """``FPGM 10 %``, ``reproduced``; the file's name for one's own."""
        known = self.published or self.member
        assert known is not None
        if self.member is not None and self.published is None:
            return wording.clean(self.member.name)
        return row_label(known)

    def measured(self, level: str) -> float | None:
        """Return the soft network's average precision."""
        return None if self.member is None else self.member.soft.ap(level)

    def paper(self, level: str) -> float | None:
        """Return the published average precision."""
        return None if self.published is None else self.published.ap(level)


def models(members: Sequence[Member]) -> tuple[str, ...]:
    """Return the models that get a table: the paper's two in its order, then others."""
    paper = dict.fromkeys(row.model for row in paper_rows())
    return tuple(dict.fromkeys([*paper, *(member.model for member in members)]))


def rows_of(model: str, members: Sequence[Member]) -> list[Row]:
    """Return a model's rows: original, reproduced, pruned by rate and criterion; then one's own.

    A row of the paper that was not measured is there without a member.
    """
    own = [member for member in members if member.model == model]
    rows = [Row(model, member.published, member) for member in own]
    done = {member.published for member in own}
    rows += [
        Row(model, row, None) for row in paper_rows() if row.model == model and row not in done
    ]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[int, float, str, str]:
    known = row.published or row.member
    assert known is not None
    place = ORDER.index(known.variant) if known.variant in ORDER else len(ORDER)
    return place, known.rate or 0.0, known.criterion or "", row.label


def evaluations_of(members: Sequence[Member]) -> list[Evaluation]:
    """Return all evaluations of the members, soft and shrunk."""
    return [item for member in members for item in (member.soft, member.shrunk) if item is not None]


def equal(member: Member) -> bool | None:
    """Return whether soft and shrunk AP are the same to 4 decimals; None: no shrunk evaluation."""
    shrunk = member.shrunk
    if shrunk is None:
        return None
    return all(same_figure(member.soft.ap(level), shrunk.ap(level)) for level in _levels(member))


def _levels(member: Member) -> tuple[str, ...]:
    return tuple(curve.level for curve in member.soft.curves) or LEVELS


def shrunk_words(member: Member | None) -> str:
    """Return the shrunk network's average precisions, easiest first, or why there are none."""
    if member is None:
        return NOTHING
    if member.shrunk is not None:
        shrunk = member.shrunk
        return ", ".join(figure(shrunk.ap(level)) for level in LEVELS)
    return SAME_NETWORK if member.nothing_removed else NOT_EVALUATED


def equal_words(member: Member | None) -> str:
    """Return whether shrinking changed the average precision."""
    if member is None:
        return NOTHING
    verdict = equal(member)
    if verdict is None:
        return "same network" if member.nothing_removed else NOTHING
    return "yes" if verdict else "NO"


def millions(number: int) -> str:
    """Return a large count in millions: ``324.9 M``."""
    return f"{wording.decimal(number / 1e6, 1)} M"


def arrow(before: int, after: int, words: Callable[[int], str] = wording.count) -> str:
    """Return ``91,342 → 87,296`` and the change, or the one number where nothing changed."""
    if before == after:
        return words(before)
    return f"{words(before)} → {words(after)} ({wording.change(before, after)})"


def percent(share: float | None) -> str:
    """Return a figure that is in percent already: ``5.25 %``."""
    return NOTHING if share is None else f"{wording.decimal(share)} %"


def count(number: int | None) -> str:
    """Return a whole number; ``-`` for None."""
    return NOTHING if number is None else wording.count(number)
