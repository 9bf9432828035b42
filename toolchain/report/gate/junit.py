"""Verdicts as JUnit XML: a test case for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from toolchain.records.verdicts import MetricRow, Verdict
from toolchain.report.gate import words


def gate_junit(verdicts: Sequence[Verdict]) -> bytes:
    """Return a document with a suite for each verdict; no times, so that it stays the same."""
    suites = ElementTree.Element("testsuites", name="toolchain gate")
    for verdict in verdicts:
        failed = sum(row.stops for row in verdict.rows)
        counts = {"tests": str(len(verdict.rows)), "failures": str(failed), "errors": "0"}
        name = f"{verdict.target}.{verdict.name}"
        suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **counts})
        properties = ElementTree.SubElement(suite, "properties")
        for key, value in sorted(verdict.conditions.items()):
            ElementTree.SubElement(properties, "property", {"name": key, "value": value})
        for row in verdict.rows:
            _case(suite, name, row, verdict)
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ElementTree.Element, name: str, row: MetricRow, verdict: Verdict) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": name, "name": row.metric, "time": "0"}
    )
    told = dict(zip(words.HEADINGS, words.cells(row), strict=True))
    line = (
        f"{told['before']} -> {told['after']}, change {told['change']}, allowed {told['allowed']}"
    )
    if row.stops:
        failure = ElementTree.SubElement(case, "failure", {"message": line, "type": "regression"})
        failure.text = "\n".join([told[""], *words.reasons(verdict)])
    else:
        ElementTree.SubElement(case, "system-out").text = f"{line} {told['']}".strip()
