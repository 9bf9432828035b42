"""The certificate as a record: what breaks a link, and the way into JSON and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from toolchain.certificate import (
    SCHEMA,
    BoxAgreement,
    CalibrationFacts,
    Certificate,
    Failure,
    FileFacts,
    Link,
    LinkCase,
    Precision,
    read_certificate,
    to_json,
)
from toolchain.errors import DataError
from toolchain.recipe import default_recipe

CASE = LinkCase("noise", (1, 3, 8, 8), "ab", 1e-6, 1e-7, 2.0)
LINK = Link("a", "b", "1", "2", "torch", "exact", "largest", 1e-5, (CASE,))
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


def case(**fields: Any) -> Link:
    return changed(cases=(CASE, dataclasses.replace(CASE, **fields)))


def test_the_difference_is_a_share_of_the_range() -> None:
    assert LINK.worst == 5e-7
    assert LINK.mean == pytest.approx(5e-8)
    assert case(max_abs_diff=4e-6).worst == 2e-6  # the worst case counts
    assert case(output_range=0.0, max_abs_diff=3e-6).worst == 3e-6  # constant outputs: absolute


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        (case(max_abs_diff=2.1e-5), "outputs differ by 1e-05 of their range (largest; at most"),
        (case(max_abs_diff=None), "outputs differ by what is no number"),
        (case(output_range=None), "outputs differ by what is no number"),
        (changed(figure="mean", limit=1e-8), "(mean; at most 1e-08)"),
        (changed(cases=()), "outputs differ by what is no number"),
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
    whole = certificate(LINK, changed(boxes=BOXES, least_boxes=0.9, precision=PRECISION))
    path.write_bytes(to_json(whole))
    assert read_certificate(path) == whole
    assert json.loads(path.read_bytes())["complete"] is True
    broken = certificate(case(max_abs_diff=None), failures=(Failure("x", "no"),))
    path.write_bytes(to_json(broken))
    assert read_certificate(path) == broken
    assert json.loads(path.read_bytes())["complete"] is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("links", 0, "limit"), 1.0),
        (("links", 0, "cases", 0, "max_abs_diff"), 0.0),
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
        ('{"schema": 99}', "has schema 99; this toolchain knows 1"),
    ],
)
def test_what_is_no_certificate_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_certificate(file)
