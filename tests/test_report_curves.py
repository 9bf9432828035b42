"""The charts of evaluations: curves, photos, and precision against size."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from evaluations import (
    JPEG,
    MANY,
    MEMBERS,
    PAGES,
    PNG,
    classed,
    curve,
    curve_page,
    evaluation,
    evaluation_page,
    member_of,
    own_member,
    parsed,
    peer_of,
    scatter_page,
    size_page,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import words

from toolchain.data.published.reading import comparators, paper_rows
from toolchain.records.accuracy import (
    BrokenPhoto,
    Curve,
    Picture,
)
from toolchain.report.accuracy import curves, sizes
from toolchain.report.accuracy.precision_words import (
    figure,
)
from toolchain.report.charts import labels, scatter
from toolchain.report.charts.axes import Box, Scale
from toolchain.report.charts.lines import letter, line_style

# --- curves


def test_a_curve_lies_where_its_figures_are() -> None:
    recall = np.concatenate([[0.0], np.full(999, 0.5)])
    precision = np.concatenate([[0.0], np.full(999, 0.25)])
    places = curves.points(Curve("hard", 10, 0.1, precision, recall))
    middle = (curves.FRAME.left + curves.FRAME.right) / 2
    quarter = curves.FRAME.bottom - (curves.FRAME.bottom - curves.FRAME.top) / 4
    assert places == [(middle, quarter)]


def test_a_perfect_curve_runs_along_the_top() -> None:
    places = curves.points(curve("easy", 1.0))
    assert {y for _, y in places} == {curves.FRAME.top}
    assert places[-1][0] == curves.FRAME.right
    assert len(places) == len(set(places))


def test_there_is_no_line_where_no_face_counts() -> None:
    assert curves.points(curve("easy", None)) == []
    chart = parsed(curve_page("easy", [evaluation(aps=(None, 0.5, 0.5)), evaluation("b")]))
    assert len(classed(chart, "polyline", "curve")) == 1
    assert "no face counts" in words(chart)


def test_lines_differ_in_colour_and_dashes_and_are_named() -> None:
    styles = [line_style(number) for number in range(64)]
    assert len(set(styles)) == 64
    assert len({letter(number) for number in range(100)}) == 100
    chart = parsed(curve_page("hard", MANY))
    lines = classed(chart, "polyline", "curve")
    assert [words(line) for line in lines] == [
        f"{item.subject.name}: {figure(item.ap('hard'))}" for item in MANY
    ]
    entries = [words(entry) for entry in chart.iter("li")]
    assert entries[0] == "Anet0.pth.7000"
    assert len(entries) == len(MANY)


def test_legend_is_sorted_by_average_precision() -> None:
    low, high = evaluation("low", (0.1, 0.1, 0.1)), evaluation("high", (0.9, 0.9, 0.9))
    chart = parsed(curve_page("easy", [low, high]))
    assert [words(entry) for entry in chart.iter("li")] == ["Bhigh.9000", "Alow.1000"]


def test_one_evaluation_needs_no_letters_and_has_big_figures() -> None:
    root = parsed(PAGES["one"]())
    assert classed(root, "circle", "sign") == []
    assert [words(tile) for tile in classed(root, "p", "figure")] == [".8410", ".8300", ".7100"]


# --- photos


def test_photos_are_inside_the_page_with_their_words() -> None:
    shown = Picture("crowd.jpg", (("before", JPEG), ("after", PNG)), "7 of 12 faces missed")
    root = parsed(evaluation_page([evaluation()], compared=[shown]))
    images = [image.get("src", "") for image in root.iter("img")]
    assert [image.split(",")[0] for image in images] == [
        "data:image/jpeg;base64",
        "data:image/png;base64",
    ]
    assert [b64decode(image.split(",")[1]) for image in images] == [JPEG, PNG]
    assert "crowd.jpg 7 of 12 faces missed" in words(root)
    assert root.find(".//section[@id='worst']") is None


def test_broken_photos_and_notes_are_listed() -> None:
    broken = replace(evaluation(), broken=(BrokenPhoto("a/b.jpg", "is cut off"),), notes=("Mind.",))
    text = words(parsed(evaluation_page([broken])))
    assert "1 photo counted as having no box" in text
    assert "a/b.jpg" in text
    assert "is cut off" in text
    assert "Mind." in text


# --- scatter


def test_scales_place_ends_and_middle() -> None:
    linear = Scale(0, 10, 100, 200)
    assert [linear.place(x) for x in (0, 5, 10)] == [100, 150, 200]
    decades = Scale(10, 1000, 0, 100, logarithmic=True)
    assert [decades.place(x) for x in (10, 100, 1000)] == pytest.approx([0, 50, 100])


def test_marks_lie_where_their_figures_are() -> None:
    low = scatter.Point("extd", False, 100_000, 0.6, "low", "low")
    high = scatter.Point("extd", True, 10_000_000, 0.8, "high", "high")
    middle = scatter.Point("other", True, 1_000_000, 0.7, "middle", "middle")
    points = [low, high, middle]
    plane = scatter.plane_of(points)
    (x0, y0), (x1, y1), (x2, y2) = map(plane.place, points)
    assert x2 == pytest.approx((x0 + x1) / 2)
    assert y2 == pytest.approx((y0 + y1) / 2)
    assert plane.box.holds(Box(x0, y1, x1, y0))
    chart = parsed(scatter_page("title", "easy", points))
    found = {words(item): item.get("transform") for item in classed(chart, "path", "mark")}
    assert found["middle"] == f"translate({x2:.1f} {y2:.1f})"
    assert plane.strip is None


def test_a_mark_without_a_size_stands_beside_the_axes() -> None:
    known = scatter.Point("extd", False, 100_000, 0.6, "known", "known")
    unknown = replace(known, amount=None, label="unknown", words="unknown")
    plane = scatter.plane_of([known, unknown])
    assert plane.strip is not None
    assert plane.place(unknown)[0] > plane.box.right > plane.place(known)[0]
    assert plane.place(unknown)[1] == plane.place(known)[1]
    assert "size not given" in scatter_page("t", "easy", [known, unknown])


def test_published_is_hollow_and_measured_is_filled() -> None:
    point = scatter.Point("peer", True, 1, 0.5, "", "yes")
    assert 'class="mark peer measured"' in scatter.mark(point, 0, 0)
    assert 'class="mark peer published"' in scatter.mark(replace(point, measured=False), 0, 0)


def test_marks_of_one_checkpoint_are_joined() -> None:
    published = scatter.Point("extd", False, 100_000, 0.6, "", "p", "extd FPGM 10 %")
    measured = replace(published, measured=True, ap=0.7)
    alone = replace(measured, pair="extd FPGM 20 %")
    nowhere = replace(published, amount=None)
    assert scatter_page("t", "easy", [published, measured]).count('class="stem"') == 1
    assert scatter_page("t", "easy", [published, alone]).count('class="stem"') == 0
    assert scatter_page("t", "easy", [nowhere, measured]).count('class="stem"') == 0


places = st.tuples(
    st.integers(20, 580), st.integers(20, 380), st.text("abc ", min_size=1, max_size=14)
)


@settings(deadline=None)
@given(st.lists(places, max_size=25))
def test_labels_lie_on_no_mark_and_on_no_other_label(
    wanted: list[tuple[float, float, str]],
) -> None:
    inside = Box(0, 0, 600, 400)
    marks = [labels.around(x, y) for x, y, _ in wanted]
    found = [item for item in labels.place_labels(wanted, marks, inside) if item is not None]
    if len(wanted) <= 6:  # more of them, all in one corner, may not have room within reach
        assert len(found) == len(wanted)
    assert all(inside.holds(item.box) for item in found)
    assert not any(a.box.overlaps(b.box) for a, b in combinations(found, 2))
    assert not any(item.box.overlaps(mark) for item in found for mark in marks)


def test_a_label_without_room_is_left_out() -> None:
    assert labels.place_labels([(5, 5, "long words")], [], Box(0, 0, 20, 20)) == [None]


def test_a_label_stands_right_of_its_mark_if_it_can() -> None:
    (found,) = labels.place_labels([(50, 50, "ab")], [labels.around(50, 50)], Box(0, 0, 200, 100))
    assert found is not None
    assert found.box.left > 50
    assert (found.box.top + found.box.bottom) / 2 == 50
    assert not found.far


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_every_published_row_and_comparator_is_drawn(level: str) -> None:
    drawn = parsed(size_page(level, MEMBERS, [peer_of()], "on 3 photos"))
    said = [words(item) for item in classed(drawn, "path", "mark") if words(item)]
    for row in paper_rows():
        start = f"{sizes.MODELS[row.model]} {sizes.row_label(row)}, published: AP {level}"
        mine = [each for each in said if each.startswith(f"{start} {figure(row.ap(level))}")]
        assert len(mine) == (1 if row.parameters is None else 2)
    for item in comparators():
        assert sizes.comparator_words(item, level) in said
    assert f"yunet.onnx, measured: AP {level} {figure(peer_of().evaluation.ap(level))}" in " ".join(
        said
    )
    shown = {words(item) for item in classed(drawn, "text", "label")}
    assert {item.name for item in comparators()} <= shown
    assert {"yunet.onnx", "own.pth"} <= shown


def test_a_checkpoint_is_drawn_at_the_parameters_that_the_paper_counts() -> None:
    (point,) = sizes.member_points("easy", [member_of()])
    assert (point.amount, point.measured, point.label) == (87_368, True, "FPGM 10 %")
    assert point.ap == pytest.approx(0.8628)


def test_none_is_not_drawn() -> None:
    blank = evaluation(aps=(None, None, None))
    assert sizes.member_points("easy", [member_of(soft=blank)]) == []
    assert sizes.peer_points("easy", [peer_of(evaluation=blank)]) == []


def test_a_large_network_is_not_squeezed_into_the_small_chart() -> None:
    large = own_member(name="large.pth", nonzero_parameters=30_000_000)
    drawn = size_page("easy", [large], [], "on 3 photos")
    assert drawn.count("large.pth, measured") == 1
