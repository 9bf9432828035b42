"""Parts that must stay equal: what goes of one part must go of the others, in number."""

from __future__ import annotations

from collections.abc import Collection

from toolchain.surgery.channels import Flow


def surplus_of(flow: Flow, removed: Collection[int]) -> dict[int, str]:
    """Return the classes that must stay after all, with the operator that divides them.

    Of each part as many of ``removed`` can go as of the part that loses fewest.
    """
    found: dict[int, str] = {}
    for divided in flow.parts:
        going = [
            [index for index in map(flow.classes.find, part) if index in removed]
            for part in divided.parts
        ]
        fewest = min(map(len, going))
        for part in going:
            kept = [index for index in part if index in found]
            left = len(part) - len(kept) - fewest
            for index in reversed(part):
                if left > 0 and index not in found:
                    found[index] = divided.operator
                    left -= part.count(index)
    return found
