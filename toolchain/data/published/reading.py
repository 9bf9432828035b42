"""Read the published figures: the paper's tables, and the detectors that it compares with.

The figures are data beside this file, each with its source; nothing is measured here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from toolchain.errors import ToolchainError
from toolchain.records.accuracy import Citation, Comparator, MeasuredPeer, NotFound, PublishedRow

LEVELS = ("easy", "medium", "hard")


@cache
def paper_rows() -> tuple[PublishedRow, ...]:
    """Return the rows of the paper's Tables 1 (EXTD) and 2 (EResFD), in their order."""
    return tuple(_row(entry) for entry in _content("paper.toml")["row"])


@cache
def paper_citation() -> Citation:
    """Return the paper itself."""
    return _citation(_content("paper.toml")["source"])


@cache
def comparators() -> tuple[Comparator, ...]:
    """Return the detectors of the paper's Figures 2 and 3 of which something was found."""
    content = _content("comparators.toml")
    sources = {key: _citation(entry) for key, entry in content["sources"].items()}
    return tuple(_comparator(entry, sources) for entry in content["comparator"])


@cache
def not_found() -> tuple[NotFound, ...]:
    """Return what was found in no source, and is therefore left out."""
    return tuple(
        NotFound(entry["name"], entry["missing"])
        for entry in _content("comparators.toml")["not_found"]
    )


@cache
def measured_peers() -> tuple[MeasuredPeer, ...]:
    """Return the detectors of others that were measured with this tool."""
    return tuple(
        MeasuredPeer(**{**entry, "size": tuple(entry["size"])})
        for entry in _content("peers.toml")["peer"]
    )


def find_published(
    model: str, variant: str, criterion: str | None = None, rate: float | None = None
) -> PublishedRow | None:
    """Return the paper's row of a checkpoint; None where it has none. ``rate`` is in percent."""
    wanted = (model, variant, criterion, rate)
    return next(
        (
            row
            for row in paper_rows()
            if (row.model, row.variant, row.criterion, row.rate) == wanted
        ),
        None,
    )


def _content(name: str) -> dict[str, Any]:
    return tomllib.loads(
        files("toolchain.data.published").joinpath(name).read_text(encoding="utf-8")
    )


def _row(entry: Mapping[str, Any]) -> PublishedRow:
    rate = entry.get("rate")
    return PublishedRow(
        model=entry["model"],
        variant=entry["variant"],
        criterion=entry.get("criterion"),
        rate=None if rate is None else float(rate),
        easy=entry["easy"],
        medium=entry["medium"],
        hard=entry["hard"],
        parameters=entry.get("parameters"),
        sparsity=entry.get("sparsity"),
    )


def _citation(entry: Mapping[str, Any]) -> Citation:
    return Citation(entry["title"], entry.get("year"), entry["where"])


def _comparator(entry: Mapping[str, Any], sources: Mapping[str, Citation]) -> Comparator:
    return Comparator(
        name=entry["name"],
        family=entry["family"],
        parameters=entry.get("parameters"),
        easy=entry.get("easy"),
        medium=entry.get("medium"),
        hard=entry.get("hard"),
        protocol=entry["protocol"],
        parameters_source=_source(entry, "parameters", ("parameters",), sources),
        ap_source=_source(entry, "ap", LEVELS, sources),
    )


def _source(
    entry: Mapping[str, Any],
    what: str,
    fields: tuple[str, ...],
    sources: Mapping[str, Citation],
) -> Citation | None:
    """Return where the figures come from; a figure without a source is not read."""
    key = entry.get(f"{what}_source")
    given = [field for field in fields if field in entry]
    if (key in sources) != bool(given):
        raise ToolchainError(
            f"comparators.toml, {entry['name']}: {what}_source must name one of [sources] if and "
            f"only if there is a figure (got {key!r} for {', '.join(given) or 'no figure'})"
        )
    return sources[key] if key else None
