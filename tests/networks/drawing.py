"""What networks are made of, and how often: every choice is made by the caller's ``choose``.

Hypothesis chooses in :mod:`networks.strategies`, which makes failing descriptions small;
:func:`description_of` chooses by a plain seed, so that millions can be counted through.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from networks.blocks import BLOCKS, JOINS, OUTPUTS
from networks.convolutions import WEIGHTS
from networks.descriptions import (
    Again,
    Block,
    Convolution,
    Description,
    Function,
    Join,
    Output,
    Step,
    Zeros,
)
from networks.functions import MIXING, POINTWISE, SPATIAL, SWALLOWING
from networks.layers import ACTIVATIONS, LEARNED, NORMS

T = TypeVar("T")


class Choose(Protocol):
    """Returns one of the options."""

    def __call__(self, options: Sequence[T]) -> T: ...


LEVELS_OF_ZEROS = ("none", "some", "some", "most", "all")
BACK = range(6)
EITHER = (False, True)
WIDTHS = (4, 2, 6, 8, 3, 1)
COMMON_NORMS = ("batch", "none", "batch", "batch")
COMMON_ACTIVATIONS = ("none", "relu", "relu", "prelu", "prelu_channels", "silu", "relu_in_place")
COMMON_JOINS = ("add", "concatenate", "gate", "weighted_sum", "multiply")
COMMON_FUNCTIONS = (
    *("relu", "silu", "sigmoid", "leaky_relu", "max_pool", "average_pool", "upsample_nearest"),
    *("upsample_bilinear", "global_pool", "prelu", "prelu_channels", "scale", "norm_batch"),
    *("first_half", "split_and_weight", "affine", "clamp", "dropout"),
    *("swapped_by_buffer", "repeated_by_number", "stepped_by_number", "rolled_by_number"),
    *("lstm", "gru"),
)
LIVE_OUTPUTS = (
    *("convolution", "pointwise", "levels", "pooled", "perceptron"),
    *("boxes", "scores", "boxes_and_scores"),
)
SECONDS = ("none",) * 8 + ("image", "vector")
TYPES = ("float32",) * 14 + ("float16", "bfloat16")
LAYOUTS = ("contiguous",) * 4 + ("channels_last",)
FORMS = ("tuple",) * 4 + ("dict", "nested")
SORTS = ("plain", "plain", "odd", "swallowing")
"""Half of the networks are of plain steps, a quarter each has odd ones, and operators that
swallow NaN."""


def some_zeros(choose: Choose) -> Zeros:
    return Zeros(
        filters=choose(LEVELS_OF_ZEROS),
        bias=choose(EITHER),
        norm=choose(EITHER),
        columns=choose(("none", "none", "none", "some", "most", "all")),
        scales=choose(("none", "none", "none", "none", "some", "all")),
    )


def plain_convolution(choose: Choose, width: int) -> Convolution:
    """What most networks are made of; ``width`` is the number of channels that most layers have."""
    return Convolution(
        source=choose((0, 0, 0, 0, 1, 2, 3)),
        channels=choose((width,) * 6 + WIDTHS),
        kernel=choose((1, 3, 3, 5)),
        stride=choose((1, 1, 1, 2)),
        padding=choose(("same", "same", "same", "none")),
        groups=choose((1, 1, 1, 1, 0, 2)),
        bias=choose(EITHER),
        norm=choose(COMMON_NORMS),
        activation=choose(COMMON_ACTIVATIONS),
        zeros=some_zeros(choose),
    )


def odd_convolution(choose: Choose, width: int) -> Convolution:
    """Every setting that a convolution has, and every way to come by its weights."""
    return replace(
        plain_convolution(choose, width),
        padding=choose(("same", "none", "large")),
        dilation=choose((1, 2)),
        groups=choose((1, 0, 2, 4)),
        mode=choose(("zeros", "zeros", "reflect", "replicate", "circular")),
        transposed=choose((False, False, False, True)),
        norm=choose(("none", *NORMS)),
        activation=choose(("none", *ACTIVATIONS)),
        weights=choose(("own",) * 5 + tuple(WEIGHTS)),
    )


def block(choose: Choose, width: int) -> Block:
    return Block(
        kind=choose(tuple(BLOCKS)),
        source=choose((0, 0, 1)),
        channels=choose((width,) * 6 + WIDTHS),
        norm=choose(COMMON_NORMS),
        activation=choose(("relu", "prelu_channels", "silu", "none")),
        zeros=some_zeros(choose),
    )


def function(choose: Choose, names: Sequence[str]) -> Function:
    return Function(choose(names), choose((0, 0, 0, 1, 2)))


def join(choose: Choose, kinds: Sequence[str]) -> Join:
    return Join(choose(kinds), choose(BACK), choose(BACK), some_zeros(choose))


HARMLESS = (*POINTWISE, *SPATIAL, *LEARNED)
STEPS = {
    "plain": ("common join", "common function", "plain", "plain", "block"),
    "odd": ("odd", "odd", "any join", "harmless", "mixing"),
    "swallowing": ("common join", "common function", "swallowing", "swallowing", "harmless"),
}


def step(choose: Choose, sort: str, width: int) -> Step:
    """A step of a network that is "plain", "odd", or "swallowing" NaN."""
    kind = choose(("plain", "plain", *STEPS[sort], "block", "again"))
    steps = {
        "plain": lambda: plain_convolution(choose, width),
        "odd": lambda: odd_convolution(choose, width),
        "block": lambda: block(choose, width),
        "again": lambda: Again(choose(BACK), choose(BACK)),
        "common join": lambda: join(choose, COMMON_JOINS),
        "any join": lambda: join(choose, (*JOINS, "weighted_sum")),
        "common function": lambda: function(choose, COMMON_FUNCTIONS),
        "harmless": lambda: function(choose, HARMLESS),
        "mixing": lambda: function(choose, tuple(MIXING)),
        "swallowing": lambda: function(choose, tuple(SWALLOWING)),
    }
    return steps[kind]()


def output(choose: Choose, sort: str) -> Output:
    kinds = LIVE_OUTPUTS if sort == "plain" else (*LIVE_OUTPUTS, *OUTPUTS)
    zeros = choose((Zeros(), Zeros(), Zeros(filters="some"), Zeros(columns="some")))
    return Output(choose(kinds), choose((0, 0, 0, 1, 2)), zeros)


def ways(choose: Choose) -> dict[str, str]:
    """How a network is called, kept and read."""
    return {
        "second": choose(SECONDS),
        "dtype": choose(TYPES),
        "layout": choose(LAYOUTS),
        "form": choose(FORMS),
    }


def description_of(seed: int) -> Description:
    """The network that a plain seed stands for."""
    choose = random.Random(seed).choice
    sort, width = choose(SORTS), choose(WIDTHS[:4])
    return Description(
        steps=tuple(step(choose, sort, width) for _ in range(choose(range(1, 9)))),
        outputs=tuple(output(choose, sort) for _ in range(choose((1, 2, 3)))),
        seed=choose(range(2**16)),
        aligned=choose(EITHER),
        **ways(choose),
    )
