"""The report as one HTML page: well formed, safe, legible."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from reports import HOSTILE, VARIANTS, every_variant, hostile_report, page, report_of, words

from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.document.frame import style
from toolchain.report.document.html import html
from toolchain.report.run.report import run_report


class Balance(HTMLParser):
    """Fails where a tag is closed that is not the innermost open one."""

    VOID = ("meta", "img", "wbr", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in (*self.VOID, "rect", "path", "line", "circle")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@every_variant
def test_html_is_well_formed_for_both_kinds_of_parser(report: Report) -> None:
    text = html(run_report(report))
    text.encode("utf-8")
    ElementTree.fromstring(text)
    balance = Balance()
    balance.feed(text)
    assert balance.open == []


@every_variant
def test_html_loads_nothing_and_runs_nothing(report: Report) -> None:
    root = page(report)
    assert root.find(".//script") is None
    assert root.find(".//link") is None
    for element in root.iter():
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
        assert element.get("href", "#").startswith("#")
        assert element.get("src", "data:image/png").startswith("data:image/png")
    assert "http://" not in html(run_report(report))
    assert "https://" not in html(run_report(report))
    assert set(re.findall(r"url\((.)", style())) == {"#"}
    assert "@import" not in style()


@every_variant
def test_html_can_be_heard(report: Report) -> None:
    root = page(report)
    assert root.get("lang") == "en"
    assert len(root.findall(".//h1")) == 1
    for table in root.iter("table"):
        caption = table.find("caption")
        assert caption is not None
        assert words(caption)
        assert {cell.get("scope") for cell in table.iter("th")} == {"col", "row"}
    assert all(picture.get("alt") for picture in root.iter("img"))
    for parent in root.iter():
        for drawing in parent.findall("svg"):
            named = drawing.get("role") == "img" and drawing.findtext("title")
            assert named or drawing.get("aria-hidden") or parent.tag == "svg"
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    patterns = {f"#{pattern.get('id')}" for pattern in root.iter("pattern")}
    assert set(re.findall(r"url\((#[^)]*)\)", style())) == patterns


def test_html_shows_the_numbers() -> None:
    text = words(page(report_of()))
    for number in ("91,342 → 87,296", "402,518 → 386,112", "4.4 %", "7.6e-06", "386,112", "10.8"):
        assert number in text
    assert "ratio 0.91, faster (quartiles 0.90 to 0.93)" in text
    assert "PROVED" in text
    assert "FAIL" not in text
    assert "2 faces before, 2 after; largest difference of a box: 1.3e-02 px" in text


def test_html_says_what_is_not_there() -> None:
    assert "UNTRAINED" in words(page(VARIANTS["untrained"]))
    assert "not measured in this run" in words(page(VARIANTS["no latency"]))
    assert page(VARIANTS["no photo"]).find(".//section[@id='photos']") is None
    assert "no picture was stored" in words(page(VARIANTS["photo without pictures"]))
    assert "1 of 1 layer" not in words(page(VARIANTS["nothing removed"]))
    assert "0 of 1 layer" in words(page(VARIANTS["nothing removed"]))
    failed = words(page(VARIANTS["failed with NaN"]))
    assert "✗ FAILED" in failed
    assert "but NOT PROVED" in failed
    assert "✓ PROVED" not in failed


def test_html_shows_hostile_names_as_text() -> None:
    root = page(hostile_report())
    shown = wording.clean(HOSTILE)
    heading, alternative = root.find(".//h1"), root.find(".//img")
    assert heading is not None
    assert alternative is not None
    assert heading.text == f"{shown} "
    assert shown in alternative.get("alt", "")
    assert any(words(item) == " ".join(shown.split()) for item in root.iter("code"))


def test_photos_are_inside_the_page() -> None:
    pictures = [picture.get("src", "") for picture in page(report_of()).iter("img")]
    assert [b64decode(picture.split(",")[1]) for picture in pictures] == [
        b"\x89PNG one",
        b"\x89PNG two",
    ]


# --- colours


def colours(theme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", style(), flags=re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found | (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if theme == "dark" else {}
    )


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2."""

    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(theme: str) -> None:
    colour = colours(theme)
    for ground in ("page", "panel"):
        for ink in ("ink", "muted", "link", "good", "bad"):
            assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    assert contrast(colour["warning-ink"], colour["warning"]) >= 4.5
    parts = ("live", "kept", "carried", "folded", "dropped", "removed-live", "beyond")
    for ink in (*parts, "before", "after", "mark"):
        assert contrast(colour[ink], colour["panel"]) >= 3, ink
    for part in parts[1:]:
        assert contrast(colour[part], colour[f"{part}-ground"]) >= 3, part
