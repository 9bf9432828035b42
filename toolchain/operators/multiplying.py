"""Products of two tensors that both depend on the input: attention, and what is like it.

Where channels are summed over, as queries and keys are, they end: channel i of one factor is only
ever multiplied with channel i of the other one, and both can go where all these products are zero.
Every other dimension of a factor is one of the result.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from toolchain.operators.classes import Placed
from toolchain.operators.traits import Call
from toolchain.records.reasons import Reason

Ended: TypeAlias = tuple[()]
"""Nothing is left of the channels behind the operator."""


def batched_product(call: Call) -> Placed | Ended | None:
    """``bmm(a, b)``, (x, n, k) and (x, k, m): sums over k, each of x, n and m on its own."""
    a, b = map(call.watcher.placed, call.args[:2])
    if a is not None and b is not None:
        if (a.dim, b.dim) == (2, 1):
            call.watcher.classes.join_all(a.nodes, b.nodes)
            call.watcher.multiply(call.name, a.nodes)
            return ()
        return _batches(call, a, b) if a.dim == b.dim == 0 else None
    if a is not None:
        return a if a.dim == 1 else None
    return b if b is not None and b.dim == 2 else None


def _batches(call: Call, *factors: Placed) -> Placed:
    first, *others = factors
    for other in others:
        call.watcher.classes.join_all(first.nodes, other.nodes)
    return first


def attention(call: Call) -> Placed | Ended | None:
    """Attention in one call: (..., tokens, channels) each of queries, keys and values.

    Heads, if channels lie along them, go as a whole. What queries and keys are divided by is the
    root of their width unless the call says it: then their channels stay.
    """
    query, key, value = map(call.watcher.placed, call.args[:3])
    last = call.x.ndim - 1
    known = [each for each in (query, key, value) if each is not None]
    if len(known) == 3 and len({each.dim for each in known}) == 1 and known[0].dim < last - 1:
        mask = call.kwargs.get("attn_mask")
        whole = mask is None or mask.ndim < last or mask.shape[known[0].dim] == 1
        return _batches(call, *known) if whole else None
    if any(each.dim != last for each in known):
        return None
    if (query is None) != (key is None):
        return None
    if query is not None and key is not None:
        call.watcher.classes.join_all(query.nodes, key.nodes)
        call.watcher.multiply(call.name, query.nodes)
        if call.kwargs.get("scale") is None:
            call.watcher.classes.protect(query.nodes, Reason("operator", operator=call.name))
    return () if value is None else value


Vanishing: TypeAlias = Literal["product", "attention"]


def vanishing(kind: Vanishing, args: tuple[Any, ...]) -> Tensor:
    """Return, by place of the dimension that is summed over, if all products there are zero."""
    a, b = args[0], args[1]
    if kind == "product":
        b = b.transpose(-2, -1)
    zero = (a == 0).all(dim=-2) | (b == 0).all(dim=-2)
    every: Tensor = zero.flatten(0, -2).all(dim=0)
    return every


def hiding_product(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """Zero hides what it is multiplied with; a sum is NaN if any other term of it is."""
    a, b = args[:2]
    unknown = [torch.isnan(factor) for factor in (a, b)]
    known = [factor.masked_fill(mask, 0.0) for factor, mask in zip((a, b), unknown, strict=True)]
    out: Tensor = func(*known, *args[2:], **kwargs)
    reached = torch.bmm(unknown[0].to(a.dtype), (b != 0).to(a.dtype))
    reached += torch.bmm((a != 0).to(a.dtype), unknown[1].to(a.dtype))
    return out.masked_fill_(reached > 0.5, float("nan"))


def hiding_attention(func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Weights sum to one: a value that is the same of all tokens is what comes out.

    Under a mask that is so of zero alone, for a token may see none.
    """
    out, *rest = func(*args, **kwargs)
    value = args[2]
    first = value[..., :1, :]
    same = (value == first).all(dim=-2, keepdim=True)
    if kwargs.get("attn_mask") is not None:
        same &= first == 0
    result = torch.where(same, first, float("nan")).expand_as(out).clone()
    return (result, *(torch.full_like(each, float("nan")) for each in rest))
