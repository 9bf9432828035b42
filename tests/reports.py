"""Reports of every kind, for the tests of what is written about a run."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from toolchain.records.parity import Parity, ParityCase, Spot
from toolchain.records.reasons import Code, Reason
from toolchain.records.stages import (
    Artifact,
    Cost,
    Detections,
    FilterVerdict,
    Latency,
    LayerChange,
    PhotoComparison,
    Report,
    Source,
    Stage,
    Surgery,
    Verdict,
)
from toolchain.report.document.html import html
from toolchain.report.run import filters
from toolchain.report.run.report import run_report

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


CODES: dict[Verdict, Code] = {
    "dropped": "adds_nothing",
    "folded": "in_bias",
    "carried": "in_weights",
    "kept": "still_written",
}


def surgery_of(*layers: LayerChange) -> Surgery:
    verdicts: tuple[Verdict, ...] = ("dropped", "folded", "carried", "kept")
    items = [
        FilterVerdict(one.layer, index, verdict, Reason(CODES[verdict], ("b.0",)))
        for one in layers
        for verdict in verdicts
        for index in range(getattr(one, verdict))
    ]
    live = sum(filters.parts(one)["removed_live"] for one in layers)
    return Surgery(rounds=2, filters=tuple(items), layers=layers, removed_live_filters=live)


def case_of(number: int, difference: float | None, spread: float | None) -> ParityCase:
    """A case that differs in one channel; of these differences the mean is a tenth."""
    if difference is not None and not math.isfinite(difference):
        difference = spread = None
    mean = None if difference is None else difference / 10
    largest, mean_spot = (Spot("loc", 2, (1, 1), gap, spread) for gap in (difference, mean))
    return ParityCase(f"input {number}", (1, 3, 480, 640), "ab", largest, mean_spot)


def parity_of(*cases: tuple[float, float], limit: float = 1e-4) -> Parity:
    """A comparison of such differences and ranges."""
    return Parity(
        link="soft network -> shrunk network",
        figure="largest",
        limit=limit,
        cases=tuple(case_of(number, *case) for number, case in enumerate(cases)),
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
        parity_exact=parity_of((2e-15, 4.12), limit=1e-11),
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
    spot = Spot(HOSTILE, None, None, 1e-6, 1.0)
    case = ParityCase(HOSTILE, (1, 3, 8, 8), HOSTILE, spot, spot)
    return report_of(
        model=HOSTILE,
        source=Source(HOSTILE, HOSTILE, HOSTILE, False, 0),
        criterion=HOSTILE,
        scope=HOSTILE,
        stages=(Stage(HOSTILE, 1.0),),
        surgery=surgery_of(layer(HOSTILE, 8, dropped=2, kept=2)),
        cost_after=Cost(1, 0, 1, (1, 1), (HOSTILE,)),
        parity_surgery=Parity(HOSTILE, "largest", 1e-4, (case,)),
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
    "over the limit": report_of(parity_onnx=parity_of((0.2, 4.0))),
    "not in float64": report_of(parity_exact=None),
    "no case": report_of(parity_onnx=parity_of()),
    "no files": report_of(artifacts=(), notes=(), versions={}, stages=()),
    "hostile": hostile_report(),
}

every_variant = pytest.mark.parametrize("report", VARIANTS.values(), ids=VARIANTS.keys())


def page(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(html(run_report(report)))


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())
