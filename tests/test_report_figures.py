"""The drawings in the HTML page."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import VARIANTS, layer, parity_of, report_of, words

from toolchain.records.stages import Latency, LayerChange
from toolchain.report.charts.bars import before_after
from toolchain.report.charts.limit_marks import LogScale
from toolchain.report.document.html import block
from toolchain.report.run import facts, filters
from toolchain.report.run.proof import parity_figure
from toolchain.report.run.surgery import width_bar, widths_figure


def fragment(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{markup}</div>")


def bars(each: facts.Comparison) -> ElementTree.Element:
    return fragment(before_after("words", each.before, each.after, each.quartiles).svg)


def share(rectangle: ElementTree.Element, attribute: str) -> float:
    return float(rectangle.get(attribute, "").removesuffix("%")) / 100


def filters_of(bar: ElementTree.Element) -> int:
    """How many filters a bar's title says that it is."""
    return int(bar.findtext("title", "").split()[0].replace(",", ""))


@st.composite
def layers(draw: st.DrawFn) -> LayerChange:
    counts = {
        key: draw(st.integers(0, 40))
        for key in ("dropped", "folded", "carried", "kept", "removed_live")
    }
    live = draw(st.integers(1, 60))
    return layer("a", live + sum(counts.values()), **counts)


@settings(deadline=None)
@given(layers(), st.integers(0, 300))
def test_bars_are_as_long_as_their_counts(change: LayerChange, wider: int) -> None:
    widest = change.out_channels_before + wider
    drawn = fragment(width_bar(change, widest).svg)
    end = 0.0
    found = {}
    for bar in drawn.iter("rect"):
        assert share(bar, "x") == pytest.approx(end, abs=2e-6)
        assert share(bar, "width") == pytest.approx(filters_of(bar) / widest, abs=1e-6)
        end = share(bar, "x") + share(bar, "width")
        found[bar.get("class", "").removeprefix("part-")] = filters_of(bar)
    assert end == pytest.approx(change.out_channels_before / widest, abs=2e-6)
    assert found == {key: number for key, number in filters.parts(change).items() if number}
    assert sum(found.values()) == change.out_channels_before
    assert found.get("live", 0) + found.get("kept", 0) == change.out_channels_after
    for line in drawn.iter("line"):
        assert share(line, "x1") == pytest.approx(change.out_channels_after / widest, abs=1e-6)


def test_a_layer_that_stayed_has_no_line_where_it_ends() -> None:
    assert fragment(width_bar(layer("a", 8, kept=2), 8).svg).find(".//line") is None
    assert fragment(width_bar(layer("a", 8, dropped=2), 8).svg).find(".//line") is not None


def test_every_layer_has_its_row_and_the_legend_counts_them_all() -> None:
    report = VARIANTS["120 layers"]
    figure = fragment(block(widths_figure(report.surgery.layers)))
    rows = figure.findall("./figure/ol/li")
    assert len(rows) == 120
    assert words(rows[0]).endswith("4 → 3")
    legend = [words(entry) for entry in figure.findall("./figure/ul/li")]
    assert legend[1:5] == ["kept zeroed 120", "carried 0", "folded 0", "dropped 120"]
    total = sum(change.out_channels_before for change in report.surgery.layers)
    assert sum(int(entry.split()[-1].replace(",", "")) for entry in legend) == total


def test_before_and_after_bars_keep_the_ratio() -> None:
    slower = Latency(1.25, 1.2, 1.5, 20.0, 25.0, 30, 1, (480, 640), "a runtime", "a machine")
    *_, size, time = facts.comparisons(report_of(latency=slower))
    before, after = bars(size).iter("rect")
    assert share(after, "width") / share(before, "width") == pytest.approx(386_112 / 402_518, 1e-5)
    before, after = bars(time).iter("rect")
    assert share(after, "width") / share(before, "width") == pytest.approx(1.25, 1e-5)
    whisker = next(bars(time).iter("line"))
    assert (share(whisker, "x1"), share(whisker, "x2")) == (0.8, 1.0)


def test_log_scale_places_decades_evenly() -> None:
    scale = LogScale.around([2e-6, 1e-4, 0.0, math.nan])
    assert (scale.low_exponent, scale.high_exponent) == (-7, -3)
    assert [scale.share(figure) for figure in (0.0, 1e-7, 1e-5, 1e-3, math.inf)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert LogScale.around([0.0]).share(1e-6) == pytest.approx(0.5)


def test_parity_marks_differ_in_shape_and_lie_on_their_side_of_the_limit() -> None:
    link = parity_of((1e-6, 1.0), (1e-2, 1.0), (math.nan, 1.0), (1e-4, 1.0))
    within, over, nan, equal = fragment(block(parity_figure(link))).findall("./figure/ol/li")[:4]
    for row in (within, equal):
        dot, limit = row.find(".//circle"), row.find(".//line[@class='limit']")
        assert dot is not None
        assert limit is not None
        assert share(dot, "cx") <= share(limit, "x1")
    for row in (over, nan):
        cross, limit = row.find("./svg/svg"), row.find(".//line[@class='limit']")
        assert cross is not None
        assert limit is not None
        assert share(cross, "x") > share(limit, "x1")
    assert words(over).endswith("1.0e-02 over the limit")
    assert words(nan).endswith("not finite")


def test_a_limit_is_compared_with_the_share_of_the_range() -> None:
    link = parity_of((1e-3, 100.0), limit=1e-4)
    assert "1.0e-05 within" in words(fragment(block(parity_figure(link))))
