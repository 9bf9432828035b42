"""What is proved of a surgery and of a file, on which inputs, and what a failure leaves."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from toolchain.checking.inputs import fault_inputs, noise, of_each
from toolchain.checking.parity import (
    ProofInput,
    Runner,
    compare,
    demand,
    in_double,
    remembered,
    run_network,
    run_onnx,
)
from toolchain.checking.pictures import Photo, smooth_input
from toolchain.errors import ExportError, ProofError, ToolchainError
from toolchain.exporting.onnx_file import FIXED
from toolchain.exporting.probabilities import probabilities_in
from toolchain.models.sizes import (
    Example,
    image_size,
    near_sizes,
    resized,
    smallest_map,
    try_on,
)
from toolchain.models.weights import save_native
from toolchain.recipe import Recipe
from toolchain.records.parity import Parity
from toolchain.records.stages import Surgery
from toolchain.system.files import as_json, write_bytes
from toolchain.system.steps import step

ANALYSIS_SIZE = (320, 256)
"""Height and width at which the surgery looks at networks that take any size."""

CELLS = 8
"""A map of so many cells a side has some that two convolutions of three keep from its borders."""

PROOF_SIZES = ((160, 160), (320, 256), (333, 517))
"""Sizes at which the surgery of a detector is proved, besides the recipe's own. What else there is
is proved at sizes near the recipe's, see :func:`~toolchain.models.sizes.near_sizes`."""

SMALL, LEAST_SIDE = 6, 5
"""A surgery is also proved at this part of the recipe's size, where borders are much of a map; at
so many pixels on a side at least."""

DYNAMIC_SIZES = ((160, 160), (333, 517))
"""Sizes at which a detector's dynamic file is proved, besides the recipe's own."""

EXACT_LIMIT, LEAST_RANGE = 1e-11, 0.1
"""Largest difference that the surgery may make in float64, as a share of a channel's range; and
what this range counts as at least, as a share of its magnitude. There the surgery is exact but for
rounding, which leaves about 1e-14, or it is wrong."""


@dataclass(frozen=True)
class Pair:
    """The network before and after the surgery, and what both are tried on."""

    soft: nn.Module
    shrunk: nn.Module
    exact: nn.Module | None
    """The shrunk one before its weights were rounded from float64; None where the network does not
    run in float64."""
    surgery: Surgery
    example: Example
    """Zeros, at the recipe's size: an image (1, C, H, W), or all tensors of an input."""
    look: Example
    """The same at the size at which the surgery looked, which may be smaller."""
    photos: tuple[Photo, ...]
    pictures: tuple[ProofInput, ...]
    """Smooth shapes, then the photos, at the recipe's size."""
    outputs: tuple[str, ...] = ()
    """How exported files call the outputs."""


def analysis_example(network: nn.Module, example: Example, recipe: Recipe) -> Example:
    """Return an example of the size at which the surgery looks, where the network takes that.

    That is :data:`ANALYSIS_SIZE`; where a network that is no detector is asked for a smaller one,
    the recipe's own, or twice that where it has maps of less than :data:`CELLS` a side. A larger
    one costs time; in a smaller one the coarsest levels are one cell wide, where borders are all
    there is, and what holds there holds nowhere else.
    """
    own = image_size(example)
    if own is None:
        return example
    size = ANALYSIS_SIZE
    if recipe.anchors is None and own[0] * own[1] <= math.prod(ANALYSIS_SIZE) / 4:
        if smallest_map(network, example) >= CELLS:
            return example
        size = 2 * own[0], 2 * own[1]
    usual = resized(example, size)
    return usual if try_on(network, usual, example).runs else example


@dataclass(frozen=True)
class SurgeryProof:
    """What was found of a surgery."""

    exact: Parity | None
    """Soft against shrunk network in float64; None where the network does not run in it."""
    rounded: Parity
    """In their own type, against float64's truth where there is one."""
    left_out: tuple[str, ...] = ()
    """Sizes at which nothing is proved, with why."""


def prove_surgery(pair: Pair, recipe: Recipe) -> SurgeryProof:
    """Compare the soft with the shrunk network on inputs that find faults, odd sizes too.

    In float64 the surgery is exact or wrong, whatever the network's scales. In their own type both
    are held against that: the shrunk one may be as far from it as the soft one is.
    """
    inputs, left_out = _surgery_inputs(pair, recipe)
    compared = functools.partial(
        compare,
        before=run_network(pair.soft),
        after=run_network(pair.shrunk),
        names=pair.outputs,
        limit=recipe.proof.surgery_limit,
    )
    if pair.exact is None:
        parity = demand(compared("soft network -> shrunk network", inputs=inputs))
        return SurgeryProof(None, parity, left_out)
    truth = remembered(in_double(run_network(copy.deepcopy(pair.soft).double())))
    small, every = _small_inputs(pair, recipe), inputs
    small, inputs = (
        [proof for proof in some if _runs_on(truth, proof, pair.example)] for some in (small, every)
    )
    failing = [proof.name for proof in every if all(proof is not each for each in inputs)]
    left_out += tuple(f"{name} (does not run)" for name in failing)
    exact = compare(
        "soft network -> shrunk network, in float64",
        truth,
        in_double(run_network(pair.exact)),
        [*inputs, *small],
        limit=EXACT_LIMIT,
        least_range=LEAST_RANGE,
        flat_alone=True,
        names=pair.outputs,
    )
    # What rounding makes of a flat input is an accident of the few values that its outputs take.
    varied = [proof for proof in inputs if not proof.is_flat]
    rounded = compared("soft network -> shrunk network, rounded", inputs=varied, truth=truth)
    return SurgeryProof(demand(exact), demand(rounded), left_out)


def _runs_on(truth: Runner, proof: ProofInput, example: Example) -> bool:
    """Tell whether the soft network takes an input of another shape than its example's.

    Some fail at a size for some values alone: indices of a maximum may lie beyond what they fill.
    """
    if [each.shape for each in proof.tensors] == [each.shape for each in example]:
        return True  # what fails here is told as it is
    try:
        truth(*proof.tensors)
    except Exception:  # a stranger's code may raise anything
        return False
    return True


def _surgery_inputs(pair: Pair, recipe: Recipe) -> tuple[list[ProofInput], tuple[str, ...]]:
    """Return random inputs at all sizes, those that find faults at the smallest, and photos.

    And the sizes that are left out, with why.
    """
    seed, examples, smallest = recipe.model.seed, [pair.example], pair.example
    left_out, given = list[str](), recipe.input.given
    for size in _sizes(pair.example, recipe, PROOF_SIZES):
        found, reason = _largest_batch(pair, recipe, size)
        if found is None:
            left_out.append(f"{size[0]}x{size[1]} ({reason})")
            continue
        examples.append(found)
        smallest = min(smallest, resized(pair.example, size), key=_values)
    own = image_size(pair.example)
    if recipe.anchors is None:
        twice = resized(pair.example, own, 2)
        examples += [twice] if try_on(pair.soft, twice, pair.example).runs else []
    inputs = [
        *noise(examples, seed, given),
        *of_each(smallest, lambda image, index: fault_inputs(image, seed + index, given)),
        *of_each(pair.look, lambda image, index: [smooth_input(image, seed + index, given)]),
        *pair.pictures[1:],
    ]
    return inputs, tuple(left_out)


def _small_inputs(pair: Pair, recipe: Recipe) -> list[ProofInput]:
    """Return an input of few pixels, odd on both sides, if the network takes it.

    A constant that is another one in a small image shows here. In float64 alone: of so few values
    float32's rounding may be a large share.
    """
    own = image_size(pair.example)
    if own is None:
        return []
    height, width = (max(LEAST_SIDE, side // SMALL | 1) for side in own)
    small = resized(pair.example, (height, width))
    if not try_on(pair.soft, small).runs:
        return []
    return noise([small], recipe.model.seed, recipe.input.given)


def _values(example: Example) -> int:
    return sum(tensor.numel() for tensor in example)


def _sizes(
    example: Example, recipe: Recipe, of_detectors: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return sizes to try a network on, other than its own."""
    own = image_size(example)
    if own is None:
        return []
    return [
        size
        for size in (near_sizes(*own) if recipe.anchors is None else of_detectors)
        if size != own
    ]


def _largest_batch(pair: Pair, recipe: Recipe, size: tuple[int, int]) -> tuple[Example | None, str]:
    """Return two inputs of a size, or one where the network takes no more; None and why: none."""
    reason = ""
    step(f"does it run at {size[0]}x{size[1]}")
    for batch in (2, 1):
        example = resized(pair.example, size, batch)
        trial = try_on(pair.soft, example, pair.example if recipe.anchors is None else None)
        if trial.runs:
            return example, ""
        reason = "too much memory" if trial.too_large else "does not run"
    return None, reason


def prove_file(pair: Pair, recipe: Recipe, path: Path, *, dynamic: bool) -> Parity:
    """Compare the shrunk network with the ONNX file at ``path``.

    Raises :class:`ExportError` for a dynamic file that holds at one size alone.
    """
    seed, given = recipe.model.seed, recipe.input.given
    examples = [pair.example]
    for size in _sizes(pair.example, recipe, DYNAMIC_SIZES) if dynamic else ():
        other = resized(pair.example, size)
        if recipe.anchors is not None or try_on(pair.shrunk, other, pair.example).runs:
            examples.append(other)
    if dynamic and len(examples) == 1:
        raise ExportError(FIXED)
    compared = functools.partial(
        compare,
        "shrunk network -> ONNX file",
        run_network(pair.shrunk),
        run_onnx(path),
        [
            *noise(examples, seed, given),
            *of_each(pair.example, lambda image, index: fault_inputs(image, seed + index, given)),
            *pair.pictures,
        ],
        limit=recipe.proof.onnx_limit,
        names=pair.outputs,
        probabilities=probabilities_in(path),
    )
    try:
        parity = compared()
    except Exception as error:  # onnxruntime's, at a size that the file does not take
        if dynamic and not isinstance(error, ToolchainError):
            raise ExportError(FIXED) from error
        raise
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
