"""Which of a file's state dicts a network takes, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.errors import CheckpointError
from toolchain.models.fitting import Fit, Tensors, fits
from toolchain.models.misfits import why_not
from toolchain.models.parametrised import is_dense
from toolchain.models.state_dicts import StateDict, quoted, some


@dataclass(frozen=True)
class Choice:
    """Which of a file's weights are wanted."""

    ema: bool = False
    """The averaged ones; without, the plain ones, or those that there are."""
    key: str | None = None
    """Those under this key of the file, as ``teacher`` or ``state_dict.net``."""


PLAIN = Choice()
"""What is taken unasked."""


@dataclass(frozen=True)
class Taken:
    """The tensors that a network takes, by its names."""

    state: Mapping[str, Tensor]
    notes: tuple[str, ...]


def choose(
    file: str, dicts: Sequence[StateDict], expected: Tensors, choice: Choice, model: str
) -> Taken:
    """Return the one state dict that fits and was asked for; raises :class:`CheckpointError`.

    ``file`` and ``model`` are names for messages.
    """
    ways = [way for found in dicts for way in fits(found, expected)]
    asked = _asked(file, ways, choice)
    good = _distinct(way for way in asked if way.fits)
    if not good:
        raise CheckpointError(f"{file} does not fit {model}: {why_not(_nearest(asked), expected)}")
    plain = [way for way in good if not way.is_averaged]
    pool = plain if plain and choice.key is None else good
    if len(pool) > 1:
        kind = "averaged " if choice.ema or not plain else ""
        raise CheckpointError(
            f"{file} holds {len(pool)} {kind}state dicts that fit {model} and differ: "
            f"{_names(pool)}; choose one by --ckpt-key NAME"
        )
    (taken,) = pool
    others = [way for way in ways if way.is_averaged != taken.is_averaged]
    return Taken(taken.state, tuple(_notes(file, taken, others)))


def _asked(file: str, ways: list[Fit], choice: Choice) -> list[Fit]:
    """Return the ways that the choice leaves."""
    if choice.key is not None:
        asked = [way for way in ways if way.name == choice.key]
        asked = asked or [way for way in ways if choice.key in (way.key, way.key or ".")]
        if not asked:
            raise CheckpointError(
                f"{file} has no state dict {choice.key!r} (--ckpt-key); it has {_names(ways)}"
            )
        return asked
    if not choice.ema:
        return ways
    asked = [way for way in ways if way.is_averaged]
    if not asked:
        raise CheckpointError(
            f"{file} has no averaged (EMA) weights for --ema to take; it has {_names(ways)}; leave "
            f"out --ema, or name one of them by --ckpt-key"
        )
    return asked


def _names(ways: Sequence[Fit]) -> str:
    """Return what state dicts are called, in quotes."""
    return ", ".join(dict.fromkeys(quoted(way.name) for way in ways))


def _nearest(ways: Sequence[Fit]) -> Fit:
    return max(ways, key=lambda way: (way.matched, not way.is_averaged))


def _distinct(ways: Iterator[Fit]) -> list[Fit]:
    """Leave out what holds the same values as one before of its kind."""
    found: list[Fit] = []
    for way in ways:
        if not any(
            way.is_averaged == other.is_averaged and _same(way.state, other.state)
            for other in found
        ):
            found.append(way)
    return found


def _same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(
        tensor.dtype == second[name].dtype
        and is_dense(tensor)
        and is_dense(second[name])
        and torch.equal(tensor, second[name])
        for name, tensor in first.items()
    )


def _notes(file: str, taken: Fit, others: Sequence[Fit]) -> Iterator[str]:
    """Say what was taken, if there is anything to say, and what was not."""
    how = [
        f"without the prefix {quoted(taken.prefix)}" if taken.prefix else "",
        f"with {quoted(taken.put_before)} before each name" if taken.put_before else "",
        "without what wrappers put into the names" if taken.unwrapped else "",
    ]
    what = quoted(taken.key) if taken.key else "the tensors"
    if taken.key or any(how):
        yield ", ".join(filter(None, [f"Took {what} of {file}", *how])) + "."
    if taken.outside:
        yield f"Left out of {file}: {some('beside these', taken.outside)}."
    yield from _on_averages(file, taken, others)
    if taken.counters:
        yield f"Left out of {file}: {taken.counters} counters of thop (total_ops, total_params)."
    for words in taken.plain:
        yield f"Made plain in {file}: {words}."


def _on_averages(file: str, taken: Fit, others: Sequence[Fit]) -> Iterator[str]:
    """Say whether the averaged weights were taken where there are some."""
    good = [way for way in others if way.fits]
    if taken.is_averaged:
        left = f"the plain ones are {_names(good)}" if good else "it holds no others that fit"
        yield f"These are the averaged (EMA) weights of {file}; {left}."
    elif good:
        yield (
            f"{file} holds averaged (EMA) weights too ({_names(good)}), which were not taken; "
            f"--ema takes them."
        )
    for way in others:
        if not taken.is_averaged and not good and way.matched:
            yield f"{file} holds averaged (EMA) weights too ({_names([way])}), which do not fit."
