"""The surgery's check of its own result: the cut network gives what the whole one gives.

The proof that a user reads is made elsewhere, on more inputs. This one is for the surgery itself:
it never hands on a network that it can see to be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.records.spots import worst_spots
from toolchain.surgery.precision import Precision
from toolchain.surgery.running import Inputs, Working, fresh, plainly, run_fresh, shape_words
from toolchain.system.steps import step

MAGNITUDE_SHARE = 2.0**10
"""An output that hardly varies cannot be more exact than its own magnitude's rounding: so many
units in its last place are always allowed."""


class DoesNotRunError(AnalysisError):
    """The cut network does not run."""

    def __init__(self, inputs: Inputs, error: Exception) -> None:
        super().__init__(
            f"the network does not run once channels are removed ({type(error).__name__}: "
            f"{error}): its code holds a number of channels, so nothing is removed"
        )
        self.inputs = inputs


class DisagreementError(AnalysisError):
    """The cut network is another function, as an input of one size shows."""

    def __init__(self, inputs: Inputs, difference: str, because: str) -> None:
        super().__init__(
            f"the shrunk network gives another output on an input of shape {shape_words(inputs)} "
            f"({difference}): the network's code {because}, so nothing is removed"
        )
        self.inputs = inputs


def random_inputs(inputs: Inputs, seed: int, scale: float = 1.0) -> Inputs:
    """Return inputs of the same shapes: random where they are floating, and else as they are."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        (torch.randn(x.shape, generator=generator, dtype=torch.float64) * scale).to(x.dtype)
        if x.is_floating_point()
        else x
        for x in inputs
    )


def demand_repeatable(working: Working, inputs: Inputs) -> None:
    """Raise :class:`AnalysisError` if the same input gives another output the second time."""
    first, between = random_inputs(inputs, seed=2), random_inputs(inputs, seed=3)
    expected = run_fresh(working.network, first)
    other = fresh(working.network)
    with plainly():
        other(*between)
        found = other(*first)
    difference = _difference(expected, found, working.coarsest)
    if not difference:
        return
    if working.random_operators:
        raise AnalysisError(
            f"the network itself is random: the same input gives another output the second time "
            f"(operator {', '.join(working.random_operators)}; {difference}), so no surgery can be "
            f"proved; switch it off in eval mode"
        )
    raise AnalysisError(
        f"the network keeps a state: the same input gives another output once another input went "
        f"before ({difference}), so no surgery can be proved; pass the state as an input"
    )


def demand_runs(network: nn.Module, sizes: list[Inputs]) -> None:
    """Raise :class:`DoesNotRunError` unless a cut network runs on zeros."""
    for inputs in sizes:
        try:
            run_fresh(network, inputs)
        except AnalysisError:
            raise
        except Exception as error:  # a user's code may raise anything
            raise DoesNotRunError(inputs, error) from error


def demand_agreement(
    whole: nn.Module,
    cut: nn.Module,
    sizes: list[Inputs],
    elsewhere: Sequence[Sequence[Inputs]],
    precision: Precision,
) -> None:
    """Raise :class:`DisagreementError` unless both networks give the same on random inputs.

    ``sizes`` are examples of the sizes to try; the cut network runs on them. Of ``elsewhere``
    counts of each what runs first. Both networks are in ``precision.dtype``.
    """
    rows: list[int] | None = None
    for number, inputs in enumerate(sizes):
        for scale in (1.0, 64.0):
            images = random_inputs(inputs, seed=number, scale=scale)
            step(f"both networks on {shape_words(images)}")
            expected = run_fresh(whole, images)
            found = run_fresh(cut, images)
            rows = _rows(expected) if rows is None else rows
            if difference := _difference(expected, found, precision):
                because = "does something with its channels that no operator shows"
                raise DisagreementError(images, difference, because)
    for number, alternatives in enumerate(elsewhere):
        for inputs in alternatives:
            images = random_inputs(inputs, seed=number)
            wanted = _rows_for(images, sizes[0], rows or [])
            if _is_compared(whole, cut, images, wanted, precision):
                break


def _is_compared(
    whole: nn.Module, cut: nn.Module, images: Inputs, rows: list[int], precision: Precision
) -> bool:
    """Compare both at a size that no channel was looked at; False where that says nothing.

    A size counts if the whole network runs there and gives ``rows``: a number in a ``view`` may
    lay positions into the batch.
    """
    try:
        expected = run_fresh(whole, images)
    except Exception:  # a user's code may raise anything at a size that it does not take
        return False
    if _rows(expected) != rows:
        return False
    step(f"both networks on {shape_words(images)}")
    try:
        difference = _difference(expected, run_fresh(cut, images), precision)
    except Exception as error:
        difference = f"{type(error).__name__}: {error}"
    if difference:
        raise DisagreementError(images, difference, "holds a number of channels")
    return True


def _rows(outputs: Any) -> list[int]:
    """Return the first dimension of every output."""
    return [len(each) for each in tree_leaves(outputs) if isinstance(each, Tensor) and each.ndim]


def _rows_for(images: Inputs, first: Inputs, rows: list[int]) -> list[int]:
    """Return the rows of every output that are due to ``images``: one for each of them."""
    now, then = (next((len(x) for x in each if x.ndim), 0) for each in (images, first))
    return [now if count == then else count for count in rows]


def _difference(expected: Any, found: Any, precision: Precision) -> str:
    """Return words for the first output that differs, or an empty string."""
    left, right = tree_leaves(expected), tree_leaves(found)
    if len(left) != len(right):
        return f"{len(left)} outputs before, {len(right)} after"
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            words = _difference_of_tensors(a, b, precision)
        else:
            words = "" if type(a) is type(b) else f"{type(a).__name__} and {type(b).__name__}"
        if words:
            return f"output {index}: {words}"
    return ""


def _difference_of_tensors(a: Tensor, b: Tensor, precision: Precision) -> str:
    if a.shape != b.shape:
        return f"shape {tuple(a.shape)} before, {tuple(b.shape)} after"
    if not a.numel():
        return ""
    if not a.is_floating_point():
        return "" if torch.equal(a, b) else "other values"
    finite = torch.isfinite(a)
    if not torch.equal(finite, torch.isfinite(b)):
        return "infinite or not a number in one of the two"
    coarsest = max(precision, Precision(a.dtype), key=lambda each: each.epsilon)
    limit = coarsest.agreement
    left, right = (torch.where(finite, each, 0).double() for each in (a, b))
    right = torch.where((left - right).abs() <= coarsest.floor, left, right)
    spot, _ = worst_spots(
        ["it"],
        [left.numpy()],
        [right.numpy()],
        None,
        None,
        limit,
        least_range=MAGNITUDE_SHARE * coarsest.epsilon / limit,
    )
    share = spot.share(limit)
    if share is not None and share <= limit:
        return ""
    words = "" if spot.channels is None else f"index {spot.channels[0]} of dimension {spot.axis} "
    return f"{words}differs by {spot.difference:.1e} of a range of {spot.output_range:.1e}"
