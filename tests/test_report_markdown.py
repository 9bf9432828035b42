"""The report as Markdown."""

from __future__ import annotations

import re

from reports import VARIANTS, every_variant, hostile_report, report_of

from toolchain.records.stages import Report
from toolchain.report.document.markdown import markdown
from toolchain.report.run.report import run_report


@every_variant
def test_markdown_tables_have_as_many_cells_as_heads(report: Report) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown(run_report(report)), flags=re.MULTILINE)
    assert tables
    for table in tables:
        bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in table.splitlines()]
        assert set(bars) == {bars[0]}


def test_markdown_shows_the_numbers() -> None:
    text = markdown(run_report(report_of()))
    assert "| Deployed parameters | 91,342 | 87,296 | \N{MINUS SIGN}4.4 % |" in text
    assert "| ONNX bytes | 402,518 | 386,112 | \N{MINUS SIGN}4.1 % |" in text
    assert "ratio 0.91, faster (quartiles 0.90 to 0.93)" in text
    assert "30 interleaved rounds, 1 thread, image 480 \N{MULTIPLICATION SIGN} 640" in text
    assert (
        "PASS: soft network -> shrunk network: at most 1.3e-06 of the range, in loc, index 1"
        in text
    )
    assert "7 zeroed filters: 4 removed, 3 kept; 2 live filters removed as well" in text
    assert (
        "| channels 0, 1 and 2 of base.conv2.0 are still written by b.0 | 3 "
        "| `base.conv2.0` filter 0 |"
    ) in text
    assert "| `model.onnx` | 386,112 | `aaaaaaaaaaaa` |" in text
    assert "Copy `model.onnx` and `detect.py` to the board" in text
    assert "| all | 10.8 |" in text


def test_markdown_warns_first_when_untrained() -> None:
    text = markdown(run_report(VARIANTS["untrained"]))
    assert text.splitlines()[2].startswith("> **UNTRAINED.")
    assert "seed 7" in text
    assert "UNTRAINED" not in markdown(run_report(report_of()))


def test_markdown_of_a_failure_says_so_and_does_not_send_anyone_to_the_board() -> None:
    text = markdown(run_report(VARIANTS["failed with NaN"]))
    assert "NOT PROVED" in text.splitlines()[0]
    assert "**FAIL**: soft network" in text
    assert "**not finite**" in text
    assert "Copy `model.onnx`" not in text


def test_markdown_leaves_no_live_markup_or_terminal_codes_in_names() -> None:
    text = markdown(run_report(hostile_report()))
    text.encode("utf-8")
    assert "\x1b" not in text
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"\\.", "", text))
    folded = r"</?(details|summary)>"
    assert "<" not in re.sub(folded, "", outside_code)
