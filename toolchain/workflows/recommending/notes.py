"""What of a recommendation is measured, what is estimated, and what is not known, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.arm.targets import Target
from toolchain.records.recommendation import ORIGINAL, Candidate, CandidateAccuracy, How
from toolchain.zoo.costs import SIZE

HOW: dict[How, str] = {
    "measured": "time was measured on a real board",
    "counted": "instructions were counted on the emulated board",
    "estimated": "instructions are estimated from tables of ncnn's layers, counted on the "
    "emulated core",
    "scaled": f"instructions are those at {SIZE[0]}x{SIZE[1]}, scaled by pixels: too much for "
    "larger inputs (EResFD at 480x640 by 12%), too little for smaller ones",
}
"""Where costs come from, in words."""


def notes_on(candidates: Sequence[Candidate], target: Target) -> Iterator[str]:
    """Yield what a reader must know of the figures."""
    yield from _on_accuracy(candidates)
    yield from _on_costs(candidates, target)
    yield from _on_what_is_unknown(candidates, target)
    for candidate in candidates:
        yield from candidate.notes


def _on_accuracy(candidates: Sequence[Candidate]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for candidate in candidates:
        if candidate.accuracy is not None:
            groups.setdefault(_measure(candidate.accuracy), []).append(candidate.name)
    for measure, names in groups.items():
        whose = "" if len(groups) == 1 else f" of {', '.join(names)}"
        yield f"AP{whose} was measured on {measure}."
    if len(groups) > 1:
        yield "Figures that were not measured alike do not rank networks."
    if any(each.accuracy and each.accuracy.input == ORIGINAL for each in candidates):
        yield (
            "Those photos were looked at in their own size, about a megapixel: through the input "
            "that times are of, every network finds fewer of the small faces."
        )


def _measure(accuracy: CandidateAccuracy) -> str:
    size = "" if accuracy.input == ORIGINAL else f", input {accuracy.input}"
    return f"{accuracy.photos:,} photos of WIDER FACE (protocol {accuracy.protocol}{size})"


def _on_costs(candidates: Sequence[Candidate], target: Target) -> Iterator[str]:
    hows = {each.name: each.cost.how for each in candidates if each.cost is not None}
    for how, words in HOW.items():
        names = [name for name, own in hows.items() if own == how]
        if names:
            yield _sentence(words, "" if len(names) == len(hows) else _whose(names, candidates))
    if any(each.kind == "shipped" and each.cost and each.cost.size_bytes for each in candidates):
        yield "kB of those that ship are of the weights alone; the list of layers adds about 15."
    if any(how != "measured" for how in hows.values()):
        yield (
            f"Milliseconds are estimated from instructions ({target.cycles_per_instruction:g} "
            f"cycles each, {target.clock_hz / 1e9:g} GHz), give or take the worst error there was "
            f"on other networks, {target.worst_error:.0%}: fitted on {target.fitted_on}, with "
            f"onnxruntime. A board of yours measures them: toolchain check --ssh."
        )
    ncnn = any(each.cost is not None and "ncnn" in each.cost.runtime for each in candidates)
    if target.has_half and ncnn:
        yield (
            "ncnn's half precision, which this board has, is off: it takes 15% fewer instructions, "
            "and cost eresfd-0 up to 0.5 points of AP on a sample (detect.py --half takes it)."
        )
    sizes = {each.size for each in candidates}
    if len(sizes) > 1:
        shapes = ", ".join(
            f"{each.name} at {each.size[0]}x{each.size[1]}"
            for each in candidates
            if each.kind == "folder" or each.size != candidates[0].size
        )
        yield f"Inputs differ, and so does what is found: {shapes}."


def _whose(names: Sequence[str], candidates: Sequence[Candidate]) -> str:
    """Return the names, or what they have in common if they are all of a kind."""
    shipped = [each.name for each in candidates if each.kind == "shipped"]
    return "of those that ship" if list(names) == shipped else f"of {', '.join(names)}"


def _sentence(words: str, whose: str) -> str:
    text = f"{whose}, {words}." if whose else f"{words}."
    return text[0].upper() + text[1:]


def _on_what_is_unknown(candidates: Sequence[Candidate], target: Target) -> Iterator[str]:
    blank = [each for each in candidates if each.cost is None and each.kind == "shipped"]
    if blank:
        runtimes = ", ".join(dict.fromkeys(target.runtimes.values()))
        why = (
            f"tables are of ncnn alone, and this board runs {runtimes}"
            if "ncnn" not in target.runtimes.values()
            else f"there is no table of ncnn's layers on a {target.core}"
        )
        yield (
            f"What those that ship take on this board is not known: {why}. toolchain check counts "
            f"it for files that shrink made."
        )
    silent = [each.name for each in candidates if each.accuracy is None]
    if silent:
        yield (
            f"AP is not known of {', '.join(silent)}: toolchain evaluate FOLDER --data WIDER "
            f"measures it."
        )
