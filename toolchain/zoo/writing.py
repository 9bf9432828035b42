"""Writing a network to be shipped: batch norm's statistics folded into its scale and shift.

Batch norm computes scale * (x - mean) / sqrt(variance + eps) + shift. With a mean of 0 and a
variance of 1 it computes the same from

    scale' = scale * sqrt(1 + eps) / sqrt(variance + eps)
    shift' = shift - scale * mean / sqrt(variance + eps)

so that two of its four tensors need not be shipped. The convolutions are not touched: a filter
that is zero stays zero, and so do scale and shift where both are.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.checking.parity import ProofInput, compare, run_network
from toolchain.errors import ParityError
from toolchain.models.layouts import FOLDED_STATISTICS, STATISTICS_KEY, read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import STATISTICS, load_into, unique_state, write_native
from toolchain.records.members import MemberFacts
from toolchain.zoo.packing import packed
from toolchain.zoo.reading import checked_facts

LIMIT = 1e-5
"""Largest difference between the network and its file, as a share of the output's range."""

PROOF_SIZES = ((160, 160), (205, 333))
"""Height and width of the inputs on which both are compared."""

INPUT_SCALE = 64.0
"""About that of an image minus its mean."""


def write_member(network: nn.Module, path: Path, facts: MemberFacts) -> None:
    """Write ``network``, at its full widths, and ``facts`` to ``path``, and prove the file.

    Raises :class:`CheckpointError` for facts that are none, and :class:`ParityError` where the
    file, read again, does not give what the network gives; then ``path`` is as it was.
    """
    facts = checked_facts(facts, path)
    folded = fold_statistics(network)
    state = {
        name: tensor
        for name, tensor in unique_state(folded).items()
        if not name.endswith((*STATISTICS, "num_batches_tracked"))
    }
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder) / path.name
        short = {**facts, "command": packed(facts["command"])}
        write_native(state, written, {**short, STATISTICS_KEY: FOLDED_STATISTICS})
        again = build(facts["model"])
        load_into(again, read_checkpoint(written), facts["model"])
        _demand_same(copy.deepcopy(network).eval(), again, path)
        written.replace(path)


def fold_statistics(network: nn.Module) -> nn.Module:
    """Return a copy whose batch norms have means of 0 and variances of 1, and the same outputs.

    Computed in float64 and rounded once to the type of the weights.
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.affine:
            _fold(module)
    return network


@torch.no_grad()
def _fold(norm: _BatchNorm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    norm.bias.copy_(norm.bias.double() - scale * mean.double())
    norm.weight.copy_(scale * math.sqrt(1 + norm.eps))
    mean.zero_()
    variance.fill_(1)


def _demand_same(network: nn.Module, again: nn.Module, path: Path) -> None:
    """Compare both on random images; what is not finite is a difference."""
    inputs = [ProofInput(f"random {index}", (image,)) for index, image in enumerate(proof_images())]
    parity = compare(
        f"{path}: read again", run_network(network), run_network(again), inputs, limit=LIMIT
    )
    if not parity.passed:
        raise ParityError(f"{parity.link}, its {parity.problem}; it is not written")


def proof_images() -> Iterator[Tensor]:
    """Yield random images (2, 3, H, W) on which two networks are compared."""
    generator = torch.Generator().manual_seed(0)
    for height, width in PROOF_SIZES:
        yield torch.randn((2, 3, height, width), generator=generator) * INPUT_SCALE
