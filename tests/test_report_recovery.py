"""The page of a recovery: what it shows, when it refreshes, and that it is well-formed."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from reports import HOSTILE

from toolchain.records.training import RecoveryProgress, TrainingProgress
from toolchain.report.document.html import html
from toolchain.report.recovery.progress import recovery_document
from toolchain.report.training.steps import FRAME

TRAINING = TrainingProgress(
    settings={"model": "mynet:build", "rate": 0.3, "batch": 8},
    phases=(("block by block", 300), ("end to end", 1000)),
    step=200,
    losses=(4.0, 2.0, 1.0, 0.5),
    steps_per_loss=50,
    samples=({"step": 0, "output": -3.0}, {"step": 100, "output": 0.5, "output same class": 0.75}),
    sample_photos=30,
    zero_filters={"conv1": [0, 3]},
    zeroed_share=0.25,
    photos=300,
    faces=0,
    broken=(("a/b", "is cut off"),),
    images_per_second=100.0,
    filters={"conv1": 8},
)
RUNNING = RecoveryProgress(TRAINING, {"layer1.0": (0.5, 0.125)})


def tree(progress: RecoveryProgress) -> ElementTree.Element:
    page = html(recovery_document(progress))
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def test_a_running_recovery_refreshes_and_a_finished_one_does_not() -> None:
    page = html(recovery_document(RUNNING))
    assert 'http-equiv="refresh"' in page
    assert "recovery, 20% done, block by block" in page
    assert "at this pace 1 min left" in page  # 800 steps of 8 at 100 a second: 64 s
    done = html(recovery_document(replace(RUNNING, training=replace(TRAINING, step=1000))))
    assert 'http-equiv="refresh"' not in done
    assert "recovery, done" in done


def test_losses_by_block_agreement_zeros_and_broken_photos_are_there() -> None:
    words = " ".join("".join(tree(RUNNING).itertext()).split())
    for shown in ("layer1.0", "0.5", "0.125", "output same class", "0.7500", "is cut off", "conv1"):
        assert shown in words
    assert "2 of 8" in words
    assert "face" not in words


def test_an_agreement_below_nought_is_drawn_at_nought() -> None:
    section = tree(RUNNING).find(".//section[@id='agreement']")
    assert section is not None
    first, second = (e.attrib["points"].split() for e in section.iter("polyline"))
    places = [tuple(map(float, point.split(","))) for point in first]
    width, height = FRAME.right - FRAME.left, FRAME.bottom - FRAME.top
    assert places == [
        (FRAME.left, FRAME.bottom),
        (FRAME.left + width / 10, FRAME.bottom - height / 2),
    ]
    assert len(second) == 1


def test_before_a_look_and_after_the_blocks_nothing_is_invented() -> None:
    bare = RecoveryProgress(replace(TRAINING, samples=(), broken=()), {})
    page = html(recovery_document(bare))
    assert "Not looked at yet." in page
    assert "Loss by block" not in page


def test_names_of_a_stranger_stay_words() -> None:
    hostile = replace(
        RUNNING,
        blocks={HOSTILE: (1.0, 1.0)},
        training=replace(TRAINING, samples=({"step": 1, HOSTILE: 0.5},)),
    )
    tree(hostile)
    assert HOSTILE not in html(recovery_document(hostile))
