"""What Hypothesis draws: descriptions of networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

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

LEVELS_OF_ZEROS = ("none", "some", "some", "most", "all")
BACK = st.integers(0, 5)
WIDTHS = (4, 2, 6, 8, 3, 1)


@st.composite
def some_zeros(draw: st.DrawFn) -> Zeros:
    return Zeros(
        filters=draw(st.sampled_from(LEVELS_OF_ZEROS)),
        bias=draw(st.booleans()),
        norm=draw(st.booleans()),
        columns=draw(st.sampled_from(("none", "none", "none", "some", "most", "all"))),
        scales=draw(st.sampled_from(("none", "none", "none", "none", "some", "all"))),
    )


COMMON_NORMS = ("batch", "none", "batch", "batch")
COMMON_ACTIVATIONS = ("none", "relu", "relu", "prelu", "prelu_channels", "silu", "relu_in_place")


@st.composite
def plain_convolutions(draw: st.DrawFn, width: int) -> Convolution:
    """What most networks are made of; ``width`` is the number of channels that most layers have."""
    return Convolution(
        source=draw(st.sampled_from((0, 0, 0, 0, 1, 2, 3))),
        channels=draw(st.sampled_from((width,) * 6 + WIDTHS)),
        kernel=draw(st.sampled_from((1, 3, 3, 5))),
        stride=draw(st.sampled_from((1, 1, 1, 2))),
        padding=draw(st.sampled_from(("same", "same", "same", "none"))),
        groups=draw(st.sampled_from((1, 1, 1, 1, 0, 2))),
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(COMMON_NORMS)),
        activation=draw(st.sampled_from(COMMON_ACTIVATIONS)),
        zeros=draw(some_zeros()),
    )


@st.composite
def odd_convolutions(draw: st.DrawFn, width: int) -> Convolution:
    """Every setting that a convolution has, and every way to come by its weights."""
    return replace(
        draw(plain_convolutions(width)),
        padding=draw(st.sampled_from(("same", "none", "large"))),
        dilation=draw(st.sampled_from((1, 2))),
        groups=draw(st.sampled_from((1, 0, 2, 4))),
        mode=draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular"))),
        transposed=draw(st.sampled_from((False, False, False, True))),
        norm=draw(st.sampled_from(("none", *NORMS))),
        activation=draw(st.sampled_from(("none", *ACTIVATIONS))),
        weights=draw(st.sampled_from(("own",) * 5 + tuple(WEIGHTS))),
    )


@st.composite
def blocks(draw: st.DrawFn, width: int) -> Block:
    return Block(
        kind=draw(st.sampled_from(tuple(BLOCKS))),
        source=draw(st.sampled_from((0, 0, 1))),
        channels=draw(st.sampled_from((width,) * 6 + WIDTHS)),
        norm=draw(st.sampled_from(COMMON_NORMS)),
        activation=draw(st.sampled_from(("relu", "prelu_channels", "silu", "none"))),
        zeros=draw(some_zeros()),
    )


def functions(names: Iterable[str]) -> st.SearchStrategy[Function]:
    return st.builds(Function, st.sampled_from(tuple(names)), st.sampled_from((0, 0, 0, 1, 2)))


def joins(kinds: list[str]) -> st.SearchStrategy[Join]:
    return st.builds(Join, st.sampled_from(kinds), BACK, BACK, some_zeros())


COMMON_JOINS = ["add", "concatenate", "gate", "weighted_sum", "multiply"]
COMMON_FUNCTIONS = [
    *("relu", "silu", "sigmoid", "leaky_relu", "max_pool", "average_pool", "upsample_nearest"),
    *("upsample_bilinear", "global_pool", "prelu", "prelu_channels", "scale", "norm_batch"),
    *("first_half", "split_and_weight", "affine", "clamp", "dropout"),
]
AGAIN = st.builds(Again, BACK, BACK)

HARMLESS = [*POINTWISE, *SPATIAL, *LEARNED]


@st.composite
def steps_of(draw: st.DrawFn, sort: str, width: int) -> Step:
    """A step of a network that is "plain", "odd", or "swallowing" NaN."""
    convolutions = plain_convolutions(width)
    odd = odd_convolutions(width)
    common = (joins(COMMON_JOINS), functions(COMMON_FUNCTIONS))
    strategies: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
        "plain": (convolutions, convolutions, *common, blocks(width)),
        "odd": (odd, odd, joins([*JOINS, "weighted_sum"]), functions(HARMLESS), functions(MIXING)),
        "swallowing": (*common, functions(SWALLOWING), functions(SWALLOWING), functions(HARMLESS)),
    }
    every = (convolutions, convolutions, *strategies[sort], blocks(width), AGAIN)
    return draw(draw(st.sampled_from(every)))


@st.composite
def outputs(draw: st.DrawFn, kinds: tuple[str, ...]) -> Output:
    zeros = draw(st.sampled_from((Zeros(), Zeros(), Zeros(filters="some"), Zeros(columns="some"))))
    return Output(draw(st.sampled_from(kinds)), draw(st.sampled_from((0, 0, 0, 1, 2))), zeros)


LIVE_OUTPUTS = ("convolution", "pointwise", "levels", "pooled", "perceptron")


@st.composite
def single_descriptions(draw: st.DrawFn) -> Description:
    """Networks of three sorts: half of plain steps, and a quarter each with odd ones and with
    operators that swallow NaN."""
    sort = draw(st.sampled_from(("plain", "plain", "odd", "swallowing")))
    steps = steps_of(sort, draw(st.sampled_from(WIDTHS[:4])))
    kinds = LIVE_OUTPUTS if sort == "plain" else (*LIVE_OUTPUTS, *OUTPUTS)
    return Description(
        steps=tuple(draw(st.lists(steps, min_size=1, max_size=8))),
        outputs=tuple(draw(st.lists(outputs(kinds), min_size=1, max_size=3))),
        seed=draw(st.integers(0, 2**16)),
        aligned=draw(st.booleans()),
    )


def descriptions() -> st.SearchStrategy[Description]:
    """Descriptions of networks that have little in common.

    Of the examples that Hypothesis tries, five in six are the one before with a part of it copied
    over another. It does not do so inside a list of unique items, hence the list of one.
    """
    return st.lists(single_descriptions(), min_size=1, max_size=1, unique=True).map(
        lambda items: items[0]
    )
