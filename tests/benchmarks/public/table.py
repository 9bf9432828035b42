"""The measurements as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.benchmarks.public.records import Measured, Peer, Shrunk

OURS = ("network", "after", "zeroed", "kept", "not zeroed by", "difference", "way")


def markdown(measured: Sequence[Measured]) -> str:
    """All tables, and what failed."""
    lines = [f"State: {'; '.join(sorted({each.state for each in measured}))}", ""]
    lines += ["Each layer's filters zeroed on their own, weights alone (rate 0.3):", ""]
    lines += table(
        ("network", "parameters", "after", "zeroed", "kept", "kept by", "difference", "way"),
        (_layer_row(each) for each in measured),
    )
    lines += ["", "By rate 0.3 in groups, beside Torch-Pruning at the same rate:", ""]
    lines += table(
        (*OURS, "Torch-Pruning after", "difference", "floor(rate * n) each"),
        (_group_row(each) for each in measured),
    )
    lines += ["", "CPU seconds of one thread (choose / cut / prove), memory, files:", ""]
    lines += table(
        ("network, input", "layer by layer", "in groups", "memory", "ONNX", "ncnn"),
        (_cost_row(each) for each in measured),
    )
    failed = [
        f"- {each.name}, {stage}: {words}"
        for each in measured
        for stage, words in each.errors.items()
    ]
    return "\n".join([*lines, *(["", "Failed:", "", *failed] if failed else []), ""])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield _line(head)
    yield _line(["---"] * len(head))
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _layer_row(each: Measured) -> list[str]:
    found = each.layer
    if found is None:
        return [each.name, f"{each.parameters:,}", _lacking(each, "layer"), *[""] * 5]
    return [
        each.name,
        f"{each.parameters:,}",
        _after(found.parameters_after, each),
        f"{found.zeroed:,}",
        f"{found.kept:,}",
        _counts(found.kept_by),
        _worst(found.differences),
        ", ".join(found.ways),
    ]


def _group_row(each: Measured) -> list[str]:
    return [
        each.name,
        *_our_cells(each, each.group),
        *_peer_cells(each, each.peer),
        _after(each.peer_floor.parameters_after, each),
    ]


def _our_cells(each: Measured, found: Shrunk | None) -> list[str]:
    if found is None:
        return [_lacking(each, "group"), *[""] * 5]
    kept = f"{found.kept:,} ({_counts(found.kept_by)})" if found.kept else "0"
    return [
        _after(found.parameters_after, each),
        f"{found.zeroed:,}",
        kept,
        _counts(found.not_asked_by),
        _worst(found.differences),
        ", ".join(found.ways),
    ]


def _peer_cells(each: Measured, peer: Peer) -> list[str]:
    return [_after(peer.parameters_after, each), _worst(peer.differences) or peer.error]


def _cost_row(each: Measured) -> list[str]:
    seconds = [
        _lacking(each, scope) if one is None else _seconds(one)
        for scope, one in (("layer", each.layer), ("group", each.group))
    ]
    size = "x".join(map(str, each.shape[2:]))
    files = [_links(each, suffix) for suffix in (".onnx", ".param")]
    return [f"{each.name}, {size}", *seconds, f"{each.memory_mb / 1024:.1f} GB", *files]


def _seconds(one: Shrunk) -> str:
    parts = one.choose_s, one.cut_s, one.prove_s
    return f"{sum(parts):.0f} s ({' / '.join(f'{part:.1f}' for part in parts)})"


def _links(each: Measured, suffix: str) -> str:
    found = [worst for name, worst in each.files.items() if name.endswith(suffix)]
    if not found:
        return "none" if "files" in each.done else "not measured"
    return "no number" if None in found else f"{max(w for w in found if w is not None):.0e}"


def _lacking(each: Measured, stage: str) -> str:
    return "failed" if stage in each.errors else "not measured"


def _after(parameters: int | None, each: Measured) -> str:
    if parameters is None:
        return "failed"
    return f"{parameters:,} (-{1 - parameters / each.parameters:.1%})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{words} {count:,}" for words, count in counts.items())


def _worst(differences: Sequence[float]) -> str:
    return f"{max(differences):.1e}" if differences else ""
