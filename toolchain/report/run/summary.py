"""The content of report.json, for scripts: every number that the pages show, and no more."""

from __future__ import annotations

import math
from dataclasses import asdict

from toolchain.records.parity import Parity
from toolchain.records.stages import PhotoComparison, Report, Surgery
from toolchain.report.run import facts, filters
from toolchain.report.run.reasons import sentence


def summary(report: Report) -> dict[str, object]:
    """Return the report as a dictionary that is valid JSON; what is not finite becomes null.

    Units are in the keys; sizes of images are [height, width]. Keys keep this order.
    """
    content = {
        "model": report.model,
        "trained": report.source.trained,
        "accuracy": report.accuracy,
        "proved": facts.proved(report),
        "source": asdict(report.source),
        "rate": report.rate,
        "criterion": report.criterion,
        "scope": report.scope,
        **_costs(report),
        "size_bytes": {artifact.name: artifact.size_bytes for artifact in report.artifacts},
        "sha256": {artifact.name: artifact.sha256 for artifact in report.artifacts},
        "onnx_before_bytes": report.onnx_before_bytes,
        "zeroed_filters": _zeroed_filters(report.surgery),
        "removed_live_filters": report.surgery.removed_live_filters,
        "rounds": report.surgery.rounds,
        "parity": {
            "exact": _parity(report.parity_exact),
            "surgery": _parity(report.parity_surgery),
            "onnx": _parity(report.parity_onnx),
        },
        "complete": report.certificate is None or report.certificate.is_complete,
        "chain": _lineage(report),
        "rewrites": [asdict(each) for each in report.rewrites],
        "board": None
        if report.board is None
        else {**asdict(report.board), "saved": report.board.saved},
        "latency": None if report.latency is None else asdict(report.latency),
        "layers": [
            asdict(layer) | {"removed_live": filters.parts(layer)["removed_live"]}
            for layer in report.surgery.layers
        ],
        "filters": [asdict(item) | {"sentence": sentence(item)} for item in report.surgery.filters],
        "photos": [_photo(photo) for photo in report.photos],
        "notes": report.notes,
        "stages": _stages(report),
        "versions": report.versions,
        "command": report.command,
    }
    return {key: _strict(value) for key, value in content.items()}


def _lineage(report: Report) -> list[dict[str, object]]:
    """Return what each link costs; all of it stands in certificate.json."""
    links = report.certificate.links if report.certificate else ()
    return [
        {
            "before": link.before,
            "after": link.after,
            "passed": link.passed,
            "largest_share": link.worst,
            "mean_share": link.mean,
            "decisions": [{**asdict(each), "share": each.share} for each in link.decisions],
            "ap_lost": None if link.precision is None else link.precision.lost,
            "figures": None if link.scores is None else asdict(link.scores),
        }
        for link in links
    ]


def _costs(report: Report) -> dict[str, object]:
    before, after = report.cost_before, report.cost_after
    return {
        "deployed_parameters": {
            "before": before.deployed_parameters,
            "after": after.deployed_parameters,
        },
        "macs": {"before": before.macs, "after": after.macs, "size": after.size},
        "uncounted_operators": sorted({*before.uncounted_operators, *after.uncounted_operators}),
    }


def _zeroed_filters(surgery: Surgery) -> dict[str, int]:
    total, kept = len(surgery.filters), surgery.count("kept")
    return {
        "total": total,
        "removed": total - kept,
        "kept": kept,
        "dropped": surgery.count("dropped"),
        "folded": surgery.count("folded"),
        "carried": surgery.count("carried"),
    }


def _parity(parity: Parity | None) -> dict[str, object] | None:
    if parity is None:
        return None
    return {
        "link": parity.link,
        "max_abs_diff": parity.max_abs_diff,
        "largest_share": parity.worst,
        "limit": parity.limit,
        "passed": parity.passed,
        "cases": [
            {**asdict(case), "share": facts.case_figure(parity, case)} for case in parity.cases
        ],
    }


def _photo(photo: PhotoComparison) -> dict[str, object]:
    return {
        "name": photo.name,
        "faces": {"before": len(photo.before.boxes), "after": len(photo.after.boxes)},
        "max_box_diff_px": photo.max_box_diff_px,
    }


def _stages(report: Report) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for stage in report.stages:
        seconds[stage.name] = seconds.get(stage.name, 0.0) + stage.seconds
    return seconds


def _strict(value: object) -> object:
    """Return ``value`` with lists for tuples and None for what JSON cannot write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
