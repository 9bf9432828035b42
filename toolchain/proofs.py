"""What is proved of a surgery and of a file, on which inputs, and what a failure leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from toolchain.check.parity import (
    ProofInput,
    compare,
    random_inputs,
    run_network,
    run_onnx,
)
from toolchain.errors import ProofError
from toolchain.files import as_json, write_bytes
from toolchain.models.weights import save_native
from toolchain.pictures import Photo, smooth_input
from toolchain.recipe import Recipe
from toolchain.records import Parity, Surgery

ANALYSIS_SIZE = (320, 256)
"""Height and width at which the surgery looks at networks that take any size."""

PROOF_SIZES = ((160, 160), (320, 256), (333, 517))
"""Sizes at which the surgery is proved, besides the recipe's own."""

DYNAMIC_SIZES = ((160, 160), (333, 517))
"""Sizes at which a dynamic file is proved, besides the recipe's own."""

LARGE_RANGE = 10.0
"""Outputs with a larger range may differ in proportion: float32 resolves them no better."""


@dataclass(frozen=True)
class Pair:
    """The network before and after the surgery, and what both are tried on."""

    soft: nn.Module
    shrunk: nn.Module
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


def prove_surgery(pair: Pair, recipe: Recipe) -> Parity:
    """Compare the soft with the shrunk network on random, smooth and real images, odd sizes too."""
    own = (recipe.input.height, recipe.input.width)
    channels = int(pair.example.shape[1])
    shapes = [(1, channels, *own)]
    for size in PROOF_SIZES:
        shape = (2, channels, *size)
        if size != own and _runs(pair.soft, pair.example.new_zeros(shape)):
            shapes.append(shape)
    return compare(
        "soft network -> shrunk network",
        run_network(pair.soft),
        run_network(pair.shrunk),
        [
            *random_inputs(shapes, recipe.model.seed),
            smooth_input(pair.look, recipe.model.seed),
            *pair.pictures[1:],
        ],
        limit=recipe.proof.surgery_limit,
        relative=True,
    )


def prove_file(pair: Pair, recipe: Recipe, path: Path, *, dynamic: bool) -> Parity:
    """Compare the shrunk network with the ONNX file at ``path``; the limit grows with the range."""
    channels = int(pair.example.shape[1])
    sizes = [(recipe.input.height, recipe.input.width), *(DYNAMIC_SIZES if dynamic else ())]
    shapes = [(1, channels, *size) for size in sizes]
    parity = compare(
        "shrunk network -> ONNX file",
        run_network(pair.shrunk),
        run_onnx(path),
        [*random_inputs(shapes, recipe.model.seed), *pair.pictures],
        limit=recipe.proof.onnx_limit,
        relative=False,
    )
    scale = max(1.0, parity.output_range / LARGE_RANGE)
    return dataclasses.replace(parity, limit=parity.limit * scale)


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
