"""Is what is predicted of ncnn's files what is measured, and is narrower never slower?

``python -m tests.benchmarks.aligned --model eresfd --count 30``: random widths of every dependency
group; of each, the file that is made, the one of the next wider multiples of four, and the whole
network's are predicted layer by layer, and the files of the random widths run whole on the emulated
board. Says how far off predictions were, and exits with 1 where a file is slower than a wider one.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from toolchain.arm.emulation import count_layers
from toolchain.arm.sysroot import prepare
from toolchain.arm.targets import find_target
from toolchain.recipe import default_recipe, override
from toolchain.widths.looking import Board, open_costs
from toolchain.widths.ncnn_costs import NcnnCosts
from toolchain.zoo.sources import Loaded, load_start

SLACK = 1.005
"""Counts of one file differ by where memory happens to lie."""


class FourConvolutions(nn.Module):
    """What is fixed is a large part of so small a network."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 12, 2), (12, 16, 1), (16, 12, 2), (12, 8, 1))
        layers = [nn.Conv2d(read, out, 3, stride, 1) for read, out, stride in sizes]
        self.layers = nn.ModuleList(layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 8, H / 4, W / 4)."""
        for layer in self.layers:
            image = torch.relu(layer(image))
        return image


def four() -> FourConvolutions:
    """Return it, as the command line builds a network."""
    return FourConvolutions()


def main() -> int:
    """Do all of it and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="eresfd")
    parser.add_argument("--target", default="rpi4")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".cache/arm"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded, board = load(given.model, given.side), board_of(given.target, given.cache)
    costs = open_costs(loaded, board, lambda name: print(name, flush=True))
    assert isinstance(costs, NcnnCosts)
    drawn = draw(costs.template.whole, given.count, given.seed)
    costs.measure([each for widths in drawn for each in (widths, filled(costs, widths))], print)
    return told(costs, drawn, measured(costs, drawn, board))


def load(name: str, side: int) -> Loaded:
    """Return the unpruned network at a size."""
    size: dict[str, object] = {"input.height": side, "input.width": side}
    return load_start(override(default_recipe(name), {**size, "prune.scope": "group"}), None)


def board_of(target: str, cache: Path) -> Board:
    """Return a board that runs ncnn."""
    found = find_target(target)
    return Board(found, prepare(found, cache, print), cache, "ncnn")


def draw(whole: Mapping[str, int], count: int, seed: int) -> list[dict[str, int]]:
    """Return random widths, none of less than a quarter of a group."""
    chance = random.Random(seed)
    return [
        {group: chance.randint(math.ceil(width / 4), width) for group, width in whole.items()}
        for _ in range(count)
    ]


def filled(costs: NcnnCosts, widths: Mapping[str, int]) -> dict[str, int]:
    """Return the next wider multiples of the runtime's block, the whole width at most."""
    whole = costs.template.whole
    return {
        group: min(whole[group], math.ceil(width / costs.block) * costs.block)
        for group, width in widths.items()
    }


def measured(
    costs: NcnnCosts, drawn: Sequence[Mapping[str, int]], board: Board
) -> list[tuple[int, int]]:
    """Return what files take that are made at these widths, and at the next wider multiples."""
    with TemporaryDirectory() as name:
        files = []
        for number, widths in enumerate(drawn):
            for kind, each in (("own", widths), ("filled", filled(costs, widths))):
                folder = Path(name) / f"{number}-{kind}"
                folder.mkdir()
                files.append(costs.write(each, folder))
            print(f"made {number + 1} of {len(drawn)} networks", flush=True)
        _, found = count_layers((), files, board.target, board.sysroot)
    return list(zip(found[::2], found[1::2], strict=True))


def told(
    costs: NcnnCosts, drawn: Sequence[Mapping[str, int]], found: Sequence[tuple[int, int]]
) -> int:
    """Print a line for each; return 1 where a narrower file is slower than a wider one."""
    whole, bad, errors = costs.total({}), 0, []
    print(f"whole {whole / 1e6:.2f} M")
    for widths, (own, wider) in zip(drawn, found, strict=True):
        predicted = costs.total(widths)
        errors.append(predicted / own - 1)
        slower = own > SLACK * wider or own > SLACK * whole
        bad += slower
        print(
            f"predicted {predicted / 1e6:.2f} M, measured {own / 1e6:.2f} M ({errors[-1]:+.2%}), "
            f"at the next multiples {wider / 1e6:.2f} M{'  SLOWER' if slower else ''}"
        )
    worst = max(abs(error) for error in errors)
    print(f"{len(drawn)} networks: off by {worst:.2%} at most; {bad} slower than a wider one")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
