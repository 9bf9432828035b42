"""Parity measured: do two networks, or a network and its file, give the same output?"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import ParityError
from toolchain.records.parity import Figure, Parity, ParityCase
from toolchain.records.spots import STEPS, Ranges, channel_ranges, worst_spots
from toolchain.surgery.running import step_by_step
from toolchain.system.sessions import open_session
from toolchain.system.steps import step

ROUNDINGS = 8
"""So many roundings of an input tell how far a side is from its truth, where one does not."""

Outputs: TypeAlias = list[NDArray[np.floating]]
Runner: TypeAlias = Callable[..., Outputs]
"""Takes the tensors of an input, gives the outputs."""


@dataclass(frozen=True)
class ProofInput:
    """An input for a comparison, and what to call it."""

    name: str
    tensors: tuple[Tensor, ...]
    """As the network takes them; an image is float32 (N, C, H, W)."""
    is_flat: bool = False
    """True for one value everywhere: positions tie there, so that which of them is the largest is
    an accident of rounding, and whole numbers (indices) are not compared."""

    @property
    def image(self) -> Tensor:
        """The first tensor, the only one of most networks."""
        return self.tensors[0]


def random_inputs(
    shapes: Sequence[tuple[int, ...]], seed: int, scale: float = 64.0, middle: float = 0.0
) -> list[ProofInput]:
    """Return one random input per shape; ``scale`` is about that of an image minus its mean.

    They lie around ``middle``.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        ProofInput(
            f"random {'x'.join(map(str, (shape[0], *shape[2:])))}",
            (torch.randn(shape, generator=generator) * scale + middle,),
        )
        for shape in shapes
    ]


def run_network(network: nn.Module) -> Runner:
    """Return a function from an input to all output tensors of ``network``.

    A fused LSTM of oneDNN rounds three times as much, and otherwise at every width.
    """

    def run(*tensors: Tensor) -> Outputs:
        with torch.inference_mode(), step_by_step(network):
            outputs = network(*tensors)
        return [as_array(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]

    return run


def as_array(tensor: Tensor) -> NDArray[np.floating]:
    """Return a tensor's values; bfloat16, which NumPy does not know, as float32."""
    values: NDArray[np.floating] = (
        tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    ).numpy()
    return values


def in_double(run: Runner) -> Runner:
    """Return a side of float64 that takes what others take: floating inputs are widened."""

    def widened(*tensors: Tensor) -> Outputs:
        return run(*(each.double() if each.is_floating_point() else each for each in tensors))

    return widened


def remembered(run: Runner) -> Runner:
    """Return a side that runs each input once, however often it is asked."""
    known: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Outputs]] = {}

    def again(*tensors: Tensor) -> Outputs:
        key = tuple(map(id, tensors))
        if key not in known:
            known[key] = tensors, run(*tensors)  # held, so that no other gets their ids
        return known[key][1]

    return again


def run_onnx(path: Path) -> Runner:
    """Return the same for an ONNX file, run by onnxruntime on one thread."""
    session = open_session(path)
    names = [each.name for each in session.get_inputs()]

    def run(*tensors: Tensor) -> Outputs:
        fed = {name: each.numpy() for name, each in zip(names, tensors, strict=True)}
        return list(session.run(None, fed))

    return run


def compare(
    link: str,
    before: Runner,
    after: Runner,
    inputs: Sequence[ProofInput],
    *,
    limit: float,
    figure: Figure = "largest",
    truth: Runner | None = None,
    names: Sequence[str] = (),
    least_range: float = 0.0,
    flat_alone: bool = False,
    probabilities: Collection[int] = (),
) -> Parity:
    """Run both sides on all inputs and return how far apart they are; see :class:`Parity`.

    ``truth`` is what ``before`` would give without rounding, in float64: then ``after`` is held
    against that, and may be as far from it as ``before`` is itself, or as the truth moves when the
    input is rounded; flat inputs on which it moves by more than the limit are left out (see
    :func:`~toolchain.records.spots.worst_spots`, for ``least_range`` too). How far ``before`` is
    from it is looked at on this input, and where that is not enough on :data:`ROUNDINGS` that are
    this one but for rounding: what the last digits of one input make of one channel is an accident.
    ``names`` are of the outputs. A flat input shows a single point of a channel's range, so it is
    judged by the range on the others too, unless it stands ``flat_alone``. ``probabilities`` are
    the places of outputs that are known as such, see :mod:`~toolchain.exporting.probabilities`: a
    step of their type is one at 1. Raises :class:`ParityError` where both sides give other shapes.
    """
    cases = list[ParityCase]()
    ranges: Ranges = {}
    for proof in sorted(inputs, key=lambda each: each.is_flat):
        step(f"{link}: {proof.name}")
        exact = moved = None
        if truth is not None:
            exact, moved = truth(*proof.tensors), truth(*_rounded(proof.tensors))
            if proof.is_flat and _is_unsteady(exact, moved, limit):
                continue
        sides = before(*proof.tensors), after(*proof.tensors)
        if not proof.is_flat:
            ranges = channel_ranges(sides[0], ranges)
        judged = functools.partial(
            compare_outputs,
            proof,
            *sides,
            limit=limit,
            truth=exact,
            names=names,
            least_range=least_range,
            others=ranges if proof.is_flat and not flat_alone else None,
            probabilities=probabilities,
        )
        case = judged(moved=moved)
        if truth is not None and exact and moved and not _holds(case, figure, limit):
            step(f"{link}: {proof.name}, rounded in other ways")
            case = judged(moved=_moved_further(before, truth, proof, exact, moved))
        cases.append(case)
    return Parity(link, figure, limit, tuple(cases))


def _holds(case: ParityCase, figure: Figure, limit: float) -> bool:
    share = case.spot(figure).share(limit)
    return share is not None and share <= limit


def _moved_further(
    before: Runner, truth: Runner, proof: ProofInput, exact: Outputs, moved: Outputs
) -> Outputs:
    """Return the truth moved, at each place, as far as ``before`` is ever off where the input is
    rounded in other ways; whole numbers, which do not round, as they are in ``moved``."""
    floats = [at for at, each in enumerate(exact) if each.dtype.kind == "f"]
    further = [*moved]
    for seed in range(1, ROUNDINGS + 1):
        tensors = tuple(
            each.to(own.dtype)
            for each, own in zip(_rounded(proof.tensors, seed), proof.tensors, strict=True)
        )
        rounded, there = before(*tensors), truth(*tensors)
        for at in floats:
            if rounded[at].shape == there[at].shape == exact[at].shape:
                errors = np.abs(further[at] - exact[at]), np.abs(rounded[at] - there[at])
                further[at] = exact[at] + np.maximum(*errors)
    return further


def _is_unsteady(truth: Outputs, moved: Outputs, limit: float) -> bool:
    """Tell whether rounding the input alone moves the outputs by more than the limit.

    So a norm does that divides a flat image by next to nothing: there no comparison tells anything.
    """
    names = [""] * len(truth)
    share = worst_spots(names, truth, moved, None, None, limit)[0].share(limit)
    return share is None or share > limit


def compare_outputs(
    proof: ProofInput,
    before: Outputs,
    after: Outputs,
    *,
    limit: float,
    truth: Outputs | None = None,
    moved: Outputs | None = None,
    names: Sequence[str] = (),
    least_range: float = 0.0,
    others: Ranges | None = None,
    probabilities: Collection[int] = (),
) -> ParityCase:
    """Compare what both sides gave for one input; arguments as those of :func:`compare`.

    ``moved`` is the truth of the input with other roundings, ``others`` the channels' ranges on
    other inputs.
    """
    for other, what in ((after, "after"), (truth, "in float64")):
        shapes = [a.shape for a in before], [b.shape for b in (before if other is None else other)]
        if shapes[0] != shapes[1]:
            raise ParityError(
                f"{proof.name}: outputs have other shapes: {shapes[0]} before, {shapes[1]} {what}"
            )
    if not before:
        raise ParityError(f"{proof.name}: there is no output to compare")
    called = [*names, *(f"output {index}" for index in range(len(names), len(before)))]
    places = [index for index, each in enumerate(before) if _is_compared(each, proof)]
    largest, mean = worst_spots(
        [called[index] for index in places],
        [before[index] for index in places],
        [after[index] for index in places],
        None if truth is None else [truth[index] for index in places],
        None if moved is None else [moved[index] for index in places],
        limit,
        least_range,
        others and {place: others[index] for place, index in enumerate(places) if index in others},
        {place: 1.0 for place, index in enumerate(places) if index in probabilities},
    )
    shape = tuple(int(side) for side in proof.image.shape)
    return ParityCase(proof.name, shape, _sha256(proof), largest, mean)


def _rounded(tensors: tuple[Tensor, ...], seed: int = 0) -> tuple[Tensor, ...]:
    """Return the tensors moved by some steps of their type at their largest value, at random."""
    generator = torch.Generator().manual_seed(seed)

    def moved(values: Tensor) -> Tensor:
        if not values.is_floating_point() or not values.numel():
            return values
        step = STEPS * torch.finfo(values.dtype).eps * max(1.0, float(values.abs().max()))
        signs = torch.rand(values.shape, generator=generator, dtype=torch.float64) * 2 - 1
        return values.double() + step * signs

    return tuple(moved(each) for each in tensors)


def _is_compared(output: NDArray[np.generic], proof: ProofInput) -> bool:
    return not proof.is_flat or output.dtype.kind == "f"


def _sha256(proof: ProofInput) -> str:
    digest = hashlib.sha256()
    for tensor in proof.tensors:
        digest.update(np.ascontiguousarray(as_array(tensor)).tobytes())
    return digest.hexdigest()


def demand(parity: Parity) -> Parity:
    """Return ``parity`` if it passed; raise :class:`ParityError` saying where it failed."""
    if parity.passed:
        return parity
    raise ParityError(f"{parity.link}: {parity.problem}; nothing is exported")
