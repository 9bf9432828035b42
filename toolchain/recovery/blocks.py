"""Blocks of a network: what learns on its own from what the teacher's same block does.

They are found in the tree of modules and by one run. A module is a block where paths join in its
own code (a residual sum, a concatenation) and all that happens in it happens at two resolutions at
most; so is every other module of the same class, and a small module without such a sum. All else is
opened up: of the layers that lie there each makes a block with what follows it, but for a depthwise
convolution, which writes into the dependency group that it reads, and waits for the next.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from torch import nn

from toolchain.errors import InputError, did_you_mean
from toolchain.recovery.block import Block, Blocks, Dims
from toolchain.recovery.observing import ModuleCall, Run, observe
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import watch
from toolchain.surgery.layers import layers_of
from toolchain.surgery.running import Example

MOST, FEW = 16, 2
"""Layers that mix channels in a block whose paths join, and in one whose paths do not."""
RESOLUTIONS = 2
"""What a block may work at: one, or that before and that after a stride."""


def find_blocks(network: nn.Module, example: Example, flow: Flow | None = None) -> Blocks:
    """Return the blocks of ``network``, which is in eval mode.

    ``example`` is what it is called with, tensors alone; ``flow`` says where channels flow, if that
    is known already. Raises :class:`AnalysisError` where the network cannot be followed.
    """
    finder = _Finder(network, example, flow)
    return finder.finished([*finder.inside("")])


def named_blocks(
    network: nn.Module, example: Example, patterns: Sequence[str], flow: Flow | None = None
) -> Blocks:
    """Return the modules that shell patterns name, ``*`` not reaching over a dot, as blocks.

    Raises :class:`InputError` for a pattern that names none, and for modules that cannot learn on
    their own: one within another, one that is not called, or takes or gives more than tensors.
    """
    finder = _Finder(network, example, flow)
    found: dict[str, Block] = {}
    for pattern in patterns:
        names = [name for name in finder.modules if name and _is_named(name, pattern)]
        if not names:
            hint = did_you_mean(pattern, [*finder.modules]) or "; see --dry-run"
            raise InputError(f"blocks: no module's name matches {pattern!r}{hint}")
        for name in names:
            if not finder.is_whole(name):
                raise InputError(
                    f"blocks: {name} cannot learn on its own: it must be called, and take and give "
                    f"tensors alone"
                )
            found[name] = finder.block([name])
    for name in found:
        around = next((other for other in found if name.startswith(f"{other}.")), None)
        if around is not None:
            raise InputError(f"blocks: {name} lies within {around}; name one of them")
    return finder.finished([found[name] for name in finder.run.order if name in found])


def _is_named(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and name.count(".") == pattern.count(".")


class _Finder:
    def __init__(self, network: nn.Module, example: Example, flow: Flow | None) -> None:
        self.flow = flow or watch(network, example)
        self.run: Run = observe(network, example, self.flow)
        self.modules = dict(network.named_modules())
        known = layers_of(network)
        self.layers = {name for name in known if name in self.run.calls}
        self.depthwise = {name for name in self.layers if known[name].is_depthwise}
        self.joining = {
            type(self.modules[name])
            for name in self.run.joins
            if name and not isinstance(self.modules[name], nn.Sequential)
        }

    # Which modules are blocks -------------------------------------------------------------------

    def inside(self, name: str) -> Iterator[Block]:
        """Yield the blocks within a module that is none itself."""
        loose: list[str] = []
        for child in self._children(name):
            if self._is_leaf(child):
                loose.append(child)
                continue
            yield from self._chains(loose)
            loose = []
            if self._is_block(child):
                yield self.block([child])
            else:
                yield from self.inside(child)
        yield from self._chains(loose)

    def _children(self, name: str) -> list[str]:
        """Return the modules right within one, as they are called; those that only hold others,
        such as a ModuleList, where the first of these is called.
        """
        prefix = f"{name}." if name else ""
        names = {
            called[: len(prefix)] + called[len(prefix) :].partition(".")[0]: None
            for called in self.run.order
            if called and called.startswith(prefix)
        }
        return [*names]

    def _is_leaf(self, name: str) -> bool:
        return not any(True for _ in self.modules[name].children())

    def is_whole(self, name: str) -> bool:
        """Tell whether a module is called, and takes and gives tensors alone."""
        calls = self.run.calls.get(name, [])
        return bool(calls) and all(each.given and each.gave and not each.others for each in calls)

    def _is_block(self, name: str) -> bool:
        within = self._layers_in(name)
        if not (within and self.is_whole(name) and self._resolutions(within) <= RESOLUTIONS):
            return False
        mixing = [layer for layer in self._pixelwise(within) if layer not in self.depthwise]
        if type(self.modules[name]) in self.joining:
            return len(mixing) <= MOST
        return len(mixing) <= FEW and not self._sums_within(name)

    def _sums_within(self, name: str) -> bool:
        return any(
            called.startswith(f"{name}.") and type(self.modules[called]) in self.joining
            for called in self.run.order
        )

    def _layers_in(self, name: str) -> list[str]:
        return [
            each
            for each in self.run.order
            if each in self.layers and (each == name or each.startswith(f"{name}."))
        ]

    def _pixelwise(self, layers: Sequence[str]) -> list[str]:
        """Return the layers that give maps; all of them where none does, or each gives one cell."""
        maps = [layer for layer in layers if self._cells(layer) > 1]
        return maps or [*layers]

    def _cells(self, layer: str) -> int:
        cells = 1
        for side in self.run.calls[layer][0].size:
            cells *= side
        return cells

    def _resolutions(self, layers: Sequence[str]) -> int:
        sizes = {call.size for layer in self._pixelwise(layers) for call in self.run.calls[layer]}
        return len(sizes)

    # Layers that lie loose ----------------------------------------------------------------------

    def _chains(self, loose: Sequence[str]) -> Iterator[Block]:
        """Yield blocks of modules that are called one after the other, each with its layer."""
        chain: list[str] = []
        closed = False
        for name in loose:
            starts = name in self.layers and closed
            if chain and (starts or not self._follows(chain[-1], name)):
                yield from self._chain(chain)
                chain, closed = [], False
            chain.append(name)
            closed |= name in self.layers and name not in self.depthwise
        yield from self._chain(chain)

    def _follows(self, before: str, name: str) -> bool:
        """Tell whether a module is given just what another gives, once in a run."""
        calls = self.run.calls[before], self.run.calls[name]
        if any(len(each) != 1 for each in calls):
            return False
        (first,), (second,) = calls
        return len(first.gave) == 1 and second.given == first.gave

    def _chain(self, names: list[str]) -> Iterator[Block]:
        """Yield a chain as a block, up to its last activation: what pools says less."""
        within = [index for index, name in enumerate(names) if name in self.layers]
        if not within:
            return
        size = self.run.calls[names[within[-1]]][0].size
        end = within[-1] + 1
        while end < len(names) and self.run.calls[names[end]][0].size == size:
            end += 1
        names = names[:end]
        for number in range(len(names) - 1):
            if not self._stays_inside(names, number):  # another reads what lies between
                yield from self._chain(names[: number + 1])
                yield from self._chain(names[number + 1 :])
                return
        if all(map(self.is_whole, names)):
            yield self.block(names)

    def _stays_inside(self, names: Sequence[str], number: int) -> bool:
        (between,) = self.run.calls[names[number]][0].gave
        if self.run.calls[names[-1]][0].gave == (between,):  # written over in place
            return True
        return self.run.readers.get(between, set()) <= set(names)

    # Records ------------------------------------------------------------------------------------

    def block(self, names: Sequence[str]) -> Block:
        """Return modules as a block."""
        calls: list[ModuleCall] = self.run.calls[names[0]]
        layers = tuple(layer for name in names for layer in self._layers_in(name))
        return Block(
            names[0],
            tuple(names),
            " + ".join(type(self.modules[name]).__name__ for name in names),
            layers,
            self.run.calls[names[-1]][0].size,
            len(calls),
            self._sums_of(layers),
            self._dims_of(names),
            writes_given=any(call.writes_given for call in calls),
        )

    def _dims_of(self, names: Sequence[str]) -> tuple[tuple[Dims, Dims], ...]:
        calls = zip(self.run.calls[names[0]], self.run.calls[names[-1]], strict=True)
        return tuple(
            (
                tuple(map(self.run.dim_of, first.maps[0])),
                tuple(map(self.run.dim_of, last.maps[1])),
            )
            for first, last in calls
        )

    def _sums_of(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return the layers that write one group, if the last layer writes it with others."""
        last = next((layer for layer in reversed(layers) if self.flow.out_nodes.get(layer)), None)
        if last is None:
            return ()
        find = self.flow.classes.find
        group = find(self.flow.out_nodes[last][0])
        writers = [
            name
            for name in self.run.order
            if name in self.layers
            and name not in self.depthwise
            and group in set(map(find, self.flow.out_nodes.get(name, ())))
        ]
        return tuple(writers) if len(writers) > 1 else ()

    def finished(self, blocks: Sequence[Block]) -> Blocks:
        """Return blocks with what each is told by the next, and what lies outside of all."""
        known = {layer for block in blocks for layer in block.layers}
        ends = [one.size != other.size for one, other in pairwise(blocks)] + [True]
        # What the outputs are made of is compared by them.
        inner = [not self.flow.output_layers & set(block.layers) for block in blocks]
        marked = tuple(
            replace(block, ends_stage=end and within)
            for block, end, within in zip(blocks, ends, inner, strict=False)
        )
        outside = tuple(
            name for name in self.run.order if name in self.layers and name not in known
        )
        return Blocks(marked, outside)
