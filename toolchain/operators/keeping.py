"""How operators hand channels on: small rules, each for operators of one kind."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from toolchain.operators.classes import Nodes, Placed
from toolchain.operators.traits import Call
from toolchain.records.reasons import Reason


def pointwise(call: Call) -> Placed | None:
    """Position by position, with broadcasting: channels at the same place are joined."""
    watcher, out = call.watcher, call.out
    laid: list[tuple[Tensor, Placed]] = []
    others: list[Tensor] = []
    for operand in call.inputs:
        placed = watcher.placed(operand)
        if placed is None:
            others.append(operand)
        elif operand.ndim > out.ndim:
            return None
        else:
            laid.append((operand, Placed(placed.dim + out.ndim - operand.ndim, placed.nodes)))
    dim = _dimension([placed for _, placed in laid])
    if dim is None:
        return None
    nodes: Nodes | None = None
    for operand, placed in laid:
        own = placed.nodes if placed.dim == dim else placed.nodes[:1]
        if _size(operand, dim, out.ndim) != out.shape[dim]:  # one channel spread over all: it stays
            watcher.classes.protect(own, Reason("spread", operator=call.name))
            continue
        own = own if len(own) == out.shape[dim] else own[:1] * out.shape[dim]
        nodes = nodes or own
        watcher.classes.join_all(nodes, own)
    if nodes is None:
        return None
    found = Placed(dim, nodes)
    return found if all(_fits(call, operand, found) for operand in others) else None


def _dimension(laid: Sequence[Placed]) -> int | None:
    """Return the dimension along which all channels lie; None if they lie along several."""
    dims = {placed.dim for placed in laid if not placed.is_uniform}
    if len(dims) > 1 or not laid:
        return None
    return dims.pop() if dims else laid[0].dim


def _size(operand: Tensor, dim: int, ndim: int) -> int:
    """Return an operand's size along a dimension of the result, to which it is broadcast."""
    position = dim - (ndim - operand.ndim)
    return operand.shape[position] if position >= 0 else 1


def _fits(call: Call, operand: Tensor, placed: Placed) -> bool:
    """Return True if an operand that no layer wrote still fits after channels are removed."""
    size = _size(operand, placed.dim, call.out.ndim)
    if size == 1 or call.watcher.is_state(operand):
        return True
    if operand.numel() != size:
        return False
    return call.watcher.join_tensor(operand, placed.nodes) or (
        call.name in ("add", "add_") and call.watcher.adds_bias(operand, placed.nodes)
    )


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
    return nodes if all(_join_vector(call, vector, nodes) for vector in vectors) else None


def _join_vector(call: Call, vector: Tensor, nodes: Nodes) -> bool:
    """Tie a vector of one entry per channel: a parameter, or one repeated for each image."""
    placed = call.watcher.placed(vector)
    if placed is None:
        return call.watcher.join_tensor(vector, nodes)
    if len(placed.nodes) != len(nodes):
        return False
    call.watcher.classes.join_all(placed.nodes, nodes)
    return True


def prelu(call: Call) -> Nodes | None:
    """Each channel with its own slope, or all with one."""
    nodes, slopes = call.x_nodes, call.args[1]
    if nodes is None:
        return None
    return nodes if slopes.numel() == 1 or call.watcher.join_tensor(slopes, nodes) else None


def reduction(call: Call) -> Placed | None:
    """Mean, sum or maximum over positions or the batch, never over the channels."""
    placed, ndim = call.x_placed, call.x.ndim
    dims = call.args[1] if len(call.args) > 1 else None
    dims = [dims] if isinstance(dims, int) else dims
    if placed is None or not dims:
        return None
    reduced = {dim % ndim for dim in dims}
    if placed.dim in reduced:
        return None
    gone = 0 if call.out.ndim == ndim else sum(dim < placed.dim for dim in reduced)
    return Placed(placed.dim - gone, placed.nodes)


def along_positions(call: Call) -> Placed | None:
    """Softmax along positions."""
    placed = call.x_placed
    return placed if placed is not None and call.dim(1) != placed.dim else None


def layer_norm(call: Call) -> Placed | None:
    """Statistics over positions, of every channel; not over the channels themselves."""
    placed, normalised = call.x_placed, len(call.args[1])
    if placed is None or placed.dim >= call.x.ndim - normalised:
        return None
    return placed


def group_norm(call: Call) -> Placed | None:
    """Statistics over whole groups of channels, which can only go whole."""
    placed, groups = call.x_placed, int(call.args[6])
    if placed is None or placed.dim != 1:
        return None
    width = len(placed.nodes) // groups
    for index, node in enumerate(placed.nodes):
        call.watcher.classes.join(node, placed.nodes[index // width * width])
    vectors = [vector for vector in call.args[1:3] if isinstance(vector, Tensor)]
    fit = all(call.watcher.join_tensor(vector, placed.nodes) for vector in vectors)
    return placed if fit else None
