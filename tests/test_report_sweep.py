"""The page of a sweep: what is drawn, what is listed, and that nothing in it can do harm."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from reports import HOSTILE, words

from toolchain.records.training import MemberState, Sweep, SweepMember
from toolchain.report.document.html import html
from toolchain.report.sweep import MEASURES, measured, sweep_document


def done(rate: float, parameters: int, easy: float, **changes: object) -> SweepMember:
    normal = SweepMember(
        rate=rate,
        state="done",
        deployed_parameters=parameters,
        macs=parameters * 3000,
        onnx_bytes=parameters * 4,
        accuracy={"easy": easy, "medium": easy - 0.0125, "hard": easy - 0.15},
        hours=4.0,
        folder=f"eresfd-{rate:g}",
    )
    return replace(normal, **changes)  # type: ignore[arg-type]


def sweep(*members: SweepMember) -> Sweep:
    return Sweep("eresfd", "fpgm", "group", "single", 403, members)


WHOLE = sweep(done(0, 90_000, 0.8625), done(0.3, 52_000, 0.7875), done(0.5, 23_400, 0.675))
BROKEN = SweepMember(0.4, "failed", "the loss is nan after step 50")
RUNNING = SweepMember(0.5, "running", hours=1.25)


def tree(shown: Sweep) -> ElementTree.Element:
    return ElementTree.fromstring(html(sweep_document(shown)).removeprefix("<!DOCTYPE html>\n"))


def chart(shown: Sweep, measure: str = "parameters") -> ElementTree.Element:
    found = tree(shown).find(f".//figure[@id='size-{measure}']/svg")
    assert found is not None
    return found


def lines(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in e.attrib["points"].split())]
        for e in drawing.iter("polyline")
    ]


def labels(drawing: ElementTree.Element) -> dict[str, tuple[float, float]]:
    return {
        words(e): (float(e.attrib["x"]), float(e.attrib["y"]))
        for e in drawing.iter("text")
        if e.get("class") == "label"
    }


# --- states


@pytest.mark.parametrize(
    ("states", "refreshes"),
    [
        (("done", "done"), False),
        (("done", "failed"), False),
        (("done", "running"), True),
        (("waiting", "failed"), True),
    ],
)
def test_the_page_refreshes_until_no_member_waits_or_runs(
    states: tuple[MemberState, ...], refreshes: bool
) -> None:
    shown = sweep(*(SweepMember(n / 10, state) for n, state in enumerate(states)))
    assert ('http-equiv="refresh"' in html(sweep_document(shown))) is refreshes


def test_the_head_counts_members_by_state() -> None:
    head = tree(sweep(*WHOLE.members, BROKEN, RUNNING)).find(".//header")
    assert head is not None
    assert "sweep of 5 networks, 3 done, 1 failed, 1 running" in words(head)
    assert "FPGM, scope group" in words(head)
    assert "on 403 photos, protocol single" in words(head)
    assert "13.2 hours of training in all" in words(head)


def test_a_failed_member_says_why_at_the_top_and_in_the_table() -> None:
    root = tree(sweep(done(0, 90_000, 0.8), BROKEN))
    warnings = [words(e) for e in root.iter("p") if e.get("class") == "warning"]
    assert warnings == ["▲ Rate 0.4 failed: the loss is nan after step 50"]
    assert "✗ failed: the loss is nan after step 50" in words(root.find(".//table"))  # type: ignore[arg-type]


# --- figure


def test_each_level_is_a_line_from_the_smallest_to_the_largest() -> None:
    for measure in ("parameters", "bytes"):
        found = lines(chart(WHOLE, measure))
        assert [len(line) for line in found] == [3, 3, 3]
        for line in found:
            assert line == sorted(line)
            assert [y for _, y in line] == sorted((y for _, y in line), reverse=True)
        easy, medium, hard = (line[0][1] for line in found)
        assert easy < medium < hard


def test_marks_lie_on_a_logarithmic_axis_of_sizes() -> None:
    """Each of three members is twice as large as the one before."""
    doubled = sweep(done(0.5, 20_000, 0.5), done(0.3, 40_000, 0.6), done(0, 80_000, 0.7))
    first, second, third = (x for x, _ in lines(chart(doubled))[0])
    assert third - second == pytest.approx(second - first, abs=0.2)
    assert second - first > 50


def test_rates_stand_above_the_highest_marks_and_names_at_the_ends() -> None:
    drawing = chart(WHOLE)
    found = labels(drawing)
    assert set(found) == {"0", "0.3", "0.5", "Easy", "Medium", "Hard"}
    for rate, (x, y) in zip(("0.5", "0.3", "0"), lines(drawing)[0], strict=True):
        assert found[rate][0] == pytest.approx(x, abs=0.1)
        assert y - 20 < found[rate][1] < y - 3
    assert found["Easy"][0] > lines(drawing)[0][-1][0]
    assert found["Hard"][1] == pytest.approx(lines(drawing)[2][-1][1], abs=8)


def test_the_figure_says_all_its_figures_in_words() -> None:
    label = chart(WHOLE).findtext("desc", "")
    assert "rate 0.3, 52,000: easy .7875, medium .7750, hard .6375" in label
    titles = [words(e) for e in chart(WHOLE).iter("title")]
    assert "rate 0.5: hard .5250, 23,400 deployed parameters" in titles


def test_only_members_with_a_size_and_a_figure_are_drawn() -> None:
    sizeless = done(0.2, 60_000, 0.8, deployed_parameters=None)
    unmeasured = done(0.4, 40_000, 0.7, accuracy=None)
    broken = done(0.6, 10_000, 0.7, accuracy={"easy": float("nan")})
    shown = (*WHOLE.members, sizeless, unmeasured, broken)
    parameters, file_bytes = MEASURES
    assert [member.rate for member in measured(shown, parameters)] == [0.5, 0.3, 0]
    assert [member.rate for member in measured(shown, file_bytes)] == [0.5, 0.3, 0.2, 0]
    assert len(lines(chart(sweep(*shown)))[0]) == 3


def test_a_level_that_a_member_lacks_is_left_out_of_its_line() -> None:
    shown = sweep(*WHOLE.members[:2], done(0.5, 23_400, 0.6, accuracy={"easy": 0.6}))
    assert [len(line) for line in lines(chart(shown))] == [3, 2, 2]


def test_one_member_is_drawn_and_none_is_said() -> None:
    assert len(lines(chart(sweep(done(0.3, 52_000, 0.8))))) == 3
    for shown in (sweep(), sweep(BROKEN, RUNNING)):
        assert "No member is measured yet." in words(tree(shown))


@pytest.mark.parametrize("parameters", [1, 999, 23_400, 4_000_000_000])
@pytest.mark.parametrize("easy", [0.15, 1.0])
def test_any_size_and_precision_has_its_axes(parameters: int, easy: float) -> None:
    shown = sweep(done(0, parameters, easy), done(0.5, parameters, easy))
    ticks = [words(e) for e in chart(shown).iter("text") if e.get("text-anchor") == "middle"]
    assert len(ticks) > 1


def test_a_sweep_of_recoveries_is_drawn_by_output_and_never_below_nothing() -> None:
    agreement = {"scores": 0.75, "boxes": -3.0}
    member = done(0.3, 52_000, 0.5, accuracy=agreement)
    shown = Sweep("mynet:build", "fpgm", "group", "", 0, (member,), "agreement")
    drawing = chart(shown)
    assert "rate 0.3, 52,000: scores .7500, boxes -3.0000" in drawing.findtext("desc", "")
    assert set(labels(drawing)) == {"0.3", "Scores", "Boxes"}
    assert max(y for line in lines(drawing) for _, y in line) <= 316.05
    assert "WIDER FACE" not in words(tree(shown))


# --- table


def test_the_table_has_every_member_with_its_figures() -> None:
    rows = [
        [words(cell) for cell in row]
        for row in tree(sweep(done(0.3, 52_000, 0.7875), BROKEN)).findall(".//tbody/tr")
    ]
    figures = ["52,000", "156.0 M", "208,000", ".7875", ".7750", ".6375", "4.0"]
    assert rows[0] == ["0.3", "✓ done", *figures, "eresfd-0.3"]
    assert rows[1] == ["0.4", "✗ failed: the loss is nan after step 50", *["-"] * 8]


def test_a_member_links_to_its_report_below_the_page() -> None:
    links = [link.get("href") for link in tree(WHOLE).iter("a")]
    assert links == [f"./eresfd-{rate}/report.html" for rate in ("0", "0.3", "0.5")]


@pytest.mark.parametrize("folder", ["javascript:alert(1)//", "//elsewhere.example", "a b?c#d"])
def test_a_folder_of_any_name_stays_a_path_below_the_page(folder: str) -> None:
    (link,) = tree(sweep(done(0, 90_000, 0.8, folder=folder))).iter("a")
    target = link.get("href", "")
    assert target.startswith("./")
    assert not set(target) & set(":?# ")


def test_hostile_words_are_escaped() -> None:
    member = done(0.3, 52_000, 0.8, reason=HOSTILE, folder=HOSTILE)
    failed = SweepMember(0.4, "failed", HOSTILE)
    hostile = Sweep(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, (member, failed))
    page = html(sweep_document(hostile))
    assert "<script>" not in page
    assert "\u202e" not in page
    tree(hostile)
