"""What the reader of a run must know beside its figures, a sentence or two each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolchain.recipe import InputSection, PruneSection
from toolchain.records.certificate import Certificate
from toolchain.records.cost_tables import CostReport
from toolchain.records.members import MemberFacts, trained_widths
from toolchain.records.reasons import Removal
from toolchain.records.stages import Latency, Surgery
from toolchain.report import wording
from toolchain.report.members import accuracy_words
from toolchain.report.run.removal import zeroed_words
from toolchain.report.run.ways import ways_words

NAMED = 3
"""Groups that a note names."""

ENOUGH_DECISIONS = 50
"""Of fewer, one that changes is more than the 2 % that are allowed."""

LOUD = ("UNTRAINED", "ONE SHOT", "NARROWER", "PARTIAL", "FEW DECISIONS", "INPUT DOES NOT FIT")
"""How notes begin that nobody may miss."""


def zoo_notes(
    name: str, member: MemberFacts, asked: PruneSection, one_shot: Removal | None
) -> Iterator[str]:
    """Yield that ``name`` of those that are shipped was taken, and how it differs from the asked.

    ``one_shot``: what this run zeroed and removed, if it zeroed more than training did.
    """
    rate, held = asked.rate or 0.0, wording.percentage(member["rate"])
    yield (
        f"Shipped weights: {name}, trained with {_held(member)}; "
        f"as shipped {accuracy_words(member['accuracy'])}."
    )
    if one_shot is not None:
        yield (
            f"ONE SHOT: {zeroed_words(one_shot)} ({asked.chosen_by}, scope {asked.scope}), and "
            f"{name} was trained with {held}. That costs accuracy, maybe all of it, and was NOT "
            f"MEASURED: the AP of {name} is not that of this network. Train it instead: "
            f"{_training(member, asked)}"
        )
    elif asked.align > 1 and rate and (member["rate"] or trained_widths(member)):
        yield _pays(name, wording.percentage(rate))
    elif not asked.widths and wording.percentage(rate) != held:
        yield _as_it_is(name, wording.percentage(rate), held, narrower=rate < member["rate"])


def _held(member: MemberFacts) -> str:
    """Return how many filters training held at zero."""
    if trained_widths(member):
        count = wording.count(member["deployed_parameters"])
        return f"a width for each group, which leaves {count} parameters"
    if member["rate"]:
        return f"{wording.percentage(member['rate'])} of its filters held at zero"
    return "all of its filters"


def _as_it_is(name: str, asked: str, held: str, *, narrower: bool) -> str:
    if narrower:
        return (
            f"NARROWER than the {asked} that was asked for: {name} is the nearest that is shipped "
            f"and is taken as it is. Give other weights by --ckpt."
        )
    return f"{asked} is not one filter more than {held} here, so {name} is taken as it is."


def _pays(name: str, asked: str) -> str:
    """Return why a network stands for a rate that training did not have."""
    return (
        f"{name} is the most accurate network that ships for which {asked} pays on a board; the "
        f"table tells what it saves. Exactly {asked} of every group goes by --align 1, and costs "
        f"as much as all filters where fewer than four go."
    )


def _training(member: MemberFacts, asked: PruneSection) -> str:
    """Return the command that trains what was asked for."""
    words = f"toolchain train {member['model']} --data WIDER --teacher WEIGHTS"
    words += " --recipe RECIPE" if asked.widths else f" --rate {asked.rate or 0:g}"
    words += f" --align {asked.align}" if asked.align != 1 else ""
    if asked.criterion != member["criterion"]:
        words += f" --criterion {asked.criterion}"
    return words + (f" --scope {asked.scope}" if asked.scope != member["scope"] else "")


def one_shot_note(removal: Removal) -> str:
    """Return what it means that filters of a user's weights were zeroed in this run."""
    return (
        f"In one shot {zeroed_words(removal)}, without training afterwards: that costs accuracy, "
        f"which is not measured here."
    )


def assumed_input(given: InputSection) -> str:
    """Return what a network is given of pixels where nobody said it."""
    means = ", ".join(f"{mean:g}" for mean in given.means)
    return (
        f"Without a recipe the input is taken as {given.color_order} pixels minus ({means}), not "
        f"scaled; if the network is given other numbers, say scale, mean and std of [input] in a "
        f"recipe, or --scale, --mean and --std."
    )


def slower_words(known: CostReport, widths: Mapping[str, int]) -> str:
    """Return which widths of groups cost more than wider ones, by measured costs; or nothing."""
    slower = known.slower(widths)
    if not slower:
        return ""
    named = [f"{group} {widths[group]} (at {wider} no more)" for group, wider in slower.items()]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    whole = known.change(widths)
    overall = "SLOWER than before" if whole > 0 else "Some widths cost as much as wider ones"
    return (
        f"{overall} on {known.name} at {wording.shape(known.size)}: {', '.join(named[:NAMED])}"
        f"{more}; --round-to auto takes the wider ones."
    )


def decision_notes(certificate: Certificate) -> Iterator[str]:
    """Yield where too few decisions were seen to tell what a coarser file changes."""
    for link in certificate.links:
        seen = {each.output: each.made for each in link.decisions if each.kind == "scores"}
        few = [name for name, made in seen.items() if made < ENOUGH_DECISIONS]
        if few:
            name = few[0]
            yield (
                f"FEW DECISIONS: only {wording.plural(seen[name], 'score')} of {name} above the "
                f"threshold were seen, too few to tell what {link.after} changes; give a folder of "
                f"photos by --calibration."
            )


def run_notes(surgery: Surgery, latency: Latency) -> Iterator[str]:
    """Yield what surgery and measurement have to say."""
    if latency.ratio_low > 1:
        yield (
            f"The shrunk network took {latency.ratio:.2f} times as long here. Kernels work in "
            f"blocks of 4 to 16 channels, so fewer channels are not always faster."
        )
    if surgery.without_torch_pruning:
        yield (
            f"Which channels belong together was told by our own run alone: "
            f"{surgery.without_torch_pruning}. The proof stands all the same."
        )
    for words in ways_words(surgery):
        yield f"{words[0].upper()}{words[1:]}."
    kept = surgery.count("kept")
    if kept:
        yield (
            f"{kept} zeroed filters are still there, because their channels carry other values; "
            f"surgery.json says why, filter by filter."
        )
