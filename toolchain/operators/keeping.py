"""How operators hand channels on: small rules, each for operators of one kind."""

from __future__ import annotations

import math

from torch import Tensor

from toolchain.operators.classes import Nodes
from toolchain.operators.traits import Call
from toolchain.records.reasons import Reason


def pointwise(call: Call) -> Nodes | None:
    """Position by position, with broadcasting: channels at the same place are joined."""
    return _combine(call, call.inputs)


def _combine(call: Call, operands: list[Tensor]) -> Nodes | None:
    classes, nodes = call.watcher.classes, None
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


def spatial(call: Call) -> Nodes | None:
    """Each channel on its own: pooling, resizing, padding of positions."""
    nodes = call.x_nodes
    return nodes if nodes and call.out.ndim >= 2 and call.out.shape[1] == len(nodes) else None


def padding(call: Call) -> Nodes | None:
    """Padding of positions; not of channels or of the batch."""
    pads_positions_only = len(call.args[1]) <= 2 * (call.x.ndim - 2)
    return spatial(call) if pads_positions_only else None


def batch_norm(call: Call) -> Nodes | None:
    """Each channel on its own, with vectors of one entry per channel."""
    nodes = call.x_nodes
    vectors = [vector for vector in call.args[1:5] if isinstance(vector, Tensor)]
    if nodes is None:
        return None
    return nodes if all(call.watcher.join_tensor(vector, nodes) for vector in vectors) else None


def prelu(call: Call) -> Nodes | None:
    """Each channel with its own slope, or all with one."""
    nodes, slopes = call.x_nodes, call.args[1]
    if nodes is None:
        return None
    return nodes if slopes.numel() == 1 or call.watcher.join_tensor(slopes, nodes) else None


def reduction(call: Call) -> Nodes | None:
    """Mean, sum or maximum over positions, never over the batch or the channels."""
    dims = call.args[1] if len(call.args) > 1 else None
    dims = [dims] if isinstance(dims, int) else dims
    over_positions = dims and all(dim % call.x.ndim >= 2 for dim in dims)
    return call.x_nodes if over_positions else None


def along_positions(call: Call) -> Nodes | None:
    """Softmax, slices and selections along positions."""
    return spatial(call) if call.dim(1) >= 2 else None


def split(call: Call) -> Nodes | None:
    """Parts of positions, not of channels."""
    return call.x_nodes if call.dim(2) >= 2 else None


def permutation(call: Call) -> Nodes | None:
    """An order of dimensions that leaves batch and channels where they are."""
    order = list(range(call.x.ndim))
    if call.name == "transpose":
        a, b = call.dim(1), call.dim(2)
        order[a], order[b] = b, a
    else:
        order = [dim % call.x.ndim for dim in call.args[1]]
    return call.x_nodes if order[:2] == [0, 1] else None


def reshaping(call: Call) -> Nodes | None:
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


def concatenation(call: Call) -> Nodes | None:
    """Channels side by side, or positions side by side of parts that layers wrote."""
    parts: list[Tensor] = list(call.args[0])
    dim = (call.args[1] if len(call.args) > 1 else 0) % call.out.ndim
    if dim != 1:
        return _combine(call, parts) if all(map(call.watcher.get, parts)) else None
    nodes: Nodes = []
    for part in parts:
        known = call.watcher.get(part)
        if known is None:  # the network's input, or a fixed tensor: nothing of it can go
            known = call.watcher.classes.new(part.shape[1])
            call.watcher.classes.protect(known, Reason("no_layer_writes"))
        nodes.extend(known)
    return nodes


def expansion(call: Call) -> Nodes | None:
    """Positions repeated; batch and channels stay as they are."""
    same = call.out.ndim == call.x.ndim and call.out.shape[:2] == call.x.shape[:2]
    return call.x_nodes if same else None
