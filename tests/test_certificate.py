"""The certificate as a record: what breaks a link, and the way into JSON and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from toolchain.errors import DataError
from toolchain.recipe import default_recipe
from toolchain.records.certificate import (
    SCHEMA,
    BoxAgreement,
    CalibrationFacts,
    Certificate,
    Failure,
    FileFacts,
    Link,
    Precision,
    read_certificate,
    to_json,
)
from toolchain.records.parity import Decisions, Parity, ParityCase, Spot

CASE = ParityCase(
    "noise",
    (1, 3, 8, 8),
    "ab",
    Spot("boxes", 1, (2, 2), 1e-6, 2.0),
    Spot("boxes", None, None, 1e-7, 2.0),
)
PARITY = Parity("a -> b", "largest", 1e-5, (CASE,))
LINK = Link("a", "b", "1", "2", "torch", "exact", PARITY)
BOXES = BoxAgreement(photos=3, both=90, missed=7, added=3, mean_iou=0.9)
PRECISION = Precision("single", 403, (0.8, 0.7, 0.6), (0.8, 0.69, 0.61), 0.02)


def certificate(*links: Link, failures: tuple[Failure, ...] = ()) -> Certificate:
    return Certificate(
        SCHEMA,
        "toolchain 0",
        None,
        None,
        default_recipe("eresfd"),
        (FileFacts("b", 3, "2"),),
        links or (LINK,),
        CalibrationFacts("photos", 80, "cd", 1),
        failures,
    )


def changed(**fields: Any) -> Link:
    return dataclasses.replace(LINK, **fields)


def parity(**fields: Any) -> Link:
    return changed(parity=dataclasses.replace(PARITY, **fields))


def spot(**fields: Any) -> Link:
    """A link whose second case has such a largest difference."""
    largest = dataclasses.replace(CASE.largest, **fields)
    return parity(cases=(CASE, dataclasses.replace(CASE, input="ramp", largest=largest)))


def decided(changed_ones: int, made: int = 100) -> Link:
    scores = Decisions("scores", None, "scores", 0.4, 24, made, changed_ones)
    return changed(decisions=(scores,), most_changed=0.02)


def test_the_difference_is_a_share_of_the_range() -> None:
    assert LINK.worst == 5e-7
    assert LINK.mean == pytest.approx(5e-8)
    assert spot(difference=4e-6).worst == 2e-6  # the worst case counts
    assert spot(output_range=0.0).worst is None  # constant on one side, not on the other
    assert spot(output_range=0.0, difference=0.0).worst == 5e-7
    # Of what a type resolves to 1e-7, the limit of 1e-5 is told on a range of 0.01 and more.
    assert spot(output_range=0.0, resolution=1e-7).worst == pytest.approx(1e-6 / 0.01)


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        (
            spot(difference=2.4e-5),
            "outputs differ by 1.2e-05 of their range, largest, more than 1e-05 (worst in boxes, "
            "channel 2, on ramp: 2.4e-05 of a range of 2)",
        ),
        (spot(difference=None), "outputs differ by what is no number (worst in boxes, channel 2"),
        (spot(output_range=None), "outputs differ by what is no number"),
        (parity(figure="mean", limit=1e-8), "mean, more than 1e-08 (worst in boxes, on noise"),
        (parity(cases=()), "nothing was compared"),
        (decided(6), "6.0% of the 100 scores above 0.4 in scores differ (at most 2%, but for"),
        (changed(boxes=BOXES, least_boxes=0.96), "both find 90.0% of all boxes (at least 96%, but"),
        (
            changed(precision=dataclasses.replace(PRECISION, most_lost=0.009)),
            "average precision falls by 1.00 points (at most 0.9)",
        ),
    ],
)
def test_what_breaks_a_link(link: Link, problem: str) -> None:
    assert not link.passed
    (found,) = link.problems
    assert problem in found


def test_what_is_within_its_limits_holds() -> None:
    assert changed(boxes=BOXES, least_boxes=0.9, precision=PRECISION).passed
    assert decided(4).passed  # 2 of 100, and twice 1.4
    assert decided(1, made=3).passed  # one may always differ
    assert not decided(706, made=4292).passed
    few = BoxAgreement(photos=1, both=3, missed=1, added=0, mean_iou=0.9)
    assert changed(boxes=few, least_boxes=0.99).passed  # one may always differ
    assert not changed(boxes=dataclasses.replace(few, added=1), least_boxes=0.99).passed
    many = dataclasses.replace(few, both=900, missed=0)
    for added, holds in ((118, True), (123, False)):  # 10 % of 1,018 and twice 9.6
        assert (
            changed(boxes=dataclasses.replace(many, added=added), least_boxes=0.9).passed is holds
        )
    nothing = BoxAgreement(photos=1, both=0, missed=0, added=0, mean_iou=None)
    assert changed(boxes=nothing, least_boxes=0.99).passed


def test_it_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    whole = certificate(
        LINK, decided(1), changed(boxes=BOXES, least_boxes=0.9, precision=PRECISION)
    )
    path.write_bytes(to_json(whole))
    assert read_certificate(path) == whole
    assert json.loads(path.read_bytes())["complete"] is True
    broken = certificate(spot(difference=None), failures=(Failure("x", "no"),))
    path.write_bytes(to_json(broken))
    assert read_certificate(path) == broken
    assert json.loads(path.read_bytes())["complete"] is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("links", 0, "parity", "limit"), 1.0),
        (("links", 0, "parity", "cases", 0, "largest", "difference"), 0.0),
        (("links", 0, "passed"), False),
        (("complete",), False),
        (("files", 0, "sha256"), "3"),
        (("recipe", "proof", "int8_loss"), 1.0),
        (("sha256_of_the_rest",), "0" * 64),
    ],
)
def test_an_edited_figure_is_found(path: tuple[Any, ...], value: object, tmp_path: Path) -> None:
    content = json.loads(to_json(certificate()))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"certificate.json: was changed after it was written"):
        read_certificate(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "must be a table"),
        ('{"schema": 99}', "has schema 99; this toolchain knows 2"),
    ],
)
def test_what_is_no_certificate_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_certificate(file)
