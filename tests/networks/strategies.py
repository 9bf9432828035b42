"""What Hypothesis draws: descriptions of networks."""

from __future__ import annotations

from hypothesis import strategies as st

from networks import drawing
from networks.descriptions import Description, Output, Step
from networks.drawing import Choose


def chooser(draw: st.DrawFn) -> Choose:
    """Hypothesis chooses."""
    return lambda options: draw(st.sampled_from(options))


@st.composite
def steps(draw: st.DrawFn, sort: str, width: int) -> Step:
    return drawing.step(chooser(draw), sort, width)


@st.composite
def outputs(draw: st.DrawFn, sort: str) -> Output:
    return drawing.output(chooser(draw), sort)


@st.composite
def single_descriptions(draw: st.DrawFn) -> Description:
    choose = chooser(draw)
    sort, width = choose(drawing.SORTS), choose(drawing.WIDTHS[:4])
    return Description(
        steps=tuple(draw(st.lists(steps(sort, width), min_size=1, max_size=8))),
        outputs=tuple(draw(st.lists(outputs(sort), min_size=1, max_size=3))),
        seed=draw(st.integers(0, 2**16)),
        aligned=choose(drawing.EITHER),
        **drawing.ways(choose),
    )


def descriptions() -> st.SearchStrategy[Description]:
    """Descriptions of networks that have little in common.

    Of the examples that Hypothesis tries, five in six are the one before with a part of it copied
    over another. It does not do so inside a list of unique items, hence the list of one.
    """
    return st.lists(single_descriptions(), min_size=1, max_size=1, unique=True).map(
        lambda items: items[0]
    )
