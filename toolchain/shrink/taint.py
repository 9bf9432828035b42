"""Which channels do not depend on the image: let NaN flow and look at what stays clean.

The network runs on an input that is all NaN. Arithmetic carries NaN by itself; what is not NaN
at a layer's input is exactly the part that does not depend on the image, with its value. Only
where a weight of zero hides the image is a rule needed: 0 * NaN is NaN, yet a zero weight reads
nothing. Operators that swallow NaN would make an input-dependent value look constant, so every
operator that is not known to carry NaN has its whole output marked, and comparisons and integer
results, which cannot hold NaN, are remembered by identity and mark whatever uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.shrink.calls import LayerCalls
from toolchain.shrink.layers import layers_of, storage_key
from toolchain.shrink.running import Border, Example, as_inputs, fresh, plainly


@dataclass
class Reading:
    """What one layer saw in one call."""

    tainted: Tensor
    """bool (in,): True where the channel depends on the image."""
    maps: Tensor
    """(in, positions): the values of the channels; NaN where tainted."""
    keeps_uniform: bool
    """True if one value everywhere in an input channel gives one value everywhere."""


@dataclass
class Taint:
    """What one run showed, for every layer."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    """Layer name -> one reading per call, in order."""
    written: dict[str, Tensor] = field(default_factory=dict)
    """Layer name -> bool (out,): True where the channel depends on the image in some call."""


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
    with plainly(), Border(tracer.leaves), tracer:
        copied(*inputs)
    return tracer.taint


def trace_values(network: nn.Module, example: Example) -> Taint:
    """Run a copy of ``network`` on real inputs and record what its layers read."""
    copied = fresh(network)
    tracer = _Tracer(copied, marks=False)
    with plainly(), tracer:
        copied(*as_inputs(example))
    return tracer.taint


class _Tracer(TorchDispatchMode):
    """Watches every operator; corrects those that lose or invent NaN."""

    def __init__(self, network: nn.Module, *, marks: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taint = Taint()
        self.calls = LayerCalls(layers_of(network).values())
        self.marks = marks
        self.marked: dict[int, Tensor] = {}  # by memory: cannot hold NaN; held to keep the memory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if not self.marks:
            out = func(*args, **kwargs)
        elif self._reads_marks(args, kwargs):
            if name in ESCAPES or (name in PICKING and self._picks_by_marked_mask(args)):
                self.refuse(f"operator aten.{name}")
            out = self._marked_call(name, func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        self._record(name, args, kwargs, out)
        return out

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

    def _marked_call(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        reads_unholdable = any(map(self._is_unholdable, tree_leaves((args, kwargs))))
        rule = RULES.get(name)
        carries = name in CARRIERS and not reads_unholdable
        out = rule(func, args, kwargs) if rule and not reads_unholdable else func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if not isinstance(leaf, Tensor):
                continue
            if not leaf.is_floating_point():
                self.mark([leaf])
            elif not carries and (rule is None or reads_unholdable) and name not in SHAPE_ONLY:
                leaf.fill_(float("nan"))
        return out

    def _record(self, name: str, args: tuple[Any, ...], kwargs: Any, out: Any) -> None:
        call = self.calls.find(name, args, kwargs)
        if call is None:
            return
        layer, maps = call.layer, call.x.transpose(0, 1).flatten(1).clone()
        tainted = torch.isnan(maps).any(dim=1)
        reading = Reading(tainted, maps, call.keeps_uniform)
        self.taint.readings.setdefault(layer.name, []).append(reading)
        written = torch.isnan(out.transpose(0, 1).flatten(1)).any(dim=1)
        known = self.taint.written.get(layer.name)
        self.taint.written[layer.name] = written if known is None else known | written


Rule: TypeAlias = Callable[[Any, tuple[Any, ...], Any], Any]
"""Runs the operator so that the output is NaN exactly where it depends on the image."""


def _convolution(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """An output channel depends on the image if a non-zero weight reads a tainted channel.

    The others are computed from the clean channels alone; NaN stands for all the rest.
    """
    x, weight, bias, *rest = args
    transposed, groups = bool(args[6]), int(args[8])
    tainted = torch.isnan(x.transpose(0, 1).flatten(1)).any(dim=1)
    layout = weight.unflatten(0, (groups, -1))  # (g, out / g, in / g, ...); in, out if transposed
    if transposed:
        layout = layout.transpose(1, 2)
    reads = (layout != 0).flatten(3).any(dim=3) & tainted.view(groups, 1, -1)
    clean = ~reads.any(dim=2).flatten()  # (out,)
    shape = func(*(a.to("meta") if isinstance(a, Tensor) else a for a in args), **kwargs).shape
    out: Tensor = x.new_full(shape, float("nan"))
    if bool(clean.any()):
        image = torch.where(tainted.view(1, -1, *[1] * (x.ndim - 2)), 0.0, x)
        out[:, clean] = _clean_part(func, (image, weight, bias, *rest), kwargs, clean)
    return out


def _clean_part(func: Any, args: tuple[Any, ...], kwargs: Any, clean: Tensor) -> Tensor:
    """Run a convolution for some output channels only, where it can be cut so."""
    image, weight, bias, *rest = args
    groups, width = int(rest[-1]), int(image.shape[1])
    rows = clean.nonzero().flatten()
    some = None if bias is None else bias[rows]
    if groups == 1:
        part = weight[:, rows] if rest[3] else weight[rows]
        whole: Tensor = func(image, part, some, *rest, **kwargs)
    elif groups == width == len(clean):  # depthwise, one filter per channel
        whole = func(image[:, rows], weight[rows], some, *rest[:-1], len(rows), **kwargs)
    else:
        every: Tensor = func(image, weight, bias, *rest, **kwargs)
        whole = every[:, rows]
    return whole


def _matrix_product(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """The same for ``mm(x, w)`` and ``addmm(bias, x, w)``: zeros in ``w`` read nothing."""
    *bias, x, weight = args
    if torch.isnan(weight).any() or any(torch.isnan(vector).any() for vector in bias):
        return torch.full_like(func(*args, **kwargs), float("nan"))
    mask = torch.isnan(x)
    out: Tensor = func(*bias, torch.where(mask, 0.0, x), weight, **kwargs)
    reached = mask.to(x.dtype) @ (weight != 0).to(x.dtype)
    return out.masked_fill_(reached > 0.5, float("nan"))


def _product(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """A factor of zero gives zero, whatever the other factor is."""
    out: Tensor = func(*args, **kwargs)
    zero = [
        factor == 0 if isinstance(factor, Tensor) else torch.tensor(factor == 0)
        for factor in args[:2]
    ]
    return out.masked_fill_((zero[0] | zero[1]).expand_as(out), 0.0)


def _batch_norm(func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """A scale of zero hides its channel: what is left is the shift."""
    x, scale = args[0], args[1]
    if isinstance(scale, Tensor) and bool((scale == 0).any()):
        hidden = (scale == 0).reshape(1, -1, *[1] * (x.ndim - 2))
        x = torch.where(hidden, 0.0, x)
    return func(x, *args[1:], **kwargs)


def _power(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """NaN ** 0 is 1."""
    out: Tensor = func(*args, **kwargs)
    if len(args) > 1 and isinstance(args[1], int | float) and args[1] != 0:
        return out
    return out.fill_(float("nan"))


def _choose(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """The condition is clean here (a marked one never gets so far): NaN goes where it is chosen."""
    out: Tensor = func(*args, **kwargs)
    return out


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "mm": _matrix_product,
    "addmm": _matrix_product,
    "mul": _product,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "pow": _power,
    "where": _choose,
    "masked_fill": _choose,
}
"""Operators whose NaN needs a correction."""

CARRIERS = frozenset(
    """
    relu relu_ leaky_relu leaky_relu_ _prelu_kernel silu silu_ sigmoid sigmoid_ tanh tanh_
    hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ elu elu_ gelu mish mish_
    softplus add add_ sub sub_ rsub div div_ mul_ neg abs exp log log1p expm1 sqrt rsqrt square
    reciprocal sin cos erf clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ minimum maximum
    clone detach alias _to_copy copy_ cat view _unsafe_view reshape expand squeeze unsqueeze
    transpose permute t slice select split split_with_sizes unbind as_strided
    max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d mean sum amax amin
    max min bmm upsample_nearest2d upsample_bilinear2d upsample_bicubic2d
    _upsample_nearest_exact2d reflection_pad2d replication_pad2d constant_pad_nd pixel_shuffle
    pixel_unshuffle lerp addcmul addcdiv index index_select gather index_put index_put_
    masked_select
    """.split()
)
"""Operators whose result is NaN wherever it depends on a NaN (checked one by one in the tests)."""

SHAPE_ONLY = frozenset(
    "empty_like zeros_like ones_like full_like new_empty new_zeros new_ones new_full".split()
)
"""Operators that take a tensor for its shape alone."""

ESCAPES = frozenset(
    """_local_scalar_dense nonzero is_nonzero equal unique _unique2 unique_dim unique_consecutive
    repeat_interleave bincount""".split()
)
"""Operators by which values become Python numbers or shapes."""

PICKING = frozenset(["index", "masked_select"])
"""Operators by which the values of a mask, but not of the rest, become a shape."""
