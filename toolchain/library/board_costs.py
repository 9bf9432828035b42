"""What widths of a network in memory cost on a board: measured under emulation, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toolchain.arm.sysroot import prepare
from toolchain.arm.targets import find_target
from toolchain.errors import InputError
from toolchain.library.handing_over import hand_over
from toolchain.library.pruner_arguments import PrunerArguments
from toolchain.library.taking import Taken
from toolchain.system.caches import arm_cache
from toolchain.system.steps import step
from toolchain.widths.looking import Board, choose_runtime, open_costs


def instructions_of(taken: Taken, wanted: PrunerArguments) -> Callable[[Mapping[str, int]], float]:
    """Return what tells the instructions of one inference by the groups' widths.

    Groups that cannot be narrowed in the exported file count as if they stayed whole. Raises
    :class:`InputError` where the board cannot be emulated, or the network takes no image.
    """
    if len(taken.example) != 1 or taken.example[0].ndim != 4 or len(taken.example[0]) != 1:
        shapes = ", ".join(str(tuple(each.shape)) for each in taken.example)
        raise InputError(
            f"instructions are of one image: example must be a tensor (1, C, H, W) (got {shapes})"
        )
    target, cache = find_target(wanted.target), arm_cache()
    sysroot = prepare(target, cache, step)
    board = Board(target, sysroot, cache, choose_runtime(wanted.runtime, target, sysroot))
    loaded = hand_over(taken.network, taken.example, own_type=False).loaded
    total = open_costs(loaded, board, step).measured_total(step)

    def instructions(widths: Mapping[str, int]) -> float:
        return float(total(dict(widths)))

    return instructions
