"""Parity: do two networks, or a network and its file, give the same output?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import ParityError
from toolchain.records import Parity, ParityCase

Outputs: TypeAlias = list[NDArray[np.floating]]
Runner: TypeAlias = Callable[[Tensor], Outputs]


@dataclass(frozen=True)
class ProofInput:
    """An input for a comparison, and what to call it."""

    name: str
    image: Tensor
    """float32 (N, C, H, W)."""


def random_inputs(
    shapes: Sequence[tuple[int, int, int, int]], seed: int, scale: float = 64.0
) -> list[ProofInput]:
    """Return one random input per shape; ``scale`` is about that of an image minus its mean."""
    generator = torch.Generator().manual_seed(seed)
    return [
        ProofInput(f"random {n}x{h}x{w}", torch.randn((n, c, h, w), generator=generator) * scale)
        for n, c, h, w in shapes
    ]


def run_network(network: nn.Module) -> Runner:
    """Return a function from an input to all output tensors of ``network``."""

    def run(image: Tensor) -> Outputs:
        with torch.inference_mode():
            outputs = network(image)
        return [leaf.numpy() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]

    return run


def run_onnx(path: Path) -> Runner:
    """Return the same for an ONNX file, run by onnxruntime on one thread."""
    session = open_session(path)
    name = session.get_inputs()[0].name

    def run(image: Tensor) -> Outputs:
        return list(session.run(None, {name: image.numpy()}))

    return run


def open_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX file for the CPU with a fixed number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def compare(
    link: str,
    before: Runner,
    after: Runner,
    inputs: Sequence[ProofInput],
    *,
    limit: float,
    relative: bool,
) -> Parity:
    """Run both sides on all inputs and return the differences; see :class:`Parity`."""
    cases = tuple(_case(proof, before(proof.image), after(proof.image)) for proof in inputs)
    return Parity(link, limit, relative, cases)


def _case(proof: ProofInput, before: Outputs, after: Outputs) -> ParityCase:
    shapes = [a.shape for a in before], [b.shape for b in after]
    if shapes[0] != shapes[1]:
        raise ParityError(
            f"{proof.name}: outputs have other shapes: {shapes[0]} before, {shapes[1]} after"
        )
    if not before:
        raise ParityError(f"{proof.name}: there is no output to compare")
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which fails
        differences = [
            _max(np.abs(a.astype(np.float64) - b.astype(np.float64)))
            for a, b in zip(before, after, strict=True)
        ]
        ranges = [_max(a) - _min(a) for a in before]
    return ParityCase(
        input=proof.name,
        shape=tuple(proof.image.shape),
        max_abs_diff=float(np.max(differences)),  # Python's max() would lose a NaN
        output_range=float(np.max(ranges)),
    )


def _max(values: NDArray[np.floating]) -> float:
    return float(values.max()) if values.size else 0.0


def _min(values: NDArray[np.floating]) -> float:
    return float(values.min()) if values.size else 0.0


def demand(parity: Parity) -> Parity:
    """Return ``parity`` if it passed; raise :class:`ParityError` saying by how much it failed."""
    if parity.passed:
        return parity
    unit = " of the output's range" if parity.relative else ""
    worst = max(parity.cases, key=lambda case: np.nan_to_num(case.max_abs_diff, nan=np.inf))
    raise ParityError(
        f"{parity.link}: outputs differ by {parity.worst:.2e}{unit}, more than the limit of "
        f"{parity.limit:.0e} (worst on {worst.input}: {worst.max_abs_diff:.2e}); nothing is "
        f"exported"
    )
