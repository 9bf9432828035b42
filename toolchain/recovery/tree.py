"""Blocks as a tree for people: what learns from what."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.recovery.block import Block, Blocks

MANY = 3
"""Layers that are named; more are counted."""


def tree_lines(found: Blocks) -> list[str]:
    """Return the lines of a tree of blocks, by their names, with what each learns from."""
    lines, before = list[str](), list[str]()
    for block in found.blocks:
        *path, last = block.name.split(".")
        common = 0
        while common < min(len(path), len(before)) and path[common] == before[common]:
            common += 1
        lines += ["  " * depth + path[depth] for depth in range(common, len(path))]
        lines.append("  " * len(path) + f"{last}  {', '.join(_facts(block))}")
        before = path
    if found.outside:
        lines.append(f"in no block, so they learn end to end alone: {_some(found.outside)}")
    stages = ", ".join(block.name for block in found.stages)
    features = f", and what ends a stage: {stages}" if stages else ""
    lines.append(
        f"each learns from what the teacher's own is given and gives; end to end outputs are "
        f"compared{features}"
    )
    return lines


def _facts(block: Block) -> Iterator[str]:
    yield block.kind
    yield f"{len(block.layers)} layer{'s' if len(block.layers) > 1 else ''}"
    if block.size:
        yield "gives " + "x".join(map(str, block.size))
    if block.calls > 1:
        yield f"called {block.calls} times"
    others = tuple(layer for layer in block.sums if layer not in block.layers)
    if others:
        yield f"its channels are those of {_some(others)}"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - MANY
    return ", ".join(names[:MANY]) + (f" and {more} more" if more > 0 else "")
