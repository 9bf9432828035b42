"""Convolutions in closed form, each on what the teacher's is given, to give what that gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from toolchain.exporting.fold import paired_norms
from toolchain.recovery.block import Block
from toolchain.recovery.channels import Known
from toolchain.recovery.hearing import Arguments, Call, Heard, hearing, maps, run
from toolchain.surgery.layers import layers_of
from toolchain.surgery.running import Example
from toolchain.train.solving import Equations, equations_of

DEEPEST = 2304
"""Weights of a filter; equations of deeper ones would take longer than steps do."""
NEAR = 1e-3
"""How much what a layer knows already counts, of the mean of the equations' diagonal."""


def solvable(network: nn.Module, example: Example) -> tuple[Block, ...]:
    """Return convolutions that can be solved, each with its batch norm, as small blocks.

    ``network`` is a plain copy on the CPU in eval mode that ``example`` runs on.
    """
    names = {id(module): name for name, module in network.named_modules()}
    norms = {layer.name: norm for layer, norm in paired_norms(network, example)}
    found = []
    for name, layer in layers_of(network).items():
        module, norm = layer.module, norms.get(name)
        fits = isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
        if not fits or layer.weight[0].numel() > DEEPEST or module.padding_mode != "zeros":
            continue
        if norm is not None and not (isinstance(norm, nn.BatchNorm2d) and norm.affine):
            continue
        modules = (name,) if norm is None else (name, names[id(norm)])
        found.append(Block(name, modules, "", (name,), (), 1))
    return tuple(found)


def solve(
    student: nn.Module,
    teacher: nn.Module,
    layers: Sequence[Block],
    known: Mapping[Call, Known],
    inputs: Sequence[Arguments],
) -> None:
    """Give layers of ``student`` the weights that give what the teacher's give, in place.

    All are solved on the teacher's inputs, of which channels that the student lacks hold what they
    hold in it.
    """
    modules = dict(student.named_modules())
    blocks = {block.name: block for block in layers}
    equations = equations_of({name: _layer(modules, block) for name, block in blocks.items()})

    def note(heard: Heard) -> None:
        equation, seen = equations[heard.call[0]], known[heard.call]
        (given,), (gave,) = maps(seen.feed(heard.given)), maps(heard.gave)
        equation.add(given, gave, torch.ones_like(gave[:, :1]))

    for arguments in inputs:
        with hearing(teacher, [blocks[name] for name in equations], note):
            run(teacher, arguments)
    for equation in equations.values():
        assert isinstance(equation, Equations)
        equation.solve(near=NEAR)


def _layer(modules: Mapping[str, nn.Module], block: Block) -> nn.Module:
    found = [modules[name] for name in block.modules]
    return found[0] if len(found) == 1 else nn.Sequential(*found)
