"""A run that removes too little of what it was to remove ends without files, and says why."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from toolchain.errors import RemovalError
from toolchain.recipe import PruneSection
from toolchain.records.stages import Surgery
from toolchain.report.run.removal import falls_short, shortfall_words
from toolchain.system.files import as_json, write_bytes


def demand_removal(surgery: Surgery, prune: PruneSection, out: Path, *, partial: bool) -> None:
    """Raise :class:`RemovalError` if too little went, and leave the ledger beside ``out``.

    Too little is nothing, or, of what a rate or widths ask for, less than a third; with
    ``partial`` anything is enough, but not nothing.
    """
    removal = surgery.removal
    if removal is None or not falls_short(removal) or (partial and removal.removed):
        return
    failed = out.absolute().with_name(f"{out.name}.failed")
    failed.mkdir(parents=True, exist_ok=True)
    words = shortfall_words(removal, prune)
    write_bytes(failed / "surgery.json", as_json(dataclasses.asdict(surgery)))
    write_bytes(failed / "error.txt", f"{words}\n".encode())
    raise RemovalError(f"{words.rstrip('.')}. The ledger is {failed / 'surgery.json'}")
