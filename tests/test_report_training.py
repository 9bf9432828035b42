"""The page of a training: what it shows, when it refreshes, and that it is well-formed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from reports import HOSTILE, words

from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.document.html import html
from toolchain.report.training.progress import seconds_left, training_document
from toolchain.report.training.steps import FRAME, MOST_TICKS, step_ticks

RUNNING = TrainingProgress(
    settings={"model": "eresfd", "rate": 0.3, "seed": 0},
    phases=(("settling", 100), ("block by block", 300), ("end to end", 1000)),
    step=400,
    losses=(100.0, 10.0, 5.0, 1.0, 0.5, 0.1, 30.0, 3.0),
    steps_per_loss=50,
    samples=(),
    sample_photos=0,
    zero_filters={},
    zeroed_share=0.25,
    photos=1009,
    faces=13_149,
    broken=(("a/b", "is cut off"),),
    images_per_second=12.34,
)


LOOKED = replace(
    RUNNING,
    samples=(
        {"step": 200, "easy": 0.5, "medium": 0.7, "hard": 0.25},
        {"step": 400, "easy": 0.75, "medium": 0.625, "hard": 0.25},
    ),
    sample_photos=40,
)
ZEROED = replace(
    RUNNING,
    zero_filters={"a.conv": (0, 1, 2, 5), "b.conv": [3], "c": []},
    filters={"a.conv": 8, "b.conv": 4, "c": 8},
)


def part(progress: TrainingProgress, section: str) -> ElementTree.Element:
    found = tree(progress).find(f".//section[@id='{section}']")
    assert found is not None
    return found


def tree(progress: TrainingProgress) -> ElementTree.Element:
    return ElementTree.fromstring(
        html(training_document(progress)).removeprefix("<!DOCTYPE html>\n")
    )


def test_a_running_training_refreshes_and_a_finished_one_does_not() -> None:
    assert 'http-equiv="refresh"' in html(training_document(RUNNING))
    assert "40% done, end to end" in html(training_document(RUNNING))
    done = html(training_document(replace(RUNNING, step=1000)))
    assert 'http-equiv="refresh"' not in done
    assert "training, done" in done


def test_what_a_person_wants_to_know_is_there() -> None:
    page = html(training_document(RUNNING))
    for shown in ("1,009 photos", "13,149 faces", "12.3 crops a second", "25 %", "is cut off"):
        assert shown in page


def test_each_phase_has_its_line() -> None:
    lines = [e.attrib["points"].split() for e in tree(RUNNING).iter("polyline")]
    assert [len(points) for points in lines] == [2, 4, 2]
    x, y = map(float, lines[0][0].split(","))
    # Step 25 of 1,000 from 48 to 388; a loss of 100 on a scale from 0.1 to 1,000.
    assert x == pytest.approx(48 + 0.025 * 340, abs=0.06)
    assert y == pytest.approx(286 - 260 * 3 / 4, abs=0.06)


@pytest.mark.parametrize(
    ("losses", "drawn"),
    [
        ((), 0),
        ((1.0,), 0),
        ((float("nan"), float("inf"), 0.0), 0),
        ((1e-30, 1e30), 2),
        ((1.0, 1.0), 2),
        ((1.0, float("nan"), 2.0), 2),
    ],
)
def test_odd_losses_are_drawn_or_left_out(losses: tuple[float, ...], drawn: int) -> None:
    section = part(replace(RUNNING, losses=losses), "loss")
    points = [point for line in section.iter("polyline") for point in line.attrib["points"].split()]
    assert len(points) == drawn
    for x, y in (map(float, point.split(",")) for point in points):
        assert FRAME.left <= x <= FRAME.right
        assert FRAME.top <= y <= FRAME.bottom
    assert ("not enough steps yet" in words(section)) is (drawn == 0)


def test_the_legend_of_the_loss_has_each_phase_with_its_latest() -> None:
    waiting = replace(RUNNING, losses=RUNNING.losses[:4])
    assert [words(entry) for entry in part(waiting, "loss").iter("li")] == [
        "settling to step 10010",
        "block by block to step 3001",
        "end to end to step 1,000-",
    ]


@pytest.mark.parametrize(
    ("settings", "pace", "seconds"),
    [
        ({"teach.batch": 8}, 12.0, 400.0),
        ({"train.batch": 30}, 12.0, 1500.0),
        ({}, 12.0, None),
        ({"teach.batch": "8"}, 12.0, None),
        ({"teach.batch": 8}, None, None),
        ({"teach.batch": 8}, 0.0, None),
    ],
)
def test_time_left_is_the_rest_at_the_pace_so_far(
    settings: dict[str, object], pace: float | None, seconds: float | None
) -> None:
    """600 steps are left."""
    running = replace(RUNNING, settings=settings, images_per_second=pace)
    assert seconds_left(running) == seconds
    assert (" left" in words(tree(running).find(".//header"))) is (seconds is not None)  # type: ignore[arg-type]
    assert seconds_left(replace(running, step=1000)) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h"),
        (12_000, "3 h 20 min"),
        (360_060, "100 h 1 min"),
    ],
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float, said: str) -> None:
    assert wording.duration(seconds) == said


def test_average_precision_on_the_way_has_a_line_for_each_level() -> None:
    section = part(LOOKED, "precision")
    lines = [e.attrib["points"].split() for e in section.iter("polyline")]
    assert [len(points) for points in lines] == [2, 2, 2]
    # Steps 200 and 400 of 1,000 from 48 to 388; .5 and .75 from 286 up to 26.
    assert lines[0] == ["116.0,156.0", "184.0,91.0"]
    names = [words(e) for e in section.iter("text") if e.get("class") == "label"]
    assert sorted(names) == ["Easy", "Hard", "Medium"]
    assert [words(entry) for entry in section.iter("li")] == [
        "Easy.7500",
        "Medium.6250",
        "Hard.2500",
    ]


def test_the_latest_average_precision_is_in_words_with_its_photos() -> None:
    section = part(LOOKED, "precision")
    said = "After step 400: Easy .7500, Medium .6250 (best so far .7000), Hard .2500."
    assert said in words(section)
    assert "on 40 photos" in words(section)
    assert "small sample" in words(section)
    assert "never a WIDER FACE result" in words(section)
    assert said in section.findtext("./figure/svg/desc", "")


def test_without_average_precision_the_page_says_why() -> None:
    assert "no photos here to look at" in words(part(RUNNING, "precision"))
    early = replace(RUNNING, sample_photos=40)
    assert "Not looked at yet; 40 photos" in words(part(early, "precision"))


@pytest.mark.parametrize("hard", [{}, {"hard": float("nan")}])
def test_a_level_that_has_no_figure_has_no_line(hard: dict[str, float]) -> None:
    looked = replace(LOOKED, samples=({"step": 200, "easy": 0.5, "medium": 0.25, **hard},))
    lines = list(part(looked, "precision").iter("polyline"))
    assert len(lines) == 2


def test_each_layer_shows_which_of_its_filters_are_zero() -> None:
    section = part(ZEROED, "zeros")
    assert "5 of 20 filters are zero, in 2 layers; 25 % of all parameters" in words(section)
    strips = [e for e in section.iter("svg") if e.get("role") == "img"]
    assert [strip.findtext("title") for strip in strips] == ["zero: 0 to 2, 5", "zero: 3"]
    cells = [[e for e in strip.iter("rect") if e.get("class") == "after"] for strip in strips]
    assert [[words(cell) for cell in row] for row in cells] == [["0", "1", "2", "5"], ["3"]]
    # Cells are an eighth of the widest layer wide, in every layer.
    starts = [float(row[-1].get("x", "").rstrip("%")) for row in cells]
    assert starts[0] - starts[1] == pytest.approx(2 / 8 * 100)
    assert 3 / 8 * 100 < starts[1] < 4 / 8 * 100
    values = [words(e) for e in section.iter("span") if e.get("class") == "value"]
    assert values == ["4 of 8", "1 of 4"]


def test_a_layer_of_unknown_width_has_its_zero_filters_and_no_frame() -> None:
    section = part(replace(ZEROED, filters={}), "zeros")
    assert "5 filters are zero, in 2 layers" in words(section)
    assert [e for e in section.iter("rect") if e.get("class") == "frame"] == []
    assert [words(e) for e in section.iter("span") if e.get("class") == "value"] == ["4", "1"]


def test_no_zero_filter_is_said() -> None:
    assert "No filter is zero as a whole." in words(part(RUNNING, "zeros"))


@pytest.mark.parametrize("steps", [1, 7, 10, 99, 12_345])
def test_any_number_of_steps_has_its_axis(steps: int) -> None:
    ticks = step_ticks(steps)
    assert ticks[0].figure == 0
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    gaps = {after.figure - before.figure for before, after in pairwise(ticks)}
    assert len(gaps) == 1
    assert steps - ticks[-1].figure < gaps.pop()
    drawn = part(replace(RUNNING, phases=(("only", steps),), step=0), "loss")
    assert {tick.words for tick in ticks} <= {words(each) for each in drawn.iter("text")}


def test_hostile_words_are_escaped() -> None:
    hostile = replace(
        RUNNING,
        settings={"model": HOSTILE, HOSTILE: HOSTILE},
        phases=((HOSTILE, 1000),),
        zero_filters={HOSTILE: (0, 2)},
        filters={HOSTILE: 3},
        broken=((HOSTILE, HOSTILE),),
    )
    assert "<script>" not in html(training_document(hostile))
    tree(hostile)
