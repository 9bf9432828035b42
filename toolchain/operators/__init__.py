"""What is known of each operator of PyTorch, in one table that users can add to.

The analysis (which channels can go, what does not depend on the image) and the count of
multiply-accumulates both look an operator up here. One that is not in the table costs nothing but
reach: the channels that reach it stay, what it gives counts as dependent on the image, and the
report names it. So a network with an operator of its own is pruned around that operator until its
traits are told, in five lines:

    from toolchain import operators

    operators.register(
        "mylib.my_op", keeps_channels=True, carries_nan=True, macs=lambda args, out: 9 * out.numel()
    )

See :func:`register` for what each trait promises, and :class:`Operator` for all of them.
"""

from __future__ import annotations

from toolchain.operators.table import TABLE, find, operator_name, register
from toolchain.operators.traits import Call, ChannelRule, MacsRule, NanRule, Operator

__all__ = [
    "TABLE",
    "Call",
    "ChannelRule",
    "MacsRule",
    "NanRule",
    "Operator",
    "find",
    "operator_name",
    "register",
]
