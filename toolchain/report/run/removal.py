"""What a run was to remove and what went, in words: notes, and why a run ends without files."""

from __future__ import annotations

import math

from toolchain.recipe import PruneSection
from toolchain.records.reasons import Held, Removal
from toolchain.report import wording
from toolchain.report.run.reasons import held_words, listed

ENOUGH = 1 / 3
"""Share of what is to go that must go."""

SHOWN = 5
"""Reasons that a sentence names; surgery.json has all."""


def falls_short(removal: Removal) -> bool:
    """Return True if too little of what was to go is gone."""
    if not removal.by_rate:
        return removal.zeroed > 0 and removal.removed == 0
    return removal.removed == 0 or removal.removed < ENOUGH * removal.asked


def shortfall_words(removal: Removal, prune: PruneSection) -> str:
    """Return why a run that removes too little ends without files, and what to do."""
    if not removal.by_rate:
        return (
            f"{wording.plural(removal.zeroed, 'filter')} of {wording.count(removal.filters)} are "
            f"zero and none can be removed, so nothing is exported. {what_holds(removal)}"
        )
    if not removal.widest:
        return (
            "no layer can be narrowed, so nothing is exported: every one makes the "
            "network's output, or the recipe protects it (prune.protected) or a layer that shares "
            "its channels"
        )
    if not removal.asked:
        least = math.ceil(10_000 / removal.widest) / 10_000
        return (
            f"rate {prune.rate or 0:g} takes no filter of any layer, so nothing is exported: the "
            f"widest that may be narrowed has {wording.count(removal.widest)} filters, so give "
            f"{least:g} or more"
        )
    return (
        f"{_asked_words(removal, prune)}, and {_went(removal)}, so nothing is exported. "
        f"{what_holds(removal)} {_advice(removal, prune)}"
    )


def _asked_words(removal: Removal, prune: PruneSection) -> str:
    by = "the recipe's widths ask" if prune.widths else f"rate {prune.rate or 0:g} asks"
    asked, filters = wording.count(removal.asked), wording.plural(removal.filters, "filter")
    return f"{by} to remove {asked} of {filters}"


def _went(removal: Removal) -> str:
    if not removal.removed:
        return "none can"
    return f"only {wording.count(removal.removed)} can, less than a third"


def _advice(removal: Removal, prune: PruneSection) -> str:
    ways = []
    if prune.scope == "layer" and any(h.reason.code == "still_written" for h in removal.held):
        ways.append("give --scope group, which zeroes a channel in all layers that write it")
    if removal.removed:
        ways.append(
            "list these layers under prune.protected in a recipe: then they are not asked for"
        )
        ways.append("give --accept-partial to take what can be removed")
    else:
        ways.append("leave the rate out: then the network is exported as it is")
    return f"To go on, {'; or '.join(ways)}."


def what_holds(removal: Removal) -> str:
    """Return what holds the filters that stay, the commonest reasons first."""
    if not removal.held:
        return ""
    shown = [_held(each) for each in removal.held[:SHOWN]]
    rest = sum(each.filters for each in removal.held[SHOWN:])
    if rest:
        shown.append(f"{wording.plural(rest, 'other')}, for which see surgery.json")
    return f"What stays: {'; '.join(shown)}."


def _held(each: Held) -> str:
    filters = wording.plural(each.filters, "filter")
    return f"{filters} of {listed(each.layers)}, which {held_words(each.reason)}"


def zeroed_words(removal: Removal) -> str:
    """Return how many filters this run zeroed: ``31 of 104 filters (30 %) were zeroed``."""
    zeroed = removal.zeroed - removal.zeroed_before
    share = f"{100 * zeroed / removal.filters:.0f} %" if removal.filters else "none"
    words = f"{wording.count(zeroed)} of {wording.plural(removal.filters, 'filter')} ({share})"
    if removal.zeroed_before:
        return f"{words} were zeroed, beside {wording.count(removal.zeroed_before)} that were zero"
    return f"{words} were zeroed"


def removal_note(removal: Removal, prune: PruneSection) -> str:
    """Return what the reader must know of what went and what stays; or nothing."""
    if not removal.by_rate:
        return _nothing_asked(removal)
    if falls_short(removal):
        return (
            f"PARTIAL: {_asked_words(removal, prune)}, and {_went(removal)}, which was accepted. "
            f"{what_holds(removal)}"
        )
    if not removal.held:
        return ""
    return (
        f"As {_asked_words(removal, prune)}, {wording.count(removal.removed)} are gone. "
        f"{what_holds(removal)}"
    )


def _nothing_asked(removal: Removal) -> str:
    if removal.zeroed:
        return ""
    if removal.removed:
        gone = wording.plural(removal.removed, "filter")
        return f"No filter is zero; {gone} went because nothing needs what they compute."
    return "No filter is zero, and nothing was removed."
