"""How each operator hands channels on: a table of small rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from toolchain.records.reasons import Reason
from toolchain.shrink.channels import Flow, Nodes


class Watcher(Protocol):
    """What rules may ask of the run."""

    flow: Flow

    def get(self, tensor: object) -> Nodes | None:
        """Return the nodes of ``tensor``, or None if no layer's channels are in it."""

    def join_tensor(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Tie a parameter or buffer with one entry per channel to ``nodes``."""


@dataclass(frozen=True)
class Call:
    """One operator call."""

    watcher: Watcher
    name: str
    """The operator's ``aten`` name, without overload."""
    args: tuple[Any, ...]
    inputs: list[Tensor]
    outputs: list[Tensor]
    written: list[Tensor]
    """Arguments that the operator changes in place."""

    @property
    def out(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def x(self) -> Tensor:
        """The first argument."""
        first: Tensor = self.args[0]
        return first

    @property
    def x_nodes(self) -> Nodes | None:
        """The nodes of the first argument."""
        return self.watcher.get(self.args[0])

    def dim(self, position: int, default: int = 0) -> int:
        """Return the argument at ``position`` as a dimension counted from the front."""
        value = self.args[position] if len(self.args) > position else default
        return int(value) % self.x.ndim


Rule: TypeAlias = Callable[[Call], Nodes | None]
"""Returns the output's nodes, or None when this call does not keep channels apart."""


def _pointwise(call: Call) -> Nodes | None:
    """Position by position, with broadcasting: channels at the same place are joined."""
    return _combine(call, call.inputs)


def _combine(call: Call, operands: list[Tensor]) -> Nodes | None:
    classes, nodes = call.watcher.flow.classes, None
    for operand in operands:
        found = call.watcher.get(operand)
        if found is None:
            continue
        if operand.ndim != call.out.ndim:
            return None
        if len(found) != call.out.shape[1]:  # one channel spread over all: it stays
            classes.protect(found, Reason("spread", operator=call.name))
            continue
        nodes = nodes or found
        classes.join_all(nodes, found)
    if nodes is None:
        return None
    others = [operand for operand in operands if call.watcher.get(operand) is None]
    return nodes if all(_fits(call, operand, nodes) for operand in others) else None


def _fits(call: Call, operand: Tensor, nodes: Nodes) -> bool:
    """Return True if an operand that no layer wrote still fits after channels are removed."""
    position = 1 - (call.out.ndim - operand.ndim)
    if position < 0 or operand.shape[position] == 1:
        return True
    one_per_channel = operand.numel() == operand.shape[position]
    return one_per_channel and call.watcher.join_tensor(operand, nodes)


def _spatial(call: Call) -> Nodes | None:
    """Each channel on its own: pooling, resizing, padding of positions."""
    nodes = call.x_nodes
    return nodes if nodes and call.out.ndim >= 2 and call.out.shape[1] == len(nodes) else None


def _padding(call: Call) -> Nodes | None:
    pads_positions_only = len(call.args[1]) <= 2 * (call.x.ndim - 2)
    return _spatial(call) if pads_positions_only else None


def _batch_norm(call: Call) -> Nodes | None:
    nodes = call.x_nodes
    vectors = [vector for vector in call.args[1:5] if isinstance(vector, Tensor)]
    if nodes is None:
        return None
    return nodes if all(call.watcher.join_tensor(vector, nodes) for vector in vectors) else None


def _prelu(call: Call) -> Nodes | None:
    nodes, slopes = call.x_nodes, call.args[1]
    if nodes is None:
        return None
    return nodes if slopes.numel() == 1 or call.watcher.join_tensor(slopes, nodes) else None


def _reduction(call: Call) -> Nodes | None:
    """Mean, sum or maximum over positions, never over the batch or the channels."""
    dims = call.args[1] if len(call.args) > 1 else None
    dims = [dims] if isinstance(dims, int) else dims
    over_positions = dims and all(dim % call.x.ndim >= 2 for dim in dims)
    return call.x_nodes if over_positions else None


def _along_positions(call: Call) -> Nodes | None:
    """Softmax, slices and selections along positions."""
    return _spatial(call) if call.dim(1) >= 2 else None


def _split(call: Call) -> Nodes | None:
    return call.x_nodes if call.dim(2) >= 2 else None


def _permutation(call: Call) -> Nodes | None:
    order = list(range(call.x.ndim))
    if call.name == "transpose":
        a, b = call.dim(1), call.dim(2)
        order[a], order[b] = b, a
    else:
        order = [dim % call.x.ndim for dim in call.args[1]]
    return call.x_nodes if order[:2] == [0, 1] else None


def _reshaping(call: Call) -> Nodes | None:
    """Views that leave batch and channels, or lay each channel's positions side by side."""
    nodes, x, out = call.x_nodes, call.x, call.out
    if nodes is None or out.ndim < 2 or out.shape[0] != x.shape[0]:
        return None
    if out.shape[1] == x.shape[1]:
        return nodes
    positions = math.prod(x.shape[2:])
    if out.ndim == 2 and out.shape[1] == x.shape[1] * positions:
        return [node for node in nodes for _ in range(positions)]
    return None


def _concatenation(call: Call) -> Nodes | None:
    parts: list[Tensor] = list(call.args[0])
    dim = (call.args[1] if len(call.args) > 1 else 0) % call.out.ndim
    if dim != 1:
        return _combine(call, parts) if all(map(call.watcher.get, parts)) else None
    nodes: Nodes = []
    for part in parts:
        known = call.watcher.get(part)
        if known is None:  # the network's input, or a fixed tensor: nothing of it can go
            known = call.watcher.flow.classes.new(part.shape[1])
            call.watcher.flow.classes.protect(known, Reason("no_layer_writes"))
        nodes.extend(known)
    return nodes


def _expansion(call: Call) -> Nodes | None:
    same = call.out.ndim == call.x.ndim and call.out.shape[:2] == call.x.shape[:2]
    return call.x_nodes if same else None


_POINTWISE = """
    relu relu_ relu6 leaky_relu leaky_relu_ silu silu_ sigmoid sigmoid_ tanh tanh_ hardswish
    hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ elu elu_ selu celu gelu mish mish_
    softplus log_sigmoid_forward softsign threshold threshold_ add add_ sub sub_ rsub mul mul_ div
    div_ neg abs exp log log1p expm1 sqrt rsqrt square reciprocal pow pow_ sin cos erf atan round
    floor ceil trunc frac sign sgn clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ minimum
    maximum fmin fmax heaviside where masked_fill masked_fill_ nan_to_num gt ge lt le eq ne isnan
    isfinite logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not clone detach
    alias _to_copy lerp addcmul addcdiv zeros_like ones_like full_like copysign remainder fmod
    fake_quantize_per_tensor_affine_cachemask
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
"""
_SPATIAL = """
    max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
    upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d
    _upsample_bilinear2d_aa reflection_pad2d replication_pad2d
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE.split(), _pointwise),
    **dict.fromkeys(_SPATIAL.split(), _spatial),
    **dict.fromkeys(["mean", "sum", "amax", "amin"], _reduction),
    **dict.fromkeys(["_softmax", "slice", "select", "unsqueeze"], _along_positions),
    **dict.fromkeys(["split", "split_with_sizes"], _split),
    **dict.fromkeys(["transpose", "permute"], _permutation),
    **dict.fromkeys(["view", "_unsafe_view", "squeeze"], _reshaping),
    "constant_pad_nd": _padding,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_prelu_kernel": _prelu,
    "cat": _concatenation,
    "expand": _expansion,
}
"""Operator (``aten`` name) -> how it hands channels on. Others protect what reaches them."""

SHAPE_ONLY = frozenset({"empty_like", "new_empty", "new_zeros", "new_ones", "new_full"})
"""Operators that take a tensor for its shape or type alone."""

VIEWS = frozenset(
    "t transpose permute view _unsafe_view unsqueeze squeeze expand detach alias".split()
)
"""Operators that compute nothing: what they give still is the parameter that they look at."""
