"""Where NaN needs a correction: a weight of zero hides what it multiplies, 0 * NaN does not.

Each rule runs its operator so that the output is NaN exactly where it depends on the image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def convolution(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
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


def matrix_product(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """The same for ``mm(x, w)`` and ``addmm(bias, x, w)``: zeros in ``w`` read nothing."""
    *bias, x, weight = args
    if torch.isnan(weight).any() or any(torch.isnan(vector).any() for vector in bias):
        return torch.full_like(func(*args, **kwargs), float("nan"))
    mask = torch.isnan(x)
    out: Tensor = func(*bias, torch.where(mask, 0.0, x), weight, **kwargs)
    reached = mask.to(x.dtype) @ (weight != 0).to(x.dtype)
    return out.masked_fill_(reached > 0.5, float("nan"))


def product(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """A factor of zero gives zero, whatever the other factor is."""
    out: Tensor = func(*args, **kwargs)
    zero = [
        factor == 0 if isinstance(factor, Tensor) else torch.tensor(factor == 0)
        for factor in args[:2]
    ]
    return out.masked_fill_((zero[0] | zero[1]).expand_as(out), 0.0)


def batch_norm(func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """A scale of zero hides its channel: what is left is the shift."""
    x, scale = args[0], args[1]
    if isinstance(scale, Tensor) and bool((scale == 0).any()):
        hidden = (scale == 0).reshape(1, -1, *[1] * (x.ndim - 2))
        x = torch.where(hidden, 0.0, x)
    return func(x, *args[1:], **kwargs)


def power(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """NaN ** 0 is 1."""
    out: Tensor = func(*args, **kwargs)
    if len(args) > 1 and isinstance(args[1], int | float) and args[1] != 0:
        return out
    return out.fill_(float("nan"))


def choose(func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
    """The condition is clean here (a marked one never gets so far): NaN goes where it is chosen."""
    out: Tensor = func(*args, **kwargs)
    return out
