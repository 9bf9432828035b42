"""Detectors of others that were measured alike, beside what ships."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.arm.targets import Target, estimate
from toolchain.data.published.reading import measured_peers
from toolchain.records.accuracy import MeasuredPeer
from toolchain.records.recommendation import Candidate, CandidateAccuracy, CandidateCost


def peer_candidates(target: Target, size: tuple[int, int]) -> Iterator[Candidate]:
    """Yield the peers; at another size than they were counted at, their costs are scaled."""
    for peer in measured_peers():
        yield Candidate(
            name=peer.name,
            kind="peer",
            model=peer.name,
            size=size,
            accuracy=CandidateAccuracy(
                peer.easy, peer.medium, peer.hard, peer.protocol, peer.photos
            ),
            parameters=peer.parameters,
            cost=_cost(peer, target, size),
            next=(),
            notes=(f"{peer.name} is by others, and stands here to compare: {peer.where}.",),
        )


def _cost(peer: MeasuredPeer, target: Target, size: tuple[int, int]) -> CandidateCost | None:
    known = peer.instructions.get(target.core)
    if known is None or peer.runtime.split()[0] not in target.runtimes.values():
        return None
    instructions = round(known * (size[0] * size[1]) / (peer.size[0] * peer.size[1]))
    return CandidateCost(
        file="model.onnx",
        runtime=peer.runtime,
        how="counted" if size == peer.size else "scaled",
        milliseconds=estimate(instructions, target),
        instructions=instructions,
        size_bytes=peer.size_bytes,
    )
