"""What a block is: a part of a network that learns from the same part of the teacher."""

from __future__ import annotations

from dataclasses import dataclass

Dims = tuple[int, ...]
"""Dimensions: 1 in maps (N, C, H, W), 2 in tokens (N, T, C)."""


@dataclass(frozen=True)
class Block:
    """A part of a network that learns from the same part of the teacher."""

    name: str
    """Its module's, or that of the first of its modules."""
    modules: tuple[str, ...]
    """One, or several of which each is given what the one before it gives, and nothing else is."""
    kind: str
    """The class of its module, or of its modules: ``Conv2d + BatchNorm2d``."""
    layers: tuple[str, ...]
    """Convolutions and linear layers in it."""
    size: tuple[int, ...]
    """Height and width of what it gives, on the example; empty for vectors."""
    calls: int
    """In one run."""
    sums: tuple[str, ...] = ()
    """Layers that write the dependency group that its last layer writes, where there are others."""
    dims: tuple[tuple[Dims, Dims], ...] = ()
    """By call, along which dimension channels lie in each map that it is given, and that it gives;
    empty where it is the second in all."""
    ends_stage: bool = False
    """True if the block after it works at another resolution: what it gives is compared end to
    end."""
    writes_given: bool = False
    """True if it writes into what it is given, which must be copied."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network, in the order in which they are called first."""

    blocks: tuple[Block, ...]
    outside: tuple[str, ...]
    """Layers in no block: they learn end to end alone."""

    @property
    def stages(self) -> tuple[Block, ...]:
        """Those that end a stage."""
        return tuple(block for block in self.blocks if block.ends_stage)
