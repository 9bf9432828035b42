"""Which candidate to take: what is beaten, what a wish asks for, and what comes nearest to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from toolchain.records.recommendation import Candidate, CandidateAccuracy, Wish

CAMERA_MS = 1000 / 30
"""What a picture may take where a camera gives 30 a second."""


def judged(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates, each with the one that beats it by most accuracy."""
    return tuple(replace(each, beaten_by=_better(each, candidates)) for each in candidates)


def own(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return those that can be taken: all but the peers."""
    return [each for each in candidates if each.kind != "peer"]


def _better(candidate: Candidate, others: Sequence[Candidate]) -> str | None:
    better = [other for other in others if beats(other, candidate)]
    best = max(better, key=lambda other: (_mean(other), -_ms(other)), default=None)
    return None if best is None else best.name


def beats(one: Candidate, other: Candidate) -> bool:
    """Tell whether ``one`` is no slower and nowhere less accurate, and better in one of these.

    Only what was measured alike, at one size of input, can be compared.
    """
    if one.accuracy is None or other.accuracy is None or one.cost is None or other.cost is None:
        return False
    if one.size != other.size or not one.accuracy.is_like(other.accuracy):
        return False
    ours, theirs = _figures(one, one.accuracy), _figures(other, other.accuracy)
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def _figures(candidate: Candidate, accuracy: CandidateAccuracy) -> tuple[float, ...]:
    return accuracy.easy, accuracy.medium, accuracy.hard, -_ms(candidate)


def choose(candidates: Sequence[Candidate], wish: Wish) -> Candidate | None:
    """Return the candidate to take; None where nothing is known to meet the wish.

    Without a wish: the most accurate that keeps up with a camera, where none does the fastest.
    Peers are none to take, and what is not known, accuracy or time, meets no wish.
    """
    return _first(own(candidates), wish)


def ahead(candidates: Sequence[Candidate], wish: Wish) -> Candidate | None:
    """Return the peer that would be taken if peers could be; None where none would."""
    first = _first(candidates, wish)
    return first if first is not None and first.kind == "peer" else None


def _first(candidates: Sequence[Candidate], wish: Wish) -> Candidate | None:
    if wish.is_told:
        met = [each for each in candidates if meets(each, wish)]
        return _fastest(met) if wish.max_ms is None else _most_accurate(_alike(met) or met)
    timed = [each for each in candidates if each.cost is not None]
    if not timed:
        return _most_accurate(_alike(candidates))
    swift = [each for each in _alike(timed) if _ms(each) <= CAMERA_MS]
    return _most_accurate(swift) or _fastest(timed)


def _alike(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those whose accuracy was measured as that of most was; others cannot be ranked."""
    known = [each.accuracy for each in candidates if each.accuracy is not None]
    if not known:
        return []
    usual = max(known, key=lambda one: sum(one.is_like(other) for other in known))
    return [each for each in candidates if each.accuracy and each.accuracy.is_like(usual)]


def meets(candidate: Candidate, wish: Wish) -> bool:
    """Tell whether a candidate is known to do what is wished."""
    accuracy = candidate.accuracy
    if wish.min_ap is not None and (accuracy is None or accuracy.at(wish.level) < wish.min_ap):
        return False
    return wish.max_ms is None or (candidate.cost is not None and _ms(candidate) <= wish.max_ms)


def conditions_of(wish: Wish) -> Iterator[str]:
    """Yield what a candidate must have, in words."""
    if wish.min_ap is not None:
        level = "a mean" if wish.level == "mean" else f"{wish.level.capitalize()}"
        yield f"{level} AP of at least {wish.min_ap:g}"
    if wish.max_ms is not None:
        yield f"a time of at most {wish.max_ms:g} ms"


def rule_of(wish: Wish, candidates: Sequence[Candidate]) -> str:
    """Return in words how :func:`choose` chooses."""
    candidates, conditions = own(candidates), " and ".join(conditions_of(wish))
    if wish.max_ms is not None:
        return f"the most accurate (mean AP) of those with {conditions}"
    if wish.min_ap is not None:
        return f"the fastest of those with {conditions}"
    if all(each.cost is None for each in candidates):
        return "the most accurate (mean AP), for no time is known"
    if any(_ms(each) <= CAMERA_MS for each in _alike(candidates)):
        return "the most accurate (mean AP) that keeps up with a camera's 30 pictures a second"
    return "the fastest, for none of known AP keeps up with a camera's 30 pictures a second"


def nearest(candidates: Sequence[Candidate], wish: Wish) -> Candidate | None:
    """Return what comes nearest to a wish that nothing meets; None where nothing is known."""
    candidates = own(candidates)
    if wish.max_ms is not None:
        swift = [each for each in candidates if meets(each, Wish(max_ms=wish.max_ms))]
        if wish.min_ap is None or not swift:
            return _fastest([each for each in candidates if each.cost is not None])
        candidates = swift
    known = [each for each in candidates if each.accuracy is not None]
    return max(
        known,
        key=lambda each: each.accuracy.at(wish.level) if each.accuracy else 0.0,
        default=None,
    )


def _fastest(candidates: Sequence[Candidate]) -> Candidate | None:
    return min(
        candidates,
        key=lambda each: (_ms(each), -_mean(each), each.parameters),
        default=None,
    )


def _most_accurate(candidates: Sequence[Candidate]) -> Candidate | None:
    return max(
        candidates,
        key=lambda each: (_mean(each), -_ms(each), -each.parameters),
        default=None,
    )


def _mean(candidate: Candidate) -> float:
    return candidate.accuracy.mean if candidate.accuracy else -1.0


def _ms(candidate: Candidate) -> float:
    """Return the middle of the time; endless where nothing is known of it."""
    return candidate.cost.milliseconds.mid if candidate.cost else float("inf")
