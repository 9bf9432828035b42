"""Evaluations and tables made for tests, and the pages that show them."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from reports import HOSTILE

from toolchain.data.published.reading import paper_rows
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
from toolchain.report.accuracy import curves, sizes
from toolchain.report.accuracy.evaluation import evaluation_document
from toolchain.report.accuracy.paper_tables import paper_document
from toolchain.report.charts import scatter
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
