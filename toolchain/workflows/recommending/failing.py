"""What is said where nothing meets a wish: what comes nearest, and what would do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from toolchain.arm.targets import Target
from toolchain.errors import WishError
from toolchain.models import detector
from toolchain.records.recommendation import Candidate, Recommendation, Wish
from toolchain.workflows.recommending.choosing import choose, conditions_of, nearest, own
from toolchain.workflows.recommending.shipped import shipped_candidates

STEP, LEAST = 32, 96
"""Sides of an input that is named: multiples of the first, from the second on."""
FIXED = 0.16
"""Share of its time at 320x320 that a network takes whatever the input: of EResFD, whose 26.4 M
instructions are estimated to become 70.9 at 480x640."""


def demand_chosen(found: Recommendation, target: Target) -> None:
    """Raise :class:`WishError`, in one line, if something was wished and nothing meets it."""
    wish = found.wish
    if found.chosen is not None or not wish.is_told:
        return
    near = nearest(found.candidates, wish)
    conditions = " and ".join(conditions_of(wish))
    wanted = f"on a {found.board} nothing of these is known to have {conditions}"
    if near is None:
        raise WishError(f"{wanted}: {_lacking(own(found.candidates), wish)}")
    words = [f"nearest is {near.name} with {_figure(near, wish)}", *_ways_out(found, near, target)]
    raise WishError(f"{wanted}; {'; '.join(words)}")


def _lacking(candidates: Sequence[Candidate], wish: Wish) -> str:
    if wish.max_ms is not None and all(each.cost is None for each in candidates):
        return "what they take there is not known, toolchain check counts it"
    return "their AP is not known, toolchain evaluate measures it"


def _figure(candidate: Candidate, wish: Wish) -> str:
    told = []
    if candidate.accuracy is not None:
        told.append(f"{wish.level} AP {candidate.accuracy.at(wish.level):.3f}")
    if candidate.cost is not None:
        told.append(f"{candidate.cost.milliseconds.mid:.1f} ms")
    return ", ".join(told)


def _ways_out(found: Recommendation, near: Candidate, target: Target) -> Iterator[str]:
    """Yield what would meet the wish, as far as it can be told."""
    wish = found.wish
    others = [name for name in detector.names() if name not in {c.model for c in found.candidates}]
    more = [c for name in others for c in shipped_candidates(name, target, near.size)]
    other = choose(more, wish)
    if other is not None:
        yield f"{other.name} would do, with {_figure(other, wish)}"
    if wish.level == "mean" and wish.min_ap is not None:
        easy = choose(found.candidates, Wish(wish.min_ap, "easy", wish.max_ms))
        if easy is not None:
            yield f"its Easy level alone is reached by {easy.name} (--min-ap easy={wish.min_ap:g})"
    if wish.max_ms is not None and near.cost is not None and near.model in detector.names():
        if near.cost.milliseconds.mid > wish.max_ms:
            yield from _smaller(near, wish.max_ms)
        yield (
            f"toolchain plan {near.model} --target {found.target} --latency {wish.max_ms:g}ms "
            f"looks for widths that do, which are then to be trained"
        )


def _smaller(near: Candidate, max_ms: float) -> Iterator[str]:
    """Yield the input at which a network would be fast enough, by what its pixels take."""
    assert near.cost is not None
    share = (max_ms / near.cost.milliseconds.mid - FIXED) / (1 - FIXED)
    height, width = (int(math.sqrt(max(share, 0)) * side) // STEP * STEP for side in near.size)
    if min(height, width) >= LEAST:
        yield f"a smaller input would do, about {height}x{width}, which finds fewer small faces"
