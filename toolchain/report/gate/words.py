"""A verdict in words: the same figures in every rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.records.verdicts import MetricRow, OperatorChange, Verdict

HEADINGS = ("figure", "before", "after", "change", "allowed", "noise-free", "")
NAMED = 4
"""Layers that are named of those that changed alike."""
OUTCOME = {"same": "", "better": "better", "moved": "moved (retrained)"}
RETRAINED = "--retrained"
LIMITS = {"score": "average_precision", "error": "average_precision"}
"""Kinds of figures whose limit in the recipe has another name."""


def headline(verdict: Verdict) -> str:
    """Return the verdict in one sentence."""
    stopping = [row.metric for row in verdict.rows if row.stops]
    where = f"{verdict.name} on {verdict.target}"
    if stopping:
        return f"{where}: REGRESSION in {', '.join(stopping)}"
    accepted = [row.metric for row in verdict.rows if row.why_accepted is not None]
    if accepted:
        return f"{where}: passed; accepted: {', '.join(accepted)}"
    decided = decisive(verdict)
    if decided:
        told = ", ".join(f"{row.metric} {figure(row, row.after)}" for row in decided)
        return f"{where}: passed; retrained, and decided by {told} (--update takes it in)"
    better = [row.metric for row in verdict.rows if row.status == "better"]
    if better:
        return f"{where}: passed; better: {', '.join(better)} (--update keeps it)"
    return f"{where}: passed; nothing moved by more than its limit"


def conditions(verdict: Verdict) -> str:
    """Return what figures depend on."""
    return "; ".join(f"{name}: {value}" for name, value in sorted(verdict.conditions.items()))


def cells(row: MetricRow) -> list[str]:
    """Return a row of the table as texts."""
    return [
        row.metric,
        figure(row, row.before),
        figure(row, row.after),
        change(row),
        figure(row, row.allowed) if row.allowed else "none",
        "yes" if row.noise_free else "no",
        outcome(row),
    ]


def outcome(row: MetricRow) -> str:
    """Return what became of a figure."""
    if row.why_accepted is not None:
        return f"accepted: {row.why_accepted}"
    if row.status == "worse":
        return f"WORSE; let through by {flag(row)}"
    return OUTCOME[row.status]


def flag(row: MetricRow) -> str:
    """Return the flag that lets a figure through."""
    accept = f"--accept {row.metric}"
    return f"{RETRAINED}, or {accept}" if row.of_weights else accept


def ways(verdict: Verdict) -> list[str]:
    """Return how what stopped is let through, a sentence each; none where nothing did."""
    stopping = [row for row in verdict.rows if row.stops]
    found = []
    if any(row.of_weights for row in stopping):
        found.append(
            f"Was the network trained again? {RETRAINED} lets outputs, boxes and parity move; cost "
            f"may not, and the accuracy figure decides."
        )
    if stopping:
        kinds = " ".join(f"--accept {kind}" for kind in dict.fromkeys(row.kind for row in stopping))
        limit = LIMITS.get(stopping[0].kind, stopping[0].kind)
        found.append(
            f'Is it meant? {kinds} --why "REASON" lets it through, and the reason stays in the '
            f"baseline; for good, raise [gate.{limit}] of the recipe."
        )
    return found


def decisive(verdict: Verdict) -> list[MetricRow]:
    """Return the figures of accuracy, if the verdict is of a network that was trained again."""
    return [row for row in verdict.rows if row.is_accuracy] if verdict.retrained else []


def figure(row: MetricRow, value: float) -> str:
    """Return a figure in its unit."""
    if row.unit in ("count", "bytes"):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def change(row: MetricRow) -> str:
    """Return a change with its sign, and as a share where there is one."""
    if not row.change:
        return "0"
    text = f"{row.change:+,.0f}" if row.unit in ("count", "bytes") else f"{row.change:+.2g}"
    share = "" if row.relative is None or row.unit == "share" else f" ({row.relative:+.2%})"
    return f"{text}{share}"


def short_change(row: MetricRow) -> str:
    """Return a change as a share where there is one, else in its unit."""
    if row.relative is None or row.unit == "share":
        return f"{row.change:+.2g}"
    return f"{row.relative:+.2%}"


def shown(verdict: Verdict) -> Sequence[MetricRow]:
    """Return the rows with those that stop first, then what moved, then the rest."""
    order = {"worse": 0, "moved": 1, "better": 2, "same": 3}
    return sorted(
        verdict.rows, key=lambda row: (not row.stops, order[row.status], not row.change, row.metric)
    )


def reasons(verdict: Verdict) -> list[str]:
    """Return why figures moved, a sentence each."""
    found = verdict.reasons
    sentences = [operator(change) for change in found.operators]
    sentences += _widths(found.widths)
    sentences += [f"{package}: {old} → {new}" for package, (old, new) in found.versions.items()]
    return sentences + [f"the recipe's limit moved: {words}" for words in found.limits]


def _widths(widths: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the layers that changed alike, a sentence for each way."""
    ways: dict[tuple[int, int], list[str]] = {}
    for layer, way in widths.items():
        ways.setdefault(way, []).append(layer)
    return [
        f"{len(layers)} layers, {_filters(old)} → {_filters(new)}: {', '.join(layers[:NAMED])}"
        f"{', …' if len(layers) > NAMED else ''}"
        for (old, new), layers in sorted(ways.items(), key=lambda way: -len(way[1]))
    ]


def operator(change: OperatorChange) -> str:
    """Return what became of an operator."""
    place = f"{change.file}: {change.type} {change.name}"
    if not change.before:
        return f"{place}: new, {change.after:,} instructions"
    if not change.after:
        return f"{place}: gone, had {change.before:,} instructions"
    share = change.after / change.before - 1
    return f"{place}: {change.before:,} → {change.after:,} instructions ({share:+.0%})"


def _filters(count: int) -> str:
    return f"{count} filters" if count else "not there"
