"""What a network gives: each output's kind, how far two are apart, how well they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from toolchain.errors import RecipeError, did_you_mean
from toolchain.models.leaves import output_names, tensors_in
from toolchain.models.watching import OperatorMode
from toolchain.operators import operator_name
from toolchain.recipe import Recipe
from toolchain.recovery.channels import Moments
from toolchain.surgery.running import Example, as_inputs, fresh, plainly
from toolchain.train.ranks import mean_of_all

Kind = Literal["logits", "binary", "probabilities", "scores", "boxes", "values"]
"""Of an output:

- ``logits``: scores of classes, of which a softmax makes a distribution;
- ``binary``: scores of which a sigmoid makes a probability each;
- ``probabilities``: what a softmax gave; ``scores``: what a sigmoid gave;
- ``boxes``: numbers of which few may be far off: the distance is robust (smooth L1);
- ``values``: any others, whose squared error counts.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
DISTRIBUTIONS = ("logits", "binary", "probabilities", "scores")
NOTHING = 0.5
"""Mean probability over all cells from which on a class may mean that there is nothing in one."""
LEAST = 1e-6
"""Probabilities count as this at least."""
MOVING = frozenset(
    "view _unsafe_view reshape permute transpose t clone detach slice select unsqueeze squeeze "
    "expand alias split split_with_sizes unbind cat stack contiguous _to_copy".split()
)
"""Operators (``aten``) that move values and change none."""


@dataclass(frozen=True)
class Seen:
    """How likely a detector takes it, over cells and inputs, that something is in a cell."""

    least: float
    """What nine of ten cells do not exceed: how sure it is where there is nothing."""
    above: float
    """By how much cells exceed that, in the mean over all."""


@dataclass(frozen=True)
class Output:
    """One tensor that the network gives."""

    name: str
    kind: Kind
    dim: int
    """Of classes, or channels."""
    spread: Tensor
    """How much the teacher's own varies over inputs: an entry per channel, or of distributions one
    figure, the mean divergence from their mean."""
    mean: Tensor
    """The teacher's own over inputs, a probability where it is a distribution: of each cell
    (1, ...), or of each channel (1, C, 1, ...) where inputs differ in size."""
    seen: Seen | None = None
    """What other outputs tell of its cells; None where none does, and all count alike."""
    weight: float = 1.0
    """What it counts beside others, 1 on average."""

    @property
    def nothing(self) -> int | None:
        """Return the class of (N, ..., C, ...) that most cells are of: a detector's background.

        None where there are no classes, or none is as frequent.
        """
        if self.kind not in ("logits", "probabilities") or self.mean.ndim < 3:
            return None
        by_class = by_channel(self.mean, self.dim).flatten()
        return int(by_class.argmax()) if float(by_class.max()) >= NOTHING else None

    def distance(self, ours: Tensor, theirs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return how far two are apart, as a share of the teacher's spread.

        Of processes that share a batch each returns that of its part; their mean is the whole's.
        ``weight`` (N, ..., 1, ...) is what cells count, about 1 on average.
        """
        ours, theirs = ours.float(), theirs.float()
        if self.kind in DISTRIBUTIONS:
            divergences = divergence(self.kind, self.dim, ours, theirs)
            if weight is not None:
                one = self.kind in ("logits", "probabilities")  # one figure for all classes
                divergences = divergences * (weight.squeeze(self.dim) if one else weight)
            found = divergences.mean() / self.spread
            if self.kind in ("logits", "binary"):  # a sure teacher's divergence says little more
                return (found + self._squares(ours, theirs, weight)) / 2
            return found
        if self.kind == "boxes":
            scale = self.spread.view(along(ours, self.dim)).sqrt()
            errors = 2 * F.smooth_l1_loss(ours / scale, theirs / scale, reduction="none")
        else:
            errors = (ours - theirs) ** 2 / self.spread.view(along(ours, self.dim))
        return (errors if weight is None else errors * weight).mean()

    @staticmethod
    def _squares(ours: Tensor, theirs: Tensor, weight: Tensor | None) -> Tensor:
        mean = theirs.mean()
        between = mean_of_all((mean - mean_of_all(mean)) ** 2)  # 0 of one process
        variance = mean_of_all(theirs.var(correction=0)) + between
        errors = (ours - theirs) ** 2
        return (errors if weight is None else errors * weight).mean() / variance.clamp(min=1e-6)


def along(tensor: Tensor, dim: int) -> list[int]:
    """Return the shape in which an entry per channel is spread over a tensor."""
    return [-1 if each == dim else 1 for each in range(tensor.ndim)]


def divergence(kind: Kind, dim: int, ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of ours from theirs, by distribution."""
    if kind == "logits":
        log_ours, log_theirs = ours.log_softmax(dim), theirs.log_softmax(dim)
    elif kind == "probabilities":
        log_ours, log_theirs = (each.clamp(min=LEAST).log() for each in (ours, theirs))
    else:
        if kind == "binary":
            ours, theirs = ours.sigmoid(), theirs.sigmoid()
        log_ours, log_theirs = (
            torch.stack([each, 1 - each], dim=-1).clamp(min=LEAST).log() for each in (ours, theirs)
        )
        dim = -1
    return (log_theirs.exp() * (log_theirs - log_ours)).sum(dim=dim)


def probabilities_of(kind: Kind, dim: int, tensor: Tensor) -> Tensor:
    """Return an output as probabilities."""
    if kind == "logits":
        return tensor.softmax(dim)
    return tensor.sigmoid() if kind == "binary" else tensor


def outputs_of(
    given: Sequence[Any], told: Mapping[str, str], seen: Sequence[Kind]
) -> tuple[Output, ...]:
    """Return what is known of each output tensor.

    ``given`` are the teacher's outputs for many inputs; ``told`` are kinds by the output's number
    or name, ``seen`` those that the network's own operators show. Raises :class:`RecipeError` for a
    name or a kind that there is not.
    """
    names = output_names(given[0])
    kinds = _told(told, names)
    found = []
    for index, name in enumerate(names):
        tensors = [tensors_in(each)[index].float() for each in given]
        kind = kinds.get(index, seen[index] if index < len(seen) else "values")
        dim = _dim(kind, tensors[0])
        if kind == "probabilities" and index not in kinds and not _sums_to_one(tensors[0], dim):
            kind = "values"
        spread, mean = _spread(kind, dim, tensors), _mean(kind, dim, tensors)
        found.append(Output(name, kind, dim, spread, mean))
    return tuple(found)


def _told(told: Mapping[str, str], names: Sequence[str]) -> dict[int, Kind]:
    if not isinstance(told, Mapping):
        raise RecipeError(f"outputs must be a dict, such as {{'0': 'logits'}} (got {told!r:.80})")
    found: dict[int, Kind] = {}
    for given, kind in told.items():
        key = str(given)
        known = {name: index for index, name in enumerate(names)}
        known |= {str(index): index for index in range(len(names))}
        if key not in known:
            raise RecipeError(
                f"outputs: the network gives no {key!r}; it gives {', '.join(names)}"
                f"{did_you_mean(key, names)}"
            )
        if kind not in KINDS:
            raise RecipeError(
                f"outputs: {key} must be one of {', '.join(KINDS)} (got {kind!r})"
                f"{did_you_mean(kind, KINDS)}"
            )
        found[known[key]] = kind
    return found


def _dim(kind: Kind, tensor: Tensor) -> int:
    """Return along which dimension classes, or channels, lie."""
    if kind == "probabilities":
        for dim in range(tensor.ndim - 1, -1, -1):
            if _sums_to_one(tensor, dim):
                return dim
    if tensor.ndim == 3 and tensor.shape[2] < tensor.shape[1]:
        return 2  # (N, boxes, numbers of each)
    return min(1, tensor.ndim - 1)


def _sums_to_one(tensor: Tensor, dim: int) -> bool:
    if tensor.ndim < 2 or tensor.shape[dim] < 2:
        return False
    return bool(((tensor.sum(dim=dim) - 1).abs() < 1e-3).all() and (tensor >= 0).all())


def _mean(kind: Kind, dim: int, tensors: Sequence[Tensor]) -> Tensor:
    found = [probabilities_of(kind, dim, each) for each in tensors]
    if len({each.shape[1:] for each in found}) == 1:
        return torch.cat([each if each.ndim else each.view(1) for each in found]).mean(0, True)
    return by_channel(torch.cat([by_channel(each, dim) for each in found]).mean(0, True), dim)


def by_channel(tensor: Tensor, dim: int) -> Tensor:
    """Return the mean of each channel: (N, ..., C, ...) -> (1, ..., C, ...), all else 1."""
    return tensor.mean(dim=[each for each in range(tensor.ndim) if each != dim], keepdim=True)


def _spread(kind: Kind, dim: int, tensors: Sequence[Tensor]) -> Tensor:
    if kind in DISTRIBUTIONS:
        mean = _mean(kind, dim, tensors)
        as_given: Kind = "probabilities" if kind in ("logits", "probabilities") else "scores"
        figures = [
            divergence(
                as_given, dim, mean.expand_as(each), probabilities_of(kind, dim, each)
            ).mean()
            for each in tensors
        ]
        return torch.stack(figures).mean().clamp(min=1e-4)
    moments = Moments()
    for each in tensors:
        moments.add(each if each.ndim > 1 else each.view(-1, 1), dim if each.ndim > 1 else 1)
    return moments.variance()


# What a recipe tells, and what the network's own operators show ---------------------------------


def told_kinds(recipe: Recipe) -> dict[str, str]:
    """Return the kinds of outputs that a recipe tells: anchors have boxes and scores of classes."""
    return {"1": "logits"} if recipe.anchors is not None else {}


def seen_kinds(network: nn.Module, example: Example) -> list[Kind]:
    """Return the kind of each output that a softmax or a sigmoid made; of any other ``values``."""
    watcher = _Last()
    with plainly(), watcher:
        outputs = fresh(network)(*as_inputs(example))
    return [watcher.kinds.get(id(tensor), "values") for tensor in tensors_in(outputs)]


class _Last(OperatorMode):
    """Notes which tensors are what a softmax or a sigmoid gave, moved perhaps."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[int, Kind] = {}
        self._kept: list[object] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = operator_name(func).rstrip("_")
        kind: Kind | None = None
        read = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        if name == "sigmoid":
            kind = "scores"
        elif name in ("_softmax", "softmax"):
            kind = "probabilities"
        elif name in MOVING and read:
            kinds = {self.kinds.get(id(leaf)) for leaf in read}
            kind = kinds.pop() if len(kinds) == 1 else None
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._kept.append(leaf)
                self.kinds.pop(id(leaf), None)
                if kind is not None:
                    self.kinds[id(leaf)] = kind
        return out
