"""The pages and tables of evaluations."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
from evaluations import (
    MEMBERS,
    PAGES,
    PART,
    SINGLE,
    WHOLE,
    classed,
    evaluation,
    evaluation_page,
    every_page,
    markdown_of,
    member_of,
    own_member,
    parsed,
    peer_of,
    tables_page,
)
from reports import HOSTILE, words
from test_report_html import colours, contrast

from toolchain.data.published.reading import comparators, not_found, paper_citation, paper_rows
from toolchain.records.accuracy import (
    LEVELS,
)
from toolchain.report import wording
from toolchain.report.accuracy import paper_csv, rows
from toolchain.report.accuracy.paper_tables import sources
from toolchain.report.accuracy.precision_words import (
    figure,
    protocol_words,
    same_figure,
    sample_words,
    terminal_rows,
)
from toolchain.report.charts import scatter
from toolchain.report.charts.lines import COLOURS
from toolchain.report.document.frame import style

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
