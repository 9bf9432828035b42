"""Every document says the same in HTML as in Markdown, and neither can do harm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from evaluations import (
    HOSTILE_PICTURE,
    MANY,
    MEMBERS,
    evaluation,
    hostile_evaluation,
    own_member,
    peer_of,
)
from gate_records import LIMITS, record
from markdown_it import MarkdownIt
from reports import HOSTILE, VARIANTS, parity_of, report_of, words
from test_comparison import COMPARISON
from test_report_sweep import BROKEN, WHOLE
from test_report_sweep import RUNNING as MEMBER_RUNNING
from test_report_sweep import done as member_done
from test_report_training import LOOKED, ZEROED
from test_widths_cli import OTHER, PLAN, REPORT
from zoo_members import facts_of

from toolchain.gate.comparing import compare
from toolchain.recipe import default_recipe
from toolchain.records import certificate as records
from toolchain.records.certificate import (
    Attempt,
    CalibrationFacts,
    Certificate,
    Failure,
    FileFacts,
    LayerNoise,
    MixedPrecision,
)
from toolchain.records.timings import (
    Bench,
    Check,
    Estimate,
    FileCheck,
    FileTiming,
    Instructions,
    OperatorCost,
    OperatorCount,
)
from toolchain.records.verdicts import HistoryPoint
from toolchain.report.accuracy.evaluation import evaluation_document
from toolchain.report.accuracy.paper_tables import paper_document
from toolchain.report.cards import card
from toolchain.report.costs.bench import bench_document
from toolchain.report.costs.check import boards_document, check_document
from toolchain.report.costs.comparison import comparison_document
from toolchain.report.costs.cost_tables import cost_document, plan_document
from toolchain.report.document import model as doc
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown
from toolchain.report.gate.history import history_document
from toolchain.report.gate.verdicts import gate_document
from toolchain.report.run.report import run_report
from toolchain.report.sweep import sweep_document
from toolchain.report.training.progress import training_document
from toolchain.report.wording import clean


def certificate(name: str) -> Certificate:
    mixed_precision = MixedPrecision(
        (LayerNoise(name, 0.02, True), LayerNoise("conv2", 0.001, False)),
        (Attempt(0, 50, 0.3, None, ("too far",)), Attempt(1, 60, 0.1, 0.002, ())),
    )
    apart = parity_of((1e-3, 2.0))
    link = records.Link("model.onnx", name, "a", "b", "onnxruntime", "approximate", apart)
    return Certificate(
        schema=2,
        tool="0",
        checkpoint=None,
        checkpoint_sha256=None,
        recipe=default_recipe("eresfd"),
        files=(FileFacts("model.onnx", 400, "a"), FileFacts(f"{name}.tflite", 100, "b")),
        links=(link, replace(link, mixed_precision=mixed_precision)),
        calibration=CalibrationFacts("photos", 8, "c"),
        failures=(Failure(name, f"no {name}"),),
    )


def bench(name: str) -> Bench:
    operators = (OperatorCost(name, 3, 1.5), OperatorCost("Add", 1, None))
    file = FileTiming(
        "model.onnx", "r", 3000, 50_000_000, 2.0, 1.9, 2.2, 1.0, 0.9, 1.1, 0.01, operators
    )
    files = (file, replace(file, name=name, ratio=0.5, mean_share=None))
    return Bench(name, "model.onnx", name, (96, 128), 1, 7, 0.5, name, name, 0.1, files, (name,))


def check(name: str) -> Check:
    file = FileCheck(
        target="rpi4",
        runtime=name,
        file=name,
        sha256="ab",
        size=(96, 128),
        instructions_per_inference=1500,
        instructions=Instructions(900, 300, 200, 100),
        apart=parity_of((1e-3, 2.0)),
        boxes=None,
        size_bytes=1000,
        peak_memory_bytes=50_000_000,
        estimate_ms=Estimate(1.0, 2.0, 3.0),
        estimate_error={"worst": 0.25},
        parity=True,
        opening_instructions=5000,
        operators=(OperatorCount(name, "Conv", 1400), OperatorCount("b", name, 100)),
        outputs=(),
    )
    files = (file, replace(file, file="model.tflite", operators=()))
    return Check(name, "rpi4", name, "cortex-a72", 1_500_000_000, "", files)


def history(name: str) -> dict[str, list[HistoryPoint]]:
    before, after = record(), record(instructions=2e6)
    rows = compare(before, after, LIMITS).rows
    points = [
        HistoryPoint("abc1234", "2026-01-02", name, before, ()),
        HistoryPoint(name, "", name, after, rows),
    ]
    return {name: points}


def gate(name: str) -> doc.Document:
    worse = replace(record(instructions=2e6), widths={name: 9}, versions={name: "3"})
    return gate_document([compare(record(), worse, LIMITS), compare(record(), record(), LIMITS)])


def accuracy(name: str) -> doc.Document:
    one = hostile_evaluation() if name == HOSTILE else evaluation(name)
    return evaluation_document([one, evaluation()], [HOSTILE_PICTURE])


DOCUMENTS = {
    **{f"run: {name}": run_report(report) for name, report in VARIANTS.items()},
    "run with a certificate": run_report(report_of(certificate=certificate("a|b"))),
    "check": check_document(check("model_<b>.onnx"), ("size_bytes: too much",)),
    "boards": boards_document([check("model.onnx"), check("other")]),
    "bench": bench_document(bench("a|b")),
    "comparison": comparison_document(COMPARISON),
    "costs": cost_document(REPORT),
    "plan": plan_document(PLAN),
    "gate": gate("<b>"),
    "history": history_document(history("small")),
    "sweep": sweep_document(replace(WHOLE, members=(*WHOLE.members, BROKEN, MEMBER_RUNNING))),
    "training": training_document(replace(ZEROED, samples=LOOKED.samples, sample_photos=40)),
    "evaluation": accuracy("a|b"),
    "eleven evaluations": evaluation_document(MANY),
    "paper": paper_document([*MEMBERS, own_member(name="a|b")], [peer_of()], [HOSTILE_PICTURE]),
    "card": card(facts_of()),
}

HOSTILE_DOCUMENTS = {
    "run": run_report(replace(VARIANTS["hostile"], certificate=certificate(HOSTILE))),
    "check": check_document(check(HOSTILE), (HOSTILE,)),
    "bench": bench_document(bench(HOSTILE)),
    "costs": cost_document(replace(REPORT, name=HOSTILE, groups=(replace(OTHER, group=HOSTILE),))),
    "plan": plan_document(replace(PLAN, model=HOSTILE, looked_at=HOSTILE)),
    "gate": gate(HOSTILE),
    "history": history_document(history(HOSTILE)),
    "sweep": sweep_document(
        replace(WHOLE, model=HOSTILE, members=(member_done(0.3, 5, 0.5, folder=HOSTILE),))
    ),
    "training": training_document(
        replace(ZEROED, zero_filters={HOSTILE: (0,)}, broken=((HOSTILE, HOSTILE),))
    ),
    "evaluation": accuracy(HOSTILE),
    "card": card(facts_of(bad_at=[HOSTILE], terms=HOSTILE, command=HOSTILE, data=HOSTILE)),
}

every_document = pytest.mark.parametrize(
    "document",
    [*DOCUMENTS.values(), *HOSTILE_DOCUMENTS.values()],
    ids=[*DOCUMENTS, *(f"hostile {name}" for name in HOSTILE_DOCUMENTS)],
)


def shown_html(document: doc.Document) -> ElementTree.Element:
    return ElementTree.fromstring(html(document))


def shown_markdown(document: doc.Document) -> ElementTree.Element:
    """What a reader of CommonMark with tables sees."""
    made = MarkdownIt("commonmark").enable("table").render(markdown(document))
    return ElementTree.fromstring(f"<div>{made}</div>")


def cells(root: ElementTree.Element) -> list[list[list[str]]]:
    return [
        [[words(cell) for cell in row if cell.tag in ("th", "td")] for row in table.iter("tr")]
        for table in root.iter("table")
    ]


def flat(told: object) -> str:
    """Words without their markup, as they are shown."""
    if isinstance(told, tuple):
        return "".join(map(flat, told))
    if isinstance(told, doc.Item | doc.Code | doc.Strong | doc.Small | doc.Link):
        return flat(told.words)
    return str(told)


def said(blocks: Iterable[object]) -> Iterator[object]:
    """All that blocks say; of pictures only what stands in no table."""
    for each in blocks:
        if isinstance(each, doc.Section | doc.Details):
            yield each.title if list(said(each.blocks)) else ""
        if isinstance(each, doc.Section | doc.Details | doc.Beside):
            yield from said(each.blocks)
        elif isinstance(each, doc.Tiles | doc.Figure | doc.Photos):
            yield from pictured(each)
        else:
            yield from lines_of(each)


def lines_of(block: object) -> Iterator[object]:
    match block:
        case doc.Heading() | doc.Paragraph() | doc.Notice():
            yield block.words
        case doc.Verdict():
            yield from (block.stamp, block.words, *block.lines)
        case doc.Items():
            yield from block.entries
        case doc.CodeBlock():
            yield from block.lines
        case doc.Table():
            yield from (block.caption, *block.head, *(cell for row in block.rows for cell in row))


def pictured(block: doc.Tiles | doc.Figure | doc.Photos) -> Iterator[object]:
    if isinstance(block, doc.Photos):
        yield block.caption
    elif isinstance(block, doc.Tiles):
        for tile in block.tiles:
            yield from (tile.measure, tile.headline, *(line.words for line in tile.lines))
            yield from (part for bar in tile.bars for part in (bar.name, bar.value))
    elif not block.told:
        yield from (block.caption, block.title)
        yield from (part for bar in block.bars for part in (bar.name, bar.value))
        if any(entry.value for entry in block.legend):
            yield from (part for e in block.legend for part in (e.words, e.value))


@every_document
def test_tables_hold_the_same_cells_in_both(document: doc.Document) -> None:
    assert cells(shown_html(document)) == cells(shown_markdown(document))


@every_document
def test_all_that_a_document_says_is_read_in_both(document: doc.Document) -> None:
    expected = [" ".join(clean(flat(each)).split()) for each in said(document.blocks)]
    expected += [" ".join(clean(flat(each)).split()) for each in said(document.lead)]
    assert len(expected) > 5
    for root in (shown_html(document), shown_markdown(document)):
        text = words(root)
        assert [each for each in expected if each not in text] == []


@every_document
def test_no_markup_of_a_name_is_live(document: doc.Document) -> None:
    page = html(document)
    assert "<script" not in page
    assert "onload=x" not in re.sub(r">[^<]*<|\"[^\"]*\"", "", page)
    text = markdown(document)
    assert "\x1b" not in text + page
    root = shown_markdown(document)
    allowed = "div h1 h2 h3 p ul ol li table thead tbody tr th td code pre strong em blockquote"
    assert {each.tag for each in root.iter()} <= {*allowed.split(), "details", "summary", "a"}
    for link in root.iter("a"):
        assert link.get("href", "").startswith("./")


def document_of(*blocks: object) -> doc.Document:
    return doc.Document("t", "Heading", "", (), (doc.Section("s", "Section", blocks),))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["<b>", "a|b", "`x`", "a*b*", "__init__", "1. x", "# x", "- x"])
def test_a_name_reads_as_it_is_wherever_it_stands(name: str) -> None:
    document = document_of(
        doc.Paragraph(name),
        doc.Paragraph(("of ", doc.Strong(name), " and ", doc.Code(name))),
        doc.Items((name, doc.Code(name))),
        doc.Items((name,), ordered=True),
        doc.Table(name, ("head", name), ((doc.Code(name), name),)),
        doc.Details(name, (doc.Notice(name),)),
    )
    for root in (shown_html(document), shown_markdown(document)):
        assert cells(root) == [[["head", name], [name, name]]]
        text = words(root)
        assert text.count(name) >= 10
        assert f"of {name} and {name}" in text
        assert root.find(".//b") is None


def test_a_section_of_pictures_alone_is_left_out_of_markdown() -> None:
    assert "## Cost, as a share" not in markdown(comparison_document(COMPARISON))
    assert "Cost, as a share" in html(comparison_document(COMPARISON))
