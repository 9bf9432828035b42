"""The pages, tables and charts of evaluations."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64decode
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import HOSTILE, words
from test_report_html import colours, contrast

from toolchain.data.published.reading import comparators, not_found, paper_citation, paper_rows
from toolchain.records.accuracy import (
    LEVELS,
    BrokenPhoto,
    Curve,
    Evaluation,
    Member,
    PeerMember,
    Picture,
    Protocol,
    Sample,
    Subject,
)
from toolchain.report import wording
from toolchain.report.accuracy import curves, paper_csv, rows, sizes
from toolchain.report.accuracy.evaluation import evaluation_document
from toolchain.report.accuracy.paper_tables import paper_document, sources
from toolchain.report.accuracy.precision_words import (
    figure,
    protocol_words,
    same_figure,
    sample_words,
    terminal_rows,
)
from toolchain.report.charts import labels, scatter
from toolchain.report.charts.axes import Box, Scale
from toolchain.report.charts.lines import COLOURS, letter, line_style
from toolchain.report.document.frame import style
from toolchain.report.document.html import block, html
from toolchain.report.document.markdown import markdown
from toolchain.report.document.model import Figure

SINGLE = Protocol("single", 0.02, 5000, 0.3, 750)
PART = Sample("val", 3226, 2823, 403, None, "a" * 64)
WHOLE = Sample("val", 3226, 0, 3226, None, "b" * 64)
FACES = {"easy": 1800, "medium": 3400, "hard": 9870}
JPEG, PNG = b"\xff\xd8\xff jpeg", b"\x89PNG png"


def curve(level: str, ap: float | None) -> Curve:
    """Recall from 0 to the AP at precision 1; a first threshold without any detection."""
    recall = np.linspace(0, ap or 0.0, 1000)
    precision = np.full(1000, 0.0 if ap is None else 1.0)
    precision[0] = 0.0
    return Curve(level, 0 if ap is None else FACES.get(level, 7), ap, precision, recall)


def evaluation(
    name: str = "ERES.pth",
    aps: tuple[float | None, ...] = (0.841, 0.83, 0.71),
    sample: Sample = PART,
    levels: tuple[str, ...] = LEVELS,
) -> Evaluation:
    return Evaluation(
        subject=Subject(name, "network", "eresfd", "c" * 64, {"colour order": "RGB"}),
        protocol=SINGLE,
        sample=sample,
        curves=tuple(curve(level, ap) for level, ap in zip(levels, aps, strict=True)),
    )


def member_of(model: str = "eresfd", rate: float | None = 10.0, **changes: object) -> Member:
    row = next(r for r in paper_rows() if (r.model, r.rate) == (model, rate) and r.parameters)
    if rate is None:
        row = next(r for r in paper_rows() if (r.model, r.variant) == (model, "reproduced"))
    soft = evaluation("ERES10_FPGM.pth", (row.easy - 0.01, row.medium - 0.01, row.hard - 0.01))
    normal = Member(
        name="ERES10_FPGM.pth",
        model=model,
        variant=row.variant,
        criterion=row.criterion,
        rate=row.rate,
        soft=soft,
        shrunk=None if rate is None else soft,
        nothing_removed=rate is None,
        parameters=92_208 if model == "eresfd" else 162_352,
        nonzero_parameters=row.parameters or 0,
        deployed_before=91_342,
        deployed_after=91_342 if rate is None else 87_296,
        macs_before=324_870_400,
        macs_after=324_870_400 if rate is None else 310_221_312,
        size_of_macs=(480, 640),
        onnx_bytes=402_518,
        published=row,
    )
    return replace(normal, **changes)  # type: ignore[arg-type]


def own_member(**changes: object) -> Member:
    own = {"variant": "own", "criterion": None, "rate": None, "published": None, "name": "own.pth"}
    return replace(member_of(), **(own | changes))  # type: ignore[arg-type]


def peer_of(**changes: object) -> PeerMember:
    found = evaluation("yunet.onnx", (0.88, 0.86, 0.75))
    return replace(PeerMember(found, 75_856, 232_589), **changes)  # type: ignore[arg-type]


def hostile_evaluation() -> Evaluation:
    return replace(
        evaluation(HOSTILE),
        subject=Subject(HOSTILE, "onnx", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
        sample=replace(PART, split=HOSTILE, sha256=HOSTILE),
        broken=(BrokenPhoto(HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
        command=HOSTILE,
    )


HOSTILE_PICTURE = Picture(HOSTILE, ((HOSTILE, JPEG), (HOSTILE, PNG)), HOSTILE)


def hostile_tables() -> str:
    found = hostile_evaluation()
    members = [
        own_member(name=HOSTILE, model=HOSTILE, soft=found, shrunk=found),
        own_member(name=HOSTILE, soft=found, shrunk=evaluation(aps=(0.1, 0.1, 0.1))),
    ]
    return tables_page(members, [PeerMember(found, None, 5)], [HOSTILE_PICTURE])


def evaluation_page(*shown: object, **more: object) -> str:
    return html(evaluation_document(*shown, **more))  # type: ignore[arg-type]


def tables_page(members: list[Member], peers: list[PeerMember], *pictures: list[Picture]) -> str:
    return html(paper_document(members, peers, *pictures))


def markdown_of(members: list[Member], peers: list[PeerMember]) -> str:
    return markdown(paper_document(members, peers))


def figure_page(*figures: Figure) -> str:
    return "<div>" + "".join(map(block, figures)) + "</div>"


def curve_page(level: str, evaluations: list[Evaluation]) -> str:
    return figure_page(curves.level_figure(level, evaluations))


def size_page(level: str, members: list[Member], peers: list[PeerMember], on: str) -> str:
    return figure_page(*sizes.size_figures(level, members, peers, on))


def scatter_page(title: str, level: str, points: list[scatter.Point]) -> str:
    return scatter.scatter(title, level, points).svg


MANY = [evaluation(f"net{n}.pth", (0.9 - n / 50, 0.8 - n / 50, 0.7 - n / 50)) for n in range(11)]
MEMBERS = [member_of(rate=None), member_of(), member_of("extd"), own_member()]

PAGES = {
    "one": lambda: evaluation_page([evaluation()]),
    "eleven": lambda: evaluation_page(MANY),
    "whole": lambda: evaluation_page([evaluation(sample=WHOLE)]),
    "no ground truth": lambda: evaluation_page([replace(evaluation(), curves=(), protocol=None)]),
    "no faces": lambda: evaluation_page([evaluation(aps=(None, None, None)), evaluation()]),
    "one level": lambda: evaluation_page([evaluation(aps=(0.5,), levels=("all",))]),
    "hostile": lambda: evaluation_page(
        [hostile_evaluation(), evaluation()], [HOSTILE_PICTURE], [HOSTILE_PICTURE]
    ),
    "tables": lambda: tables_page(MEMBERS, [peer_of()]),
    "tables of nothing": lambda: tables_page([], []),
    "hostile tables": hostile_tables,
}

every_page = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def classed(root: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [element for element in root.iter(tag) if kind in element.get("class", "").split()]


# --- every page


@every_page
def test_page_is_well_formed_and_loads_nothing(make: object) -> None:
    text = make()  # type: ignore[operator]
    text.encode("utf-8")
    root = parsed(text)
    assert root.find(".//script") is None
    assert root.find(".//link") is None
    assert not re.search(r"https?://", text)
    for element in root.iter():
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
        assert element.get("href", "#").startswith("#")
        assert re.match(
            r"data:image/(png|jpeg);base64,", element.get("src", "data:image/png;base64,")
        )


@every_page
def test_page_can_be_heard(make: object) -> None:
    root = parsed(make())  # type: ignore[operator]
    assert root.get("lang") == "en"
    assert len(root.findall(".//h1")) == 1
    for table in root.iter("table"):
        caption = table.find("caption")
        assert caption is not None
        assert words(caption)
    assert all(picture.get("alt") for picture in root.iter("img"))
    for parent in root.iter():
        for drawing in parent.findall("svg"):
            named = drawing.get("role") == "img" and drawing.findtext("title")
            assert named or drawing.get("aria-hidden")
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    links = {element.get("href", "")[1:] for element in root.iter("a")}
    assert links <= set(identifiers)


@pytest.mark.parametrize("make", [PAGES["hostile"], PAGES["hostile tables"]])
def test_hostile_names_are_shown_as_text(make: object) -> None:
    text = make()  # type: ignore[operator]
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert " ".join(wording.clean(HOSTILE).split()) in words(parsed(text))


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluation_page([])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_lines_and_marks_stand_out(theme: str) -> None:
    colour = colours(theme)
    assert len(set(re.findall(r"--line-0: (#[0-9a-f]{6});", style()))) == 2
    for name in (*(f"line-{number}" for number in range(COLOURS)), *scatter.SHAPES):
        for ground in ("page", "panel"):
            assert contrast(colour[name], colour[ground]) >= 3, name


# --- words


@pytest.mark.parametrize(
    ("ap", "expected"),
    [(0.857, ".8570"), (0.0, ".0000"), (1.0, "1.0000"), (0.99996, "1.0000"), (None, "-")],
)
def test_a_figure_is_written_as_the_field_writes_it(ap: float | None, expected: str) -> None:
    assert figure(ap) == expected


def test_figures_are_the_same_to_four_decimals() -> None:
    assert same_figure(0.85701, 0.85699)
    assert not same_figure(0.8570, 0.8571)
    assert same_figure(None, None)
    assert not same_figure(None, 0.0)


def test_terminal_rows_have_a_figure_per_level() -> None:
    assert terminal_rows([evaluation(), evaluation("b\x1b[31m", (None, 0.5, 1.0))]) == [
        ["ERES.pth", ".8410", ".8300", ".7100"],
        ["b\N{REPLACEMENT CHARACTER}[31m", "-", ".5000", "1.0000"],
    ]
    assert terminal_rows([replace(evaluation(), curves=())]) == [["ERES.pth"]]


def test_only_a_part_is_never_called_a_wider_face_result() -> None:
    part, whole = sample_words(PART), sample_words(WHOLE)
    assert "403 of 3,226 photos" in part
    assert "2,823 are not in the folder" in part
    assert part.endswith("A figure of this sample, never a WIDER FACE result.")
    assert "all 3,226 photos" in whole
    assert "never" not in whole
    limited = replace(WHOLE, images=50, limit=50)
    assert "a spread-out sample of 50 was asked for" in sample_words(limited)
    assert "not in the folder" not in sample_words(limited)


def test_pages_of_a_part_say_so_in_every_title() -> None:
    for root in (parsed(PAGES["one"]()), parsed(PAGES["tables"]())):
        assert "on 403 of 3,226 photos" in words(root.find(".//title"))  # type: ignore[arg-type]
        assert "on 403 of 3,226 photos" in words(root.find(".//h1"))  # type: ignore[arg-type]
        assert "never a WIDER FACE result" in words(classed(root, "p", "warning")[0])
        charts = classed(root, "svg", "chart")
        assert len(charts) in (3, 4)
        assert all("on 403 of 3,226 photos" in one.findtext("title", "") for one in charts)
    root = parsed(PAGES["tables"]())
    captions = [words(caption) for caption in root.iter("caption")]
    assert sum("average precision on 403 of 3,226 photos" in each for each in captions) == 3


def test_page_of_the_whole_set_has_no_warning() -> None:
    root = parsed(PAGES["whole"]())
    assert classed(root, "p", "warning") == []
    assert "on all 3,226 photos" in words(root)
    assert "never a WIDER FACE result" not in words(root)


def test_protocol_words_hold_every_number() -> None:
    said = protocol_words(replace(SINGLE, max_side=1024))
    for number in ("single", "1,024 px", "0.02", "5,000", "0.3", "750"):
        assert number in said
    assert "own size" in protocol_words(SINGLE)
    assert "mirrored" in protocol_words(replace(SINGLE, name="paper"))
    assert "own size" not in protocol_words(replace(SINGLE, name="paper"))
    assert "elsewhere" in protocol_words(None)


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
    unknown = replace(known, parameters=None, label="unknown", words="unknown")
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
    nowhere = replace(published, parameters=None)
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
    assert (point.parameters, point.measured, point.label) == (87_368, True, "FPGM 10 %")
    assert point.ap == pytest.approx(0.8628)


def test_none_is_not_drawn() -> None:
    blank = evaluation(aps=(None, None, None))
    assert sizes.member_points("easy", [member_of(soft=blank)]) == []
    assert sizes.peer_points("easy", [peer_of(evaluation=blank)]) == []


def test_a_large_network_is_not_squeezed_into_the_small_chart() -> None:
    large = own_member(name="large.pth", nonzero_parameters=30_000_000)
    drawn = size_page("easy", [large], [], "on 3 photos")
    assert drawn.count("large.pth, measured") == 1


# --- tables


def test_rows_stand_in_the_paper_s_order_with_one_s_own_last() -> None:
    own = own_member()
    found = rows.rows_of("eresfd", [own, member_of(), member_of(rate=None)])
    names = [row.label for row in found]
    pruned = [
        f"{criterion} {rate} %" for rate in (10, 20, 30, 40, 50) for criterion in ("FPGM", "L1")
    ]
    assert names == ["original", "reproduced", *pruned, "own.pth"]
    assert [row.label for row in found if row.member] == ["reproduced", "FPGM 10 %", "own.pth"]
    assert rows.models([own_member(model="mine")]) == ("extd", "eresfd", "mine")


def test_sparsity_is_counted_as_the_paper_counts_it() -> None:
    assert round(member_of().sparsity, 2) == 5.25
    assert rows.percent(member_of().sparsity) == "5.25 %"


def test_soft_and_shrunk_are_compared_to_four_decimals() -> None:
    member = member_of()
    assert rows.equal_words(member) == "yes"
    changed = replace(member, shrunk=evaluation(aps=(0.8628, 0.8482, 0.7658)))
    assert rows.equal_words(changed) == "NO"
    assert rows.shrunk_words(changed) == ".8628, .8482, .7658"
    same = member_of(rate=None)
    assert rows.equal_words(same) == "same network"
    assert rows.shrunk_words(same) == "same network: nothing was removed"
    waiting = replace(member, shrunk=None)
    assert (rows.equal_words(waiting), rows.shrunk_words(waiting)) == ("-", "not evaluated")
    assert rows.equal(waiting) is None


def test_tables_page_shows_measured_and_published_figures() -> None:
    text = words(parsed(PAGES["tables"]()))
    for shown in (
        "Table 1, EXTD: average precision on 403 of 3,226 photos",
        "Table 2, EResFD",
        ".8628 (.8728)",
        "87,368 (87,368)",
        "5.25 % (5.25 %)",
        "91,342 → 87,296 (\N{MINUS SIGN}4.4 %)",
        "324.9 M → 310.2 M (\N{MINUS SIGN}4.5 %)",
        "402,518",
        "- (.8470)",
        "same network: nothing was removed",
        "NOTHING LOST",
        "75,856",
    ):
        assert shown in text, shown
    for row in paper_rows():
        assert all(f"({figure(row.ap(level))})" in text for level in LEVELS)


def test_tables_page_says_when_shrinking_changed_something() -> None:
    changed = member_of(shrunk=evaluation(aps=(0.1, 0.1, 0.1)))
    text = words(parsed(tables_page([changed], [])))
    assert "CHANGED" in text
    assert "ERES10_FPGM.pth" in text
    assert "NOTHING LOST" not in text
    assert "NOTHING LOST" not in words(parsed(tables_page([member_of(rate=None)], [])))


def test_every_source_is_listed_and_what_is_missing_is_named() -> None:
    root = parsed(PAGES["tables of nothing"]())
    listed = root.find(".//section[@id='sources']")
    missing = root.find(".//section[@id='comparators']")
    assert listed is not None
    assert missing is not None
    for item in comparators():
        for source in (item.ap_source, item.parameters_source):
            assert source is None or (
                source.title in words(listed) and source.where in words(listed)
            )
    assert len(list(listed.iter("li"))) == len(sources()) == len(set(sources()))
    assert sources()[0] == paper_citation()
    for entry in not_found():
        assert f"{entry.name}: {entry.missing}" in words(missing)


def test_markdown_has_all_rows_and_as_many_cells_as_heads() -> None:
    text = markdown_of(MEMBERS, [peer_of()])
    assert text.endswith("\n")
    assert "on 403 of 3,226 photos" in text.splitlines()[0]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert "| FPGM 10 % (ERES10_FPGM.pth) | .8628 (.8728) |" in text
    assert "| yunet.onnx | .8800 | .8600 | .7500 | 75,856 | 232,589 |" in text


def test_markdown_escapes_pipes() -> None:
    text = markdown_of([own_member(name="a|b.pth")], [])
    assert "| a\\|b.pth |" in text
    assert "a|b" not in text


def test_csv_parses_back() -> None:
    hostile = own_member(name=f'"a",{HOSTILE}')
    text = paper_csv.csv([*MEMBERS, hostile], [peer_of(parameters=None)])
    content = list(csv.DictReader(io.StringIO(text)))
    assert tuple(content[0]) == paper_csv.CSV_HEAD
    assert len(content) == len(paper_rows()) + 3
    by_name = {(row["table"], row["network"]): row for row in content}
    pruned = by_name["eresfd", "FPGM 10 %"]
    assert pruned["measured"] == "on 403 of 3,226 photos"
    assert float(pruned["soft_easy"]) == member_of().soft.ap("easy")
    assert float(pruned["paper_hard"]) == 0.7757
    assert (pruned["nothing_removed"], pruned["equal_to_4_decimals"]) == ("False", "True")
    assert pruned["macs_after"] == "310221312"
    assert by_name["eresfd", "reproduced"]["shrunk_easy"] == ""
    assert by_name["extd", "L1 10 %"]["measured"] == "not measured"
    assert by_name["eresfd", wording.clean(hostile.name)]["paper_easy"] == ""
    assert by_name["peers", "yunet.onnx"]["parameters"] == ""
    assert by_name["peers", "yunet.onnx"]["measured"] == "on 403 of 3,226 photos"


def test_missing_figures_are_dashes_everywhere() -> None:
    blank = evaluation(aps=(None, None, None))
    member = own_member(soft=blank, shrunk=blank, onnx_bytes=None)
    assert "| own.pth | - | - | - |" in markdown_of([member], [])
    assert "None" not in markdown_of([member], [peer_of(evaluation=blank, parameters=None)])
    assert "None" not in paper_csv.csv([member], [peer_of(evaluation=blank, parameters=None)])
    assert ">None<" not in tables_page([member], [peer_of(evaluation=blank, parameters=None)])


def test_different_samples_are_both_named() -> None:
    whole = member_of(soft=evaluation(sample=WHOLE), shrunk=evaluation(sample=WHOLE))
    text = words(parsed(tables_page([whole, member_of(rate=None)], [])))
    assert "on 403 of 3,226 photos" in text
    assert "on all 3,226 photos" in text
