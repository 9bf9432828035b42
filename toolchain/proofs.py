"""What is proved of a surgery and of a file, on which inputs, and what a failure leaves."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from toolchain.check.inputs import fault_inputs, noise_inputs
from toolchain.check.parity import (
    ProofInput,
    compare,
    demand,
    in_double,
    remembered,
    run_network,
    run_onnx,
)
from toolchain.errors import ProofError
from toolchain.files import as_json, write_bytes
from toolchain.models.weights import save_native
from toolchain.parity import Parity
from toolchain.pictures import Photo, smooth_input
from toolchain.recipe import Recipe
from toolchain.records import Surgery

ANALYSIS_SIZE = (320, 256)
"""Height and width at which the surgery looks at networks that take any size."""

PROOF_SIZES = ((160, 160), (320, 256), (333, 517))
"""Sizes at which the surgery is proved, besides the recipe's own."""

DYNAMIC_SIZES = ((160, 160), (333, 517))
"""Sizes at which a dynamic file is proved, besides the recipe's own."""

EXACT_LIMIT = 1e-11
"""Largest difference that the surgery may make in float64, as a share of a channel's range. There
it is exact but for rounding, which leaves about 1e-14, or it is wrong."""


@dataclass(frozen=True)
class Pair:
    """The network before and after the surgery, and what both are tried on."""

    soft: nn.Module
    shrunk: nn.Module
    exact: nn.Module | None
    """The shrunk one before its weights were rounded from float64; None where the network does not
    run in float64."""
    surgery: Surgery
    example: Tensor
    """Zeros (1, C, H, W) at the recipe's size."""
    look: Tensor
    """The same at the size at which the surgery looked, which may be smaller."""
    photos: tuple[Photo, ...]
    pictures: tuple[ProofInput, ...]
    """Smooth shapes, then the photos, at the recipe's size."""


def analysis_example(network: nn.Module, example: Tensor) -> Tensor:
    """Return an example of :data:`ANALYSIS_SIZE` where the network takes one.

    A larger one costs time; in a smaller one the coarsest levels are one cell wide, where borders
    are all there is, and what holds there holds nowhere else.
    """
    usual = example.new_zeros((*example.shape[:2], *ANALYSIS_SIZE))
    return usual if _runs(network, usual) else example


def _runs(network: nn.Module, example: Tensor) -> bool:
    try:
        run_network(network)(example)
    except (RuntimeError, ValueError, AssertionError, IndexError):
        return False
    return True


def output_names(pair: Pair, recipe: Recipe) -> list[str]:
    """Return how the exported file calls its outputs."""
    if recipe.anchors is not None:
        return ["loc", "logits"]
    count = len(run_network(pair.shrunk)(pair.example))
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


@dataclass(frozen=True)
class SurgeryProof:
    """What was found of a surgery."""

    exact: Parity | None
    """Soft against shrunk network in float64; None where the network does not run in it."""
    rounded: Parity
    """In their own type, against float64's truth where there is one."""


def prove_surgery(pair: Pair, recipe: Recipe) -> SurgeryProof:
    """Compare the soft with the shrunk network on inputs that find faults, odd sizes too.

    In float64 the surgery is exact or wrong, whatever the network's scales. In their own type both
    are held against that: the shrunk one may be as far from it as the soft one is.
    """
    inputs = _surgery_inputs(pair, recipe)
    compared = functools.partial(
        compare,
        before=run_network(pair.soft),
        after=run_network(pair.shrunk),
        inputs=inputs,
        names=output_names(pair, recipe),
        limit=recipe.proof.surgery_limit,
    )
    if pair.exact is None:
        return SurgeryProof(None, demand(compared("soft network -> shrunk network")))
    truth = remembered(in_double(run_network(copy.deepcopy(pair.soft).double())))
    exact = compare(
        "soft network -> shrunk network, in float64",
        truth,
        in_double(run_network(pair.exact)),
        inputs,
        limit=EXACT_LIMIT,
        names=output_names(pair, recipe),
    )
    rounded = compared("soft network -> shrunk network, rounded", truth=truth)
    return SurgeryProof(demand(exact), demand(rounded))


def _surgery_inputs(pair: Pair, recipe: Recipe) -> list[ProofInput]:
    """Return random inputs at all sizes, those that find faults at the smallest, and photos."""
    own, seed = (recipe.input.height, recipe.input.width), recipe.model.seed
    given = recipe.input.given
    channels = int(pair.example.shape[1])
    shapes, smallest = [(1, channels, *own)], pair.example
    for size in PROOF_SIZES:
        shape = (2, channels, *size)
        if size != own and _runs(pair.soft, pair.example.new_zeros(shape)):
            shapes.append(shape)
            smallest = min(smallest, pair.example.new_zeros(1, *shape[1:]), key=Tensor.numel)
    return [
        *noise_inputs(shapes, seed, given),
        *fault_inputs(smallest, seed, given),
        smooth_input(pair.look, seed, given),
        *pair.pictures[1:],
    ]


def prove_file(pair: Pair, recipe: Recipe, path: Path, *, dynamic: bool) -> Parity:
    """Compare the shrunk network with the ONNX file at ``path``."""
    channels, seed = int(pair.example.shape[1]), recipe.model.seed
    given = recipe.input.given
    sizes = [(recipe.input.height, recipe.input.width), *(DYNAMIC_SIZES if dynamic else ())]
    shapes = [(1, channels, *size) for size in sizes]
    compared = functools.partial(
        compare,
        "shrunk network -> ONNX file",
        run_network(pair.shrunk),
        run_onnx(path),
        [
            *noise_inputs(shapes, seed, given),
            *fault_inputs(pair.example, seed, given),
            *pair.pictures,
        ],
        limit=recipe.proof.onnx_limit,
        names=output_names(pair, recipe),
    )
    parity = compared()
    if parity.passed or pair.exact is None:
        return demand(parity)
    return demand(compared(truth=in_double(run_network(copy.deepcopy(pair.shrunk).double()))))


@contextmanager
def keeping_evidence(out: Path, pair: Pair) -> Iterator[None]:
    """When a proof fails, keep both networks and the ledger in a folder beside the output."""
    try:
        yield
    except ProofError as error:
        failed = out.absolute().with_name(f"{out.name}.failed")
        failed.mkdir(parents=True, exist_ok=True)
        save_native(pair.soft, failed / "soft.safetensors", {"model": "evidence"})
        save_native(pair.shrunk, failed / "shrunk.safetensors", {"model": "evidence"})
        write_bytes(failed / "surgery.json", as_json(dataclasses.asdict(pair.surgery)))
        write_bytes(failed / "error.txt", f"{error}\n".encode())
        raise type(error)(f"{error}; both networks and the ledger are in {failed}") from error
