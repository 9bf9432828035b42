"""The whole answer for a board: candidates of names and folders, the one to take, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from toolchain.arm.targets import Target
from toolchain.errors import InputError, did_you_mean
from toolchain.models import detector
from toolchain.records.recommendation import Candidate, Recommendation, Wish
from toolchain.workflows.recommending.choosing import ahead, choose, judged, rule_of
from toolchain.workflows.recommending.folders import folder_candidate
from toolchain.workflows.recommending.notes import notes_on
from toolchain.workflows.recommending.peers import peer_candidates
from toolchain.workflows.recommending.shipped import shipped_candidates
from toolchain.zoo.costs import SIZE
from toolchain.zoo.reading import members


def recommend(
    places: Sequence[str],
    target: Target,
    wish: Wish,
    size: tuple[int, int] | None,
    cache: Path,
) -> Recommendation:
    """Return what there is for the board: networks that ship by model, and output folders.

    Without ``places`` that is all that ships. ``size`` is the input of those that ship, 320x320 if
    it is None; folders have their own. Nothing is run, so this takes a moment. Raises
    :class:`InputError` for what is neither a model nor an output folder of ``shrink``.
    """
    found = tuple(
        candidate
        for place in dict.fromkeys(places or _shipped())
        for candidate in _candidates(place, target, size or SIZE, cache)
    )
    if size is not None and all(each.kind == "folder" for each in found):
        raise InputError("--size is of networks that ship; the files of a folder have their own")
    detectors = [each for each in found if each.model in detector.names()]
    peers = peer_candidates(target, detectors[0].size) if detectors else ()
    candidates = judged((*found, *peers))
    chosen = choose(candidates, wish)
    return Recommendation(
        target.key,
        target.name,
        target.core,
        target.clock_hz,
        wish,
        rule_of(wish, candidates),
        candidates,
        None if chosen is None else chosen.name,
        (*notes_on(candidates, target), *_on_peers(candidates, wish)),
    )


def _shipped() -> list[str]:
    """Return the detectors of which networks ship."""
    return [name for name in detector.names() if members(name)]


def _on_peers(candidates: Sequence[Candidate], wish: Wish) -> Iterator[str]:
    peer = ahead(candidates, wish)
    if peer is not None:
        yield f"By the same rule {peer.name} would come first; it does not ship with this tool."


def _candidates(
    place: str, target: Target, size: tuple[int, int], cache: Path
) -> Iterator[Candidate]:
    if place in detector.names():
        shipped = tuple(shipped_candidates(place, target, size))
        if not shipped:
            raise InputError(f"no network of {place} is shipped; give an output folder of shrink")
        yield from shipped
    elif Path(place).is_dir():
        yield folder_candidate(Path(place), target, cache)
    else:
        names = _shipped()
        raise InputError(
            f"{place}: is no model that ships ({', '.join(names)}) and no output folder of "
            f"toolchain shrink{did_you_mean(place, names)}"
        )
