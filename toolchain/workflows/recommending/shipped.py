"""The networks that ship, as candidates for a board: from their metadata and tables alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolchain.arm.sysroot import runtime_of
from toolchain.arm.targets import Target, estimate
from toolchain.records.recommendation import Candidate, CandidateAccuracy, CandidateCost
from toolchain.records.run_folder import NCNN_FOLDER
from toolchain.workflows.recommending.commands import lines_of_member
from toolchain.zoo.costs import SIZE, plain_instructions
from toolchain.zoo.reading import Member, members


def shipped_candidates(
    model: str, target: Target, size: tuple[int, int] = SIZE, folder: Path | None = None
) -> Iterator[Candidate]:
    """Yield the shipped networks of ``model`` in ``folder`` (the toolchain's own)."""
    known = members(model, folder)
    whole = next((each for each in known if not each.rate and not each.widths), None)
    for member in known:
        accuracy = member.facts["accuracy"]
        yield Candidate(
            name=member.path.stem,
            kind="shipped",
            model=model,
            size=size,
            accuracy=CandidateAccuracy(
                accuracy["easy"],
                accuracy["medium"],
                accuracy["hard"],
                accuracy["protocol"],
                accuracy["photos"],
            ),
            parameters=member.parameters,
            cost=_cost(member, whole, target, size),
            next=lines_of_member(member, target, size),
        )


def _cost(
    member: Member, whole: Member | None, target: Target, size: tuple[int, int]
) -> CandidateCost | None:
    """Return what its ncnn file takes; None on a board without ncnn or a table of its layers.

    Layers grow with the pixels, but for what a layer takes in any case, so that scaling tells too
    much for larger inputs, and too little for smaller ones.
    """
    known = member.instructions.get(target.core)
    if known is None or "ncnn" not in target.runtimes.values():
        return None
    unpruned = whole.instructions.get(target.core) if whole is not None else None
    plain = plain_instructions().get(member.model, {}).get(target.core)
    instructions = round(known * (size[0] * size[1]) / (SIZE[0] * SIZE[1]))
    return CandidateCost(
        file=NCNN_FOLDER,
        runtime=runtime_of(".param", target),
        how="estimated" if size == SIZE else "scaled",
        milliseconds=estimate(instructions, target),
        instructions=instructions,
        of_unpruned=known / unpruned if unpruned else None,
        of_plain=known / plain if plain else None,
        size_bytes=member.ncnn_bytes,
    )
