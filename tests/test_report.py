from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.records import (
    Artifact,
    Cost,
    Detections,
    FilterVerdict,
    Latency,
    LayerChange,
    Parity,
    ParityCase,
    PhotoComparison,
    Report,
    Source,
    Stage,
    Surgery,
    Verdict,
)
from toolchain.report import facts, figures, filters, wording
from toolchain.report.html import html, style
from toolchain.report.markdown import markdown
from toolchain.report.summary import summary

HOSTILE = (
    '<script>alert(1)</script>"\' onload=x a"b|`c``d` \x1b[31m\u202e\ud800 ]]> &amp; {} \\| *e*'
)


def layer(
    name: str,
    before: int,
    dropped: int = 0,
    folded: int = 0,
    carried: int = 0,
    kept: int = 0,
    removed_live: int = 0,
) -> LayerChange:
    return LayerChange(
        layer=name,
        kind="Conv2d",
        out_channels_before=before,
        out_channels_after=before - dropped - folded - carried - removed_live,
        in_channels_before=3,
        in_channels_after=3,
        zeroed_filters=dropped + folded + carried + kept,
        dropped=dropped,
        folded=folded,
        carried=carried,
        kept=kept,
    )


def surgery_of(*layers: LayerChange) -> Surgery:
    verdicts: tuple[Verdict, ...] = ("dropped", "folded", "carried", "kept")
    items = [
        FilterVerdict(one.layer, index, verdict, f"channel {index} is still written by b.0")
        for one in layers
        for verdict in verdicts
        for index in range(getattr(one, verdict))
    ]
    live = sum(filters.parts(one)["removed_live"] for one in layers)
    return Surgery(rounds=2, filters=tuple(items), layers=layers, removed_live_filters=live)


def parity_of(*cases: tuple[float, float], limit: float = 1e-4, relative: bool = False) -> Parity:
    return Parity(
        link="soft network -> shrunk network",
        limit=limit,
        relative=relative,
        cases=tuple(
            ParityCase(f"input {number}", (1, 3, 480, 640), difference, spread)
            for number, (difference, spread) in enumerate(cases)
        ),
    )


def report_of(**changes: object) -> Report:
    found = Detections(((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)), (0.9, 0.8))
    normal = Report(
        model="eresfd",
        source=Source("eresfd.pth", "upstream", "9f86d081884c7d65" * 4, True, 7),
        rate=0.1,
        criterion="fpgm",
        scope="layer",
        stages=(Stage("shrink", 8.31), Stage("export", 2.5)),
        surgery=surgery_of(
            layer("base.conv1.0", 16, dropped=1, folded=1, removed_live=2),
            layer("base.conv2.0", 8, carried=2, kept=3),
            layer("base.conv3.0", 4),
        ),
        cost_before=Cost(91_342, 18, 324_870_400, (480, 640)),
        cost_after=Cost(87_296, 18, 310_221_312, (480, 640)),
        parity_surgery=parity_of((3.81e-6, 4.12), (7.6e-6, 5.9)),
        parity_onnx=replace(parity_of((2.1e-5, 4.1)), link="shrunk network -> ONNX"),
        latency=Latency(0.91, 0.9, 0.93, 21.4, 19.5, 30, 1, (480, 640), "a runtime", "a machine"),
        artifacts=(Artifact("before.onnx", 5, "b" * 64), Artifact("model.onnx", 386_112, "a" * 64)),
        onnx_before_bytes=402_518,
        photos=(PhotoComparison("crowd.jpg", found, found, 0.013, b"\x89PNG one", b"\x89PNG two"),),
        notes=("Fine-tune before you deploy.",),
        versions={"torch": "2.13.0"},
        command="make shrink MODEL=eresfd RATE=0.1",
    )
    return replace(normal, **changes)  # type: ignore[arg-type]


def hostile_report() -> Report:
    photo = report_of().photos[0]
    case = ParityCase(HOSTILE, (1, 3, 8, 8), 1e-6, 1.0)
    return report_of(
        model=HOSTILE,
        source=Source(HOSTILE, HOSTILE, HOSTILE, False, 0),
        criterion=HOSTILE,
        scope=HOSTILE,
        stages=(Stage(HOSTILE, 1.0),),
        surgery=surgery_of(layer(HOSTILE, 8, dropped=2, kept=2)),
        cost_after=Cost(1, 0, 1, (1, 1), (HOSTILE,)),
        parity_surgery=Parity(HOSTILE, 1e-4, False, (case,)),
        latency=Latency(1.0, 0.9, 1.1, 1.0, 1.0, 1, 1, (1, 1), HOSTILE, HOSTILE),
        artifacts=(Artifact(f"{HOSTILE}.onnx", 1, HOSTILE),),
        photos=(replace(photo, name=HOSTILE),),
        notes=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
        command=HOSTILE,
    )


VARIANTS = {
    "normal": report_of(),
    "untrained": report_of(source=Source(None, "seed", None, False, 7)),
    "no latency": report_of(latency=None),
    "no photo": report_of(photos=()),
    "photo without pictures": report_of(
        photos=(replace(report_of().photos[0], before_png=b"", after_png=b""),)
    ),
    "nothing removed": report_of(
        surgery=surgery_of(layer("a", 8, kept=8)), cost_after=report_of().cost_before
    ),
    "nothing zeroed": report_of(surgery=surgery_of(), rate=None, criterion=None, scope=None),
    "120 layers": report_of(
        surgery=surgery_of(*(layer(f"b.{n}", 4 + 2 * n, dropped=1, kept=1) for n in range(120)))
    ),
    "failed with NaN": report_of(
        parity_surgery=parity_of((1e-6, 1.0), (math.nan, math.nan), (math.inf, math.inf))
    ),
    "over the limit": report_of(parity_onnx=parity_of((0.2, 4.0), relative=True)),
    "no case": report_of(parity_onnx=parity_of()),
    "no files": report_of(artifacts=(), notes=(), versions={}, stages=()),
    "hostile": hostile_report(),
}

every_variant = pytest.mark.parametrize("report", VARIANTS.values(), ids=VARIANTS.keys())


def page(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(html(report))


def fragment(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{markup}</div>")


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def share(rectangle: ElementTree.Element, attribute: str) -> float:
    return float(rectangle.get(attribute, "").removesuffix("%")) / 100


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


# --- report.json


@every_variant
def test_summary_is_strict_json_whatever_was_found(report: Report) -> None:
    written = json.dumps(summary(report), allow_nan=False)
    assert json.loads(written) == summary(report)


def test_summary_holds_what_scripts_read() -> None:
    found = json.loads(json.dumps(summary(report_of())))
    assert found["model"] == "eresfd"
    assert found["trained"] is True
    assert found["stages"] == {"shrink": 8.31, "export": 2.5}
    assert found["deployed_parameters"] == {"before": 91_342, "after": 87_296}
    assert found["macs"] == {"before": 324_870_400, "after": 310_221_312, "size": [480, 640]}
    assert found["size_bytes"] == {"before.onnx": 5, "model.onnx": 386_112}
    assert found["onnx_before_bytes"] == 402_518
    assert found["zeroed_filters"] == {
        "total": 7, "removed": 4, "kept": 3, "dropped": 1, "folded": 1, "carried": 2,
    }  # fmt: skip
    surgery = found["parity"]["surgery"]
    assert (surgery["max_abs_diff"], surgery["output_range"]) == (7.6e-6, 5.9)
    assert (surgery["limit"], surgery["passed"], len(surgery["cases"])) == (1e-4, True, 2)
    assert found["parity"]["onnx"]["max_abs_diff"] == 2.1e-5
    assert (found["rate"], found["criterion"], found["scope"]) == (0.1, "fpgm", "layer")
    assert found["source"]["path"] == "eresfd.pth"
    assert found["layers"][0]["removed_live"] == 2
    assert found["notes"] == ["Fine-tune before you deploy."]
    assert found["versions"] == {"torch": "2.13.0"}
    assert found["command"] == "make shrink MODEL=eresfd RATE=0.1"
    assert found["photos"] == [
        {"name": "crowd.jpg", "faces": {"before": 2, "after": 2}, "max_box_diff_px": 0.013}
    ]


def test_summary_latency_has_its_conditions_or_is_null() -> None:
    assert summary(report_of())["latency"] == {
        "ratio": 0.91, "ratio_low": 0.9, "ratio_high": 0.93, "before_ms": 21.4, "after_ms": 19.5,
        "rounds": 30, "threads": 1, "size": [480, 640], "runtime": "a runtime",
        "machine": "a machine",
    }  # fmt: skip
    assert summary(report_of(latency=None))["latency"] is None


@pytest.mark.parametrize("order", [1, -1])
def test_nan_in_any_case_becomes_null_and_fails(order: int) -> None:
    cases = [(1e-6, 1.0), (math.nan, math.nan)][::order]
    found = json.loads(json.dumps(summary(report_of(parity_surgery=parity_of(*cases)))))
    surgery = found["parity"]["surgery"]
    assert surgery["max_abs_diff"] is None
    assert surgery["passed"] is False
    assert found["proved"] is False


def test_a_comparison_without_cases_proves_nothing() -> None:
    assert summary(report_of(parity_onnx=parity_of()))["proved"] is False


def test_stages_of_one_name_are_added() -> None:
    report = report_of(stages=(Stage("check", 1.5), Stage("load", 1.0), Stage("check", 2.0)))
    assert summary(report)["stages"] == {"check": 3.5, "load": 1.0}


# --- what both pages say


def test_numbers_are_written_alike_everywhere() -> None:
    assert wording.count(91_342) == "91,342"
    assert wording.change(200, 150) == "\N{MINUS SIGN}25.0 %"
    assert wording.change(200, 300) == "+50.0 %"
    assert wording.change(5, 5) == "no change"
    assert wording.change(0, 5) == "not comparable"
    assert wording.difference(3.81e-6) == "3.8e-06"
    assert wording.difference(0.0) == "0"
    assert wording.difference(math.nan) == "not finite"
    assert wording.percentage(0.125) == "12.5 %"
    assert wording.plural(1, "box", "boxes") == "1 box"
    assert wording.plural(1200, "box", "boxes") == "1,200 boxes"
    assert wording.clean("a\nb\x1b[0m\u202e\ud800") == "a b\ufffd[0m\ufffd\ufffd"


@pytest.mark.parametrize(
    ("low", "high", "meaning"),
    [(0.8, 0.9, "faster"), (1.1, 1.2, "slower"), (0.9, 1.1, "no clear difference")],
)
def test_latency_claims_no_more_than_its_quartiles_allow(
    low: float, high: float, meaning: str
) -> None:
    latency = report_of().latency
    assert latency is not None
    assert meaning in facts.latency_words(replace(latency, ratio_low=low, ratio_high=high))


def test_the_deployed_file_is_model_onnx_and_not_the_one_before() -> None:
    onnx = facts.deployed_onnx(report_of())
    assert onnx is not None
    assert onnx.size_bytes == 386_112


def test_reasons_that_differ_in_channel_numbers_are_one() -> None:
    told = [
        "channel 3 is still written by b2_1.0.res_layer.3",
        "channel 12 is still written by b2_1.0.res_layer.3",
        "channel 3 is still written by b2_1.1.res_layer.3.",
    ]
    items = [FilterVerdict("a", n, "kept", reason) for n, reason in enumerate(told)]
    items.append(FilterVerdict("a", 9, "dropped", told[0]))
    assert [(found.reason, found.filters) for found in filters.kept_reasons(items)] == [
        ("channel n is still written by b2_1.0.res_layer.3", 2),
        ("channel 3 is still written by b2_1.1.res_layer.3.", 1),
    ]


def test_only_ten_reasons_are_listed_and_the_rest_counted() -> None:
    items = tuple(FilterVerdict("a", n, "kept", f"because of l{n}") for n in range(13))
    report = report_of(surgery=Surgery(1, items, ()))
    assert "| 3 | 3 other reasons" in markdown(report)
    assert "3 other reasons" in words(page(report))
    assert "because of l9 |" in markdown(report)
    assert "because of l10" not in markdown(report)


def test_a_layer_that_contradicts_itself_is_refused() -> None:
    wrong = replace(layer("base.conv1.0", 16, dropped=2), out_channels_after=15)
    with pytest.raises(ValueError, match=r"base\.conv1\.0: the parts must add up"):
        filters.parts(wrong)
    with pytest.raises(ValueError, match="must add up"):
        filters.parts(replace(layer("a", 16, dropped=2), zeroed_filters=3))


# --- Markdown


@every_variant
def test_markdown_tables_have_as_many_cells_as_heads(report: Report) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown(report), flags=re.MULTILINE)
    assert tables
    for table in tables:
        bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in table.splitlines()]
        assert set(bars) == {bars[0]}


def test_markdown_shows_the_numbers() -> None:
    text = markdown(report_of())
    assert "| Deployed parameters | 91,342 | 87,296 | \N{MINUS SIGN}4.4 % |" in text
    assert "| ONNX bytes | 402,518 | 386,112 | \N{MINUS SIGN}4.1 % |" in text
    assert "ratio 0.91, faster (quartiles 0.90 to 0.93)" in text
    assert "30 interleaved rounds, 1 thread, image 480 \N{MULTIPLICATION SIGN} 640" in text
    assert "PASS: soft network -> shrunk network: largest difference 7.6e-06" in text
    assert "7 zeroed filters: 4 removed, 3 kept; 2 live filters removed as well" in text
    assert "| 3 | channel n is still written by b.0 | `base.conv2.0` filter 0 |" in text
    assert "| `model.onnx` | 386,112 | `aaaaaaaaaaaa` |" in text
    assert "Copy `model.onnx` and `deploy/detect.py` to the board" in text
    assert "| all | 10.8 |" in text


def test_markdown_warns_first_when_untrained() -> None:
    text = markdown(VARIANTS["untrained"])
    assert text.splitlines()[2].startswith("> **UNTRAINED.")
    assert "seed 7" in text
    assert "UNTRAINED" not in markdown(report_of())


def test_markdown_of_a_failure_says_so_and_does_not_send_anyone_to_the_board() -> None:
    text = markdown(VARIANTS["failed with NaN"])
    assert "NOT PROVED" in text.splitlines()[0]
    assert "**FAIL**: soft network" in text
    assert "**not finite**" in text
    assert "Copy `model.onnx`" not in text


def test_markdown_leaves_no_live_markup_or_terminal_codes_in_names() -> None:
    text = markdown(hostile_report())
    text.encode("utf-8")
    assert "\x1b" not in text
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"\\.", "", text))
    assert "<" not in outside_code


# --- HTML


@every_variant
def test_html_is_well_formed_for_both_kinds_of_parser(report: Report) -> None:
    text = html(report)
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
    assert "http://" not in html(report)
    assert "https://" not in html(report)
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
            named = drawing.get("role") == "img" and drawing.get("aria-label")
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
    assert "FAILED" in failed
    assert "PROVED" not in failed


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


# --- figures


@st.composite
def layers(draw: st.DrawFn) -> LayerChange:
    counts = {
        key: draw(st.integers(0, 40))
        for key in ("dropped", "folded", "carried", "kept", "removed_live")
    }
    live = draw(st.integers(1, 60))
    return layer("a", live + sum(counts.values()), **counts)


@settings(deadline=None)
@given(layers(), st.integers(0, 300))
def test_bars_are_as_long_as_their_counts(change: LayerChange, wider: int) -> None:
    widest = change.out_channels_before + wider
    drawn = fragment(figures.width_bar(change, widest))
    end = 0.0
    found = {}
    for bar in drawn.iter("rect"):
        assert share(bar, "x") == pytest.approx(end, abs=2e-6)
        assert share(bar, "width") == pytest.approx(
            int(bar.get("data-filters", "")) / widest, abs=1e-6
        )
        end = share(bar, "x") + share(bar, "width")
        found[bar.get("class", "").removeprefix("part-")] = int(bar.get("data-filters", ""))
    assert end == pytest.approx(change.out_channels_before / widest, abs=2e-6)
    assert found == {key: number for key, number in filters.parts(change).items() if number}
    assert sum(found.values()) == change.out_channels_before
    assert found.get("live", 0) + found.get("kept", 0) == change.out_channels_after
    for line in drawn.iter("line"):
        assert share(line, "x1") == pytest.approx(change.out_channels_after / widest, abs=1e-6)


def test_a_layer_that_stayed_has_no_line_where_it_ends() -> None:
    assert fragment(figures.width_bar(layer("a", 8, kept=2), 8)).find(".//line") is None
    assert fragment(figures.width_bar(layer("a", 8, dropped=2), 8)).find(".//line") is not None


def test_every_layer_has_its_row_and_the_legend_counts_them_all() -> None:
    report = VARIANTS["120 layers"]
    figure = fragment(figures.widths(report.surgery.layers))
    rows = figure.findall("./ol/li")
    assert len(rows) == 120
    assert words(rows[0]).endswith("4 → 3")
    legend = [words(entry) for entry in figure.findall("./ul/li")]
    assert legend[1:5] == ["kept zeroed 120", "carried 0", "folded 0", "dropped 120"]
    total = sum(change.out_channels_before for change in report.surgery.layers)
    assert sum(int(entry.split()[-1].replace(",", "")) for entry in legend) == total


def test_before_and_after_bars_keep_the_ratio() -> None:
    slower = Latency(1.25, 1.2, 1.5, 20.0, 25.0, 30, 1, (480, 640), "a runtime", "a machine")
    *_, size, time = facts.comparisons(report_of(latency=slower))
    before, after = fragment(figures.before_after_bars(size)).iter("rect")
    assert share(after, "width") / share(before, "width") == pytest.approx(386_112 / 402_518, 1e-5)
    before, after = fragment(figures.before_after_bars(time)).iter("rect")
    assert share(after, "width") / share(before, "width") == pytest.approx(1.25, 1e-5)
    whisker = next(fragment(figures.before_after_bars(time)).iter("line"))
    assert (share(whisker, "x1"), share(whisker, "x2")) == (0.8, 1.0)


def test_log_scale_places_decades_evenly() -> None:
    scale = figures.LogScale.around([2e-6, 1e-4, 0.0, math.nan])
    assert (scale.low_exponent, scale.high_exponent) == (-7, -3)
    assert [scale.share(figure) for figure in (0.0, 1e-7, 1e-5, 1e-3, math.inf)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert figures.LogScale.around([0.0]).share(1e-6) == pytest.approx(0.5)


def test_parity_marks_differ_in_shape_and_lie_on_their_side_of_the_limit() -> None:
    link = parity_of((1e-6, 1.0), (1e-2, 1.0), (math.nan, 1.0), (1e-4, 1.0))
    within, over, nan, equal = fragment(figures.parity(link)).findall("./ol/li")[:4]
    for row in (within, equal):
        dot, limit = row.find(".//circle"), row.find(".//line[@class='limit']")
        assert dot is not None
        assert limit is not None
        assert share(dot, "cx") <= share(limit, "x1")
    for row in (over, nan):
        cross, limit = row.find("./svg/svg"), row.find(".//line[@class='limit']")
        assert cross is not None
        assert limit is not None
        assert share(cross, "x") > share(limit, "x1")
    assert words(over).endswith("1.0e-02 over the limit")
    assert words(nan).endswith("not finite")


def test_a_relative_limit_is_compared_with_the_share_of_the_range() -> None:
    link = parity_of((1e-3, 100.0), limit=1e-4, relative=True)
    assert "1.0e-05 within" in words(fragment(figures.parity(link)))


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
