"""The table of operators: looked up by the analysis and by the count, added to by users."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from toolchain.errors import InputError
from toolchain.operators.keeping import pointwise
from toolchain.operators.known import BUILT_IN
from toolchain.operators.traits import ChannelRule, MacsRule, NanRule, Operator

TABLE: dict[str, Operator] = dict(BUILT_IN)
"""Operator -> its traits. Those of ``aten`` by their name, others as ``namespace.name``; no
overload."""

UNKNOWN = Operator()
"""What is assumed of an operator that is not in the table."""


def operator_name(func: Any) -> str:
    """Return the name in the table of an operator as a dispatch mode sees it."""
    name: str = func.overloadpacket.__name__
    return name if func.namespace == "aten" else f"{func.namespace}.{name}"


def find(name: str) -> Operator:
    """Return what is known of the operator ``name``, as :func:`operator_name` gives it."""
    return TABLE.get(name, UNKNOWN)


def register(
    name: str,
    *,
    keeps_channels: bool | ChannelRule | None = None,
    carries_nan: bool | NanRule | None = None,
    macs: int | MacsRule | None = None,
) -> Operator:
    """Tell what an operator does, and return all that is known of it now.

    ``name`` is ``namespace.operator``: ``"mylib.my_op"`` for one that was made by
    ``torch.library.custom_op("mylib::my_op")``, ``"aten.my_op"`` for one of PyTorch's own; no
    overload. What is not given stays as it was.

    ``keeps_channels``: True promises that channel i of the output (dimension 1) is computed from
    channel i of the inputs alone, each in its place or with broadcasting, and that the operator
    works with fewer channels. Tensors of one entry per channel (scales, slopes) need the rule
    :func:`toolchain.operators.keeping.batch_norm`, or one of your own: it is given a
    :class:`~toolchain.operators.Call` and returns the output's nodes, or None for a call that does
    not keep channels apart. Without this trait, channels that reach the operator stay.

    ``carries_nan``: True promises that the result is NaN wherever it depends on a NaN, as
    arithmetic does and comparisons do not. Otherwise all of the result counts as dependent on the
    image. A rule (func, args, kwargs) runs the operator and sees to it.

    ``macs``: multiply-accumulates of a call, a number or a function of (arguments, result).
    Without, an operator whose name says that it multiplies is reported as not counted.

    A wrong promise is found by the proof that follows each surgery, which then refuses. Raises
    :class:`InputError` for a name without its namespace, and for negative ``macs``.
    """
    if not re.fullmatch(r"\w+(\.|::)\w+", name):
        raise InputError(
            f"the operator must be named namespace.operator, as in mylib.my_op (got {name!r}): no "
            f"overload, and aten. for PyTorch's own"
        )
    if isinstance(macs, int) and macs < 0:
        raise InputError(f"macs of {name} must be at least 0 (got {macs})")
    key = name.replace("::", ".").removeprefix("aten.")
    traits: dict[str, Any] = {}
    if keeps_channels is not None:
        traits["channels"] = _choice(keeps_channels, pointwise, None)
    if carries_nan is not None:
        traits["nan"] = _choice(carries_nan, "carried", "unknown")
    if macs is not None:
        traits["macs"] = macs
    TABLE[key] = dataclasses.replace(find(key), **traits)
    return TABLE[key]


def _choice(given: Any, yes: Any, no: Any) -> Any:
    """Return the value for True, the value for False, or the rule that was given."""
    if isinstance(given, bool):
        return yes if given else no
    return given
