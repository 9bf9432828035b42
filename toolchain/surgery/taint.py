"""Which channels do not depend on the image: let NaN flow and look at what stays clean.

The network runs on an input that is all NaN. Arithmetic carries NaN by itself; what is not NaN
at a layer's input is exactly the part that does not depend on the image, with its value. Only
where a weight of zero hides the image is a rule needed: 0 * NaN is NaN, yet a zero weight reads
nothing. Operators that swallow NaN would make an input-dependent value look constant, so every
operator that is not known to carry NaN has its whole output marked, and comparisons and integer
results, which cannot hold NaN, are remembered by identity and mark whatever uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.models.watching import OperatorMode
from toolchain.operators import Operator, find, operator_name
from toolchain.operators.multiplying import vanishing
from toolchain.records.reasons import operator_words
from toolchain.surgery.calls import LayerCalls
from toolchain.surgery.layers import RecurrentLayer, layers_of, storage_key
from toolchain.surgery.running import Border, Example, as_inputs, fresh, plainly, step_by_step


@dataclass
class Reading:
    """What one layer saw in one call."""

    tainted: Tensor
    """bool (in,): True where the channel depends on the image, or was not to be looked at."""
    maps: Tensor
    """(clean, positions): the values of the channels that are not tainted, in their order."""
    keeps_uniform: bool
    """True if one value everywhere in an input channel gives one value everywhere."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many channels it read, at how many positions."""
        return len(self.tainted), self.maps.shape[1]

    def of(self, channels: Tensor) -> Tensor:
        """Return the values of ``channels``, bool (in,), of which none is tainted."""
        rows = channels[~self.tainted]
        return self.maps if bool(rows.all()) else self.maps[rows]


@dataclass
class Taint:
    """What one run showed, for every layer."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    """Layer name -> one reading per call, in order."""
    written: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> bool (out,): True where the channel depends on the image in some call."""
    vanishing: list[Tensor] = field(default_factory=list)
    """For each call that multiplies two tensors, bool by place of what is summed over: True where
    all products are zero."""

    def clean(self, name: str) -> Tensor | None:
        """Return bool (in,): True where a channel that a layer read was clean in some call."""
        readings = self.readings.get(name)
        return torch.stack([~each.tainted for each in readings]).any(dim=0) if readings else None


def trace_taint(network: nn.Module, example: Example) -> Taint:
    """Run a copy of ``network`` on NaN of the shape of ``example``: what depends on the input?

    Integers and booleans, which cannot hold NaN, keep their values and are marked. Raises
    :class:`AnalysisError` if the code branches on the input's values; what the network's own
    code raises on NaN passes through.
    """
    copied = fresh(network)
    tracer = _Tracer(copied)
    inputs = tuple(
        torch.full_like(x, float("nan")) if x.is_floating_point() else x.clone()
        for x in as_inputs(example)
    )
    tracer.mark(x for x in inputs if not x.is_floating_point())
    with plainly(), step_by_step(copied), Border(tracer.leaves), tracer:
        copied(*inputs)
    return tracer.ended()


def trace_values(network: nn.Module, example: Example, known: Taint) -> Taint:
    """Run a copy of ``network`` on real inputs and record what its layers read.

    Only channels that were clean in the run ``known`` are looked at.
    """
    copied = fresh(network)
    tracer = _Tracer(copied, known=known)
    with plainly(), step_by_step(copied), tracer:
        copied(*as_inputs(example))
    return tracer.ended()


class _Tracer(OperatorMode):
    """Watches every operator; corrects those that lose or invent NaN."""

    def __init__(self, network: nn.Module, *, known: Taint | None = None) -> None:
        super().__init__()
        self.taint, self.known = Taint(), known
        self.layers = layers_of(network)
        self.calls = LayerCalls(self.layers.values())
        self.marks = known is None
        self.marked: dict[int, Tensor] = {}  # by memory: cannot hold NaN; held to keep the memory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operator_name(func)
        if self.marks and self._reads_marks(args, kwargs):
            known = find(name)
            if known.escapes or (known.picks and self._picks_by_marked_mask(args)):
                self.refuse(f"operator {operator_words(name)}")
            out = self._marked_call(known, func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        self._record(name, args, kwargs, out)
        return out

    def ended(self) -> Taint:
        """Return what the run showed; the steps of a recurrent layer are one reading."""
        for name, readings in self.taint.readings.items():
            if isinstance(self.layers[name], RecurrentLayer) and len(readings) > 1:
                self.taint.readings[name] = [_together(readings)]
        return self.taint

    def refuse(self, how: str) -> NoReturn:
        """Raise because the code does something by values that depend on the image."""
        raise AnalysisError(
            f"the network's code decides by values that depend on the image ({how}); what it does "
            f"for another image cannot be known, so nothing is removed"
        )

    def _reads_marks(self, args: Any, kwargs: Any) -> bool:
        return any(
            self.is_marked(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        )

    def leaves(self, tensor: Tensor, method: str) -> None:
        """Refuse where values that depend on the image leave PyTorch."""
        if self.is_marked(tensor):
            self.refuse(f"Tensor.{method} takes them out of PyTorch")

    def is_marked(self, tensor: Tensor) -> bool:
        """Return True if any value of ``tensor`` depends on the image."""
        if tensor.is_floating_point():
            return bool(torch.isnan(tensor.sum())) and bool(torch.isnan(tensor).any())
        return self._is_unholdable(tensor)

    def mark(self, tensors: Iterable[Tensor]) -> None:
        """Remember tensors that cannot hold NaN, and all that look into the same memory."""
        self.marked.update((storage_key(tensor), tensor) for tensor in tensors if tensor.numel())

    def _is_unholdable(self, leaf: object) -> bool:
        return (
            isinstance(leaf, Tensor)
            and not leaf.is_floating_point()
            and storage_key(leaf) in self.marked
        )

    def _picks_by_marked_mask(self, args: Any) -> bool:
        """A mask says how many values are picked: its values become a shape."""
        return any(
            self._is_unholdable(leaf) and leaf.dtype in (torch.bool, torch.uint8)
            for leaf in tree_leaves(args[1:])
        )

    def _marked_call(self, known: Operator, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        holdable = not any(map(self._is_unholdable, tree_leaves((args, kwargs))))
        rule = known.nan if holdable and callable(known.nan) else None
        out = rule(func, args, kwargs) if rule else func(*args, **kwargs)
        right = known.shape_only or (holdable and known.nan != "unknown")
        for leaf in tree_leaves(out):
            if not isinstance(leaf, Tensor):
                continue
            if not leaf.is_floating_point():
                self.mark([leaf])
            elif not right:
                leaf.fill_(float("nan"))
        return out

    def _record(self, name: str, args: tuple[Any, ...], kwargs: Any, out: Any) -> None:
        if kind := find(name).multiplies:
            self.taint.vanishing.append(vanishing(kind, args))
        call = self.calls.find(name, args, kwargs)
        if call is None:
            return
        layer, maps = call.layer, call.x.transpose(0, 1).flatten(1)
        tainted = self._tainted(layer.name, maps)
        reading = Reading(tainted, maps[~tainted], call.keeps_uniform)
        self.taint.readings.setdefault(layer.name, []).append(reading)
        if not self.marks:
            return
        written = torch.isnan(out.transpose(0, 1).flatten(1)).any(dim=1)
        known = self.taint.written.get(layer.name)
        self.taint.written[layer.name] = written if known is None else known | written

    def _tainted(self, name: str, maps: Tensor) -> Tensor:
        if self.known is None:
            return torch.isnan(maps).any(dim=1)
        tainted, clean = torch.ones(len(maps), dtype=torch.bool), self.known.clean(name)
        if clean is not None and len(clean) == len(maps):
            tainted[clean] = torch.isnan(maps[clean]).any(dim=1)
        return tainted


def _together(readings: Sequence[Reading]) -> Reading:
    tainted = torch.stack([each.tainted for each in readings]).any(dim=0)
    return Reading(
        tainted,
        torch.cat([each.of(~tainted) for each in readings], dim=1),
        all(each.keeps_uniform for each in readings),
    )
