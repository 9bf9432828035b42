"""How good both ends of a link are, held against what may be lost."""

from __future__ import annotations

import dataclasses

from toolchain.errors import InputError
from toolchain.lineage.links import Kind, limits_of
from toolchain.recipe import Recipe
from toolchain.records.certificate import Link, Precision
from toolchain.records.figures import Accuracy, Figures
from toolchain.records.members import MemberAccuracy
from toolchain.records.scores import FigureChange, Scores


def scored_link(link: Link, kind: Kind, recipe: Recipe, before: Accuracy, after: Accuracy) -> Link:
    """Return the link with what was measured of both ends; it may break by that."""
    lost = limits_of(kind, recipe.proof).lost
    assert lost is not None
    if isinstance(before, Figures) and isinstance(after, Figures):
        return dataclasses.replace(link, scores=scores_between(before, after, recipe, lost))
    assert not isinstance(before, Figures)
    assert not isinstance(after, Figures)
    return dataclasses.replace(link, precision=_precision(before, after, lost))


def scores_between(before: Figures, after: Figures, recipe: Recipe, lost: float) -> Scores:
    """Return every figure of both ends; ``lost`` is what may be lost where nothing else is said.

    Raises :class:`InputError` where both ends do not have the same figures.
    """
    if before.values.keys() != after.values.keys():
        raise InputError(
            f"{before.function} gave {', '.join(before.values)} of one file and "
            f"{', '.join(after.values)} of another; it must give the same figures of all"
        )
    asked = recipe.evaluate
    return Scores(
        before.function,
        before.data.words,
        tuple(
            FigureChange(
                name,
                value,
                after.values[name],
                asked.most_lost.get(name, lost) if asked.is_judged(name) else None,
                asked.is_lower(name),
            )
            for name, value in before.values.items()
        ),
    )


def _precision(before: MemberAccuracy, after: MemberAccuracy, lost: float) -> Precision:
    levels = [(each["easy"], each["medium"], each["hard"]) for each in (before, after)]
    return Precision(before["protocol"], before["photos"], levels[0], levels[1], lost)
