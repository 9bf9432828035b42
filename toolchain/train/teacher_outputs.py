"""What a teacher does, block by block: which blocks, what they are given, and what they give."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.exporting.fold import paired_norms

FACE_SCORE_FLOOR, FACE_SCORE_SPAN = 0.15, 0.5
"""A teacher's background scores are near 0.1; from 0.65 on a pixel counts as a face in full."""


def names_of(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the modules that a pattern names; ``*`` does not reach over a dot."""
    return [
        name
        for name, _ in network.named_modules()
        if any(
            fnmatch.fnmatchcase(name, pattern) and name.count(".") == pattern.count(".")
            for pattern in patterns
        )
    ]


def layers_by_name(network: nn.Module, example: Tensor) -> dict[str, nn.Module]:
    """Return all that holds parameters, a convolution together with its batch norm.

    Each stands under the name of its first module, which in a network whose batch norms are folded
    gives what the pair gives. ``example`` is an input (1, C, H, W). Sets ``network`` to eval mode.
    """
    norms = {id(layer.module): norm for layer, norm in paired_norms(network.eval(), example)}
    paired = {id(norm) for norm in norms.values()}
    found: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)) or id(module) in paired:
            continue
        norm = norms.get(id(module))
        found[name] = module if norm is None else nn.Sequential(module, norm)
    return found


Value = Tensor | list[Tensor]


Call = tuple[str, int]
"""A block's name, and which of its calls: 0 is the first."""


@dataclass(frozen=True)
class Seen:
    """One call of one block."""

    call: Call
    given: Value
    gave: Value


@contextmanager
def watching(network: nn.Module, names: Sequence[str]) -> Iterator[list[Seen]]:
    """Note what the blocks ``names`` are given and give, in order, while the block runs."""
    seen: list[Seen] = []
    with hearing(network, names, seen.append):
        yield seen


@contextmanager
def hearing(
    network: nn.Module, names: Sequence[str], hear: Callable[[Seen], object]
) -> Iterator[None]:
    """Tell ``hear`` of each call of the blocks ``names`` in one run of the network."""
    calls: Counter[str] = Counter()

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, given: tuple[Value, ...], gave: Value) -> None:
            # Lists are copied: a network may put other tensors into its own.
            hear(Seen((name, calls[name]), _copied(given[0]), _copied(gave)))
            calls[name] += 1

        return hook

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(note(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copied(value: Value) -> Value:
    return value if isinstance(value, Tensor) else list(value)


def tensors(value: Value) -> list[Tensor]:
    """Return the tensors of what a block is given, or gives, in order."""
    return [value] if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher says about a batch."""

    loc: Tensor
    """(N, P, 4)."""
    logits: Tensor
    """(N, P, 2)."""
    face: Tensor
    """(N, P) from 0 (background) to 1 (a face for sure)."""
    seen: tuple[Seen, ...]


def teacher_outputs(teacher: nn.Module, images: Tensor, names: Sequence[str]) -> TeacherOutputs:
    """Run the teacher on (N, 3, H, W) and note what its blocks do."""
    with torch.no_grad(), watching(teacher, names) as seen:
        loc, logits = teacher(images)
    return TeacherOutputs(loc, logits, face_weight(logits), tuple(seen))


def face_weight(logits: Tensor) -> Tensor:
    """Return how much of a face logits (N, P, 2) see at each anchor (N, P), from 0 to 1."""
    score = logits.softmax(dim=2)[:, :, 1]
    return ((score - FACE_SCORE_FLOOR) / FACE_SCORE_SPAN).clamp(0, 1)


def face_map(face: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Lay the anchors' weights (N, P), levels of ``shapes`` in order, on one map of the finest.

    Every level is enlarged to the finest and the largest counts: (N, 1, H_0, W_0).
    """
    levels = face.split([rows * columns for rows, columns in shapes], dim=1)
    maps = [
        F.interpolate(level.view(-1, 1, *shape), size=shapes[0], mode="nearest")
        for level, shape in zip(levels, shapes, strict=True)
    ]
    return torch.stack(maps).amax(dim=0)


def level_shapes(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return (rows, columns) of each level's cells."""
    return [(-(-height // stride), -(-width // stride)) for stride in strides]
