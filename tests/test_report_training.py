"""The page of a training: what it shows, when it refreshes, and that it is well-formed."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from reports import HOSTILE

from toolchain.records import TrainingProgress
from toolchain.report.training import training_page

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


def tree(progress: TrainingProgress) -> ElementTree.Element:
    return ElementTree.fromstring(training_page(progress).removeprefix("<!DOCTYPE html>\n"))


def test_a_running_training_refreshes_and_a_finished_one_does_not() -> None:
    assert 'http-equiv="refresh"' in training_page(RUNNING)
    assert "40% done, end to end" in training_page(RUNNING)
    done = training_page(replace(RUNNING, step=1000))
    assert 'http-equiv="refresh"' not in done
    assert "training, done" in done


def test_what_a_person_wants_to_know_is_there() -> None:
    page = training_page(RUNNING)
    for words in ("1,009 photos", "13,149 faces", "12.3 crops a second", "25", "is cut off"):
        assert words in page


def test_each_phase_has_its_line() -> None:
    lines = [e.attrib["points"].split() for e in tree(RUNNING).iter("polyline")]
    assert [len(points) for points in lines] == [2, 4, 2]
    x, y = map(float, lines[0][0].split(","))
    # Step 25 of 1,000 from 52 to 748; a loss of 100 on a scale from 0.1 to 1,000.
    assert x == pytest.approx(52 + 0.025 * 696, abs=0.06)
    assert y == pytest.approx(286 - 260 * 3 / 4, abs=0.06)


@pytest.mark.parametrize(
    "losses", [(), (1.0,), (float("nan"), float("inf"), 0.0), (1e-30, 1e30), (1.0, 1.0)]
)
def test_odd_losses_are_drawn_or_left_out(losses: tuple[float, ...]) -> None:
    tree(replace(RUNNING, losses=losses))


@pytest.mark.parametrize("steps", [1, 7, 10, 99, 12_345])
def test_any_number_of_steps_has_its_axis(steps: int) -> None:
    tree(replace(RUNNING, phases=(("only", steps),), step=0))


def test_hostile_words_are_escaped() -> None:
    hostile = replace(
        RUNNING,
        settings={"model": HOSTILE, HOSTILE: HOSTILE},
        phases=((HOSTILE, 1000),),
        broken=((HOSTILE, HOSTILE),),
    )
    assert "<script>" not in training_page(hostile)
    tree(hostile)
