"""The published figures: the paper's rows as it gives them, comparators each with a source."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from toolchain.data.published import reading
from toolchain.data.published.reading import (
    comparators,
    find_published,
    not_found,
    paper_citation,
    paper_rows,
)
from toolchain.errors import ToolchainError
from toolchain.records.accuracy import LEVELS, Comparator, PublishedRow

TOTALS = {"extd": 162_352, "eresfd": 92_208}
FAMILIES = {
    *("EXTD", "EResFD", "RetinaFace MobileNet", "RetinaFace ResNet-50", "TinaFace", "YOLO5Face"),
    *("LFFD", "S3FD", "DSFD", "MTCNN", "FaceBoxes", "PyramidBox", "SCRFD"),
}


def test_both_tables_are_complete() -> None:
    for model in TOTALS:
        kinds = [
            (row.variant, row.criterion, row.rate) for row in paper_rows() if row.model == model
        ]
        pruned = [
            ("pruned", criterion, float(rate))
            for rate in (10, 20, 30, 40, 50)
            for criterion in ("fpgm", "l1")
        ]
        assert kinds == [("original", None, None), ("reproduced", None, None), *pruned]
    assert len(paper_rows()) == 24


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        (("extd", "original", None, None), (0.921, 0.911, 0.856, 162_352, 0.0)),
        (("extd", "pruned", "fpgm", 50.0), (0.8485, 0.8118, 0.6565, 94_448, 41.83)),
        (("extd", "pruned", "l1", 30.0), (0.8806, 0.8522, 0.6655, None, None)),
        (("eresfd", "reproduced", None, None), (0.866, 0.8555, 0.7731, 92_208, 0.0)),
        (("eresfd", "pruned", "fpgm", 10.0), (0.8728, 0.8582, 0.7757, 87_368, 5.25)),
        (("eresfd", "pruned", "l1", 50.0), (0.6992, 0.6704, 0.4824, None, None)),
    ],
)
def test_a_row_is_found_with_its_figures(
    kind: tuple[str, str, str | None, float | None], figures: tuple[float | None, ...]
) -> None:
    row = find_published(*kind)
    assert row is not None
    assert (row.easy, row.medium, row.hard, row.parameters, row.sparsity) == figures
    assert tuple(row.ap(level) for level in LEVELS) == figures[:3]
    assert row.ap("all") is None


def test_what_the_paper_does_not_have_is_not_found() -> None:
    assert find_published("eresfd", "own") is None
    assert find_published("eresfd", "pruned", "fpgm", 15.0) is None
    assert find_published("eresfd", "pruned", "fpgm") is None
    assert find_published("yunet", "original") is None


def contradicting(row: PublishedRow) -> bool:
    """Whether the parameters do not give the sparsity, to its second decimal."""
    if row.parameters is None or row.sparsity is None:
        return False
    return abs((1 - row.parameters / TOTALS[row.model]) * 100 - row.sparsity) > 0.0101


def test_sparsity_is_the_share_of_zero_parameters_but_for_one_row() -> None:
    odd = [row for row in paper_rows() if contradicting(row)]
    assert [(row.model, row.criterion, row.rate) for row in odd] == [("eresfd", "fpgm", 40.0)]


def test_the_paper_s_rows_are_those_of_the_reference(shared: Path) -> None:
    text = (shared / "paper.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\S+)[^|]*\| (\.\d{4}) \| (\.\d{4}) \| (\.\d{4}) \|", text, re.M)
    figures = [tuple(map(float, line[1:])) for line in lines]
    assert [(row.easy, row.medium, row.hard) for row in paper_rows()] == figures


def test_every_detector_of_the_figures_is_there_or_named_as_missing() -> None:
    families = {item.family for item in comparators()}
    assert families == FAMILIES
    missing = {entry.name for entry in not_found()}
    assert {"EagleEye", "PruneFaceDet"} <= missing
    for item in comparators():
        assert (item.parameters is None) == (item.name in missing), item.name


@pytest.mark.parametrize("item", comparators(), ids=lambda item: item.name)
def test_every_figure_has_a_source_and_a_sane_value(item: Comparator) -> None:
    assert item.protocol
    assert item.ap_source is not None
    assert (item.parameters is None) == (item.parameters_source is None)
    for source in (item.ap_source, item.parameters_source):
        assert source is None or (
            source.title and re.search(r"arXiv:\d|github\.com/", source.where)
        )
    aps = [item.ap(level) for level in LEVELS]
    assert aps == sorted((ap for ap in aps if ap is not None), reverse=True)
    assert all(ap is not None and 0.5 < ap < 1 for ap in aps)
    assert item.parameters is None or 50_000 < item.parameters < 200_000_000


def test_names_are_unique_and_every_source_is_used() -> None:
    names = [item.name for item in comparators()]
    assert len(set(names)) == len(names)
    text = (
        files("toolchain.data.published").joinpath("comparators.toml").read_text(encoding="utf-8")
    )
    content = tomllib.loads(text)
    used = {entry.get(f"{what}_source") for entry in content["comparator"] for what in _WHAT}
    assert used - {None} == set(content["sources"])


_WHAT = ("ap", "parameters")


def test_originals_agree_with_the_paper_s_rows() -> None:
    for item in comparators():
        row = find_published(item.family.lower(), "original")
        if row is not None:
            assert (item.easy, item.medium, item.hard) == (row.easy, row.medium, row.hard)
            assert item.parameters == row.parameters
            assert item.ap_source == paper_citation()


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "X", "family": "X", "protocol": "-", "parameters": 5},
        {"name": "X", "family": "X", "protocol": "-", "easy": 0.5, "ap_source": "nowhere"},
        {"name": "X", "family": "X", "protocol": "-", "ap_source": "here"},
    ],
    ids=["no source", "unknown source", "no figure"],
)
def test_a_figure_without_a_source_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ToolchainError, match=r"X: \w+_source must name one of"):
        reading._comparator(entry, {"here": paper_citation()})
