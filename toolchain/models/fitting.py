"""How the names in a state dict meet those of a network: prefixes, wrappers, counters, masks.

Names fit if every tensor of the network is there and none is left over, after
 - a prefix is taken off, the same of all (``module.``, ``model.``), or put before all;
 - the parts that wrappers put into names are taken out (``backbone.module.conv``);
 - thop's counters are left out;
 - masked and weight-normed parameters are made plain, unless the network has them so itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from toolchain.models.parametrised import base_of, made_plain
from toolchain.models.state_dicts import StateDict, is_averaged

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts that DataParallel, ``torch.compile`` and FSDP put into names."""
_COUNTERS = {"total_ops", "total_params"}
"""What thop leaves in a network that it has counted."""
_MEANS = "n_averaged"
"""How many networks :class:`torch.optim.swa_utils.AveragedModel` has averaged."""
_MOST_PREFIXES = 50

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """A state dict by the names of a network, and what does not fit."""

    key: str
    """Of the state dict in its file; empty for the file itself."""
    prefix: str
    """Taken off the names."""
    put_before: str
    """Put before the names."""
    unwrapped: bool
    """Parts of wrappers are taken out of the names."""
    state: Mapping[str, Tensor]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    no_tensors: Mapping[str, str] = field(default_factory=dict)
    """What lies in place of tensors, by the network's names."""
    outside: tuple[str, ...] = ()
    """Tensors whose names have another prefix."""
    counters: int = 0
    """thop's, left out."""
    plain: tuple[str, ...] = ()
    """What was done to make parameters plain, in words."""

    @property
    def is_complete(self) -> bool:
        """Whether all that the network needs is there."""
        return not (self.missing or self.misshapen or self.no_tensors)

    @property
    def fits(self) -> bool:
        """Whether all that the network needs is there, and nothing else."""
        return self.is_complete and not self.surplus

    @property
    def matched(self) -> int:
        """How many tensors bear a name of the network's."""
        return len(self.state) - len(self.surplus)

    @property
    def name(self) -> str:
        """What it is called among those of its file."""
        return ".".join(filter(None, (self.key, self.prefix.rstrip(".")))) or "."

    @property
    def is_averaged(self) -> bool:
        """Whether these are averaged weights (EMA), by their key or prefix."""
        return is_averaged(self.name)


def fits(found: StateDict, expected: Tensors) -> list[Fit]:
    """Return all ways in which a state dict fits; if there is none, the one that comes nearest."""
    tried: list[Fit] = []
    for unwrapped, entries in _variants(found.entries, expected):
        for put_before in _common_prefixes(expected):
            wanted = {name[len(put_before) :]: tensor for name, tensor in expected.items()}
            ways = [_fit(entries, prefix, wanted) for prefix in _prefixes(entries, wanted)]
            ways = [
                replace(each, key=found.key, put_before=put_before, unwrapped=unwrapped)
                for each in _apart(ways)
            ]
            good = [each for each in ways if each.fits]
            if good:
                return [_before(each) for each in good]
            tried.extend(ways)
    return [_before(_nearest(tried, len(expected)))]


def _nearest(tried: list[Fit], wanted: int) -> Fit:
    """Return what matches most; as it is, if that is less than half of the network."""
    best = max(tried, key=lambda each: (each.matched, -len(each.surplus)))
    return best if 2 * best.matched >= wanted else tried[0]


def _before(fit: Fit) -> Fit:
    """Put what the network's names have before those of the file."""
    if not fit.put_before:
        return fit
    before = fit.put_before
    return replace(
        fit,
        state={f"{before}{name}": tensor for name, tensor in fit.state.items()},
        missing=tuple(f"{before}{name}" for name in fit.missing),
        surplus=tuple(f"{before}{name}" for name in fit.surplus),
        misshapen=tuple(f"{before}{name}" for name in fit.misshapen),
        no_tensors={f"{before}{name}": kind for name, kind in fit.no_tensors.items()},
    )


def _variants(
    entries: Mapping[str, object], expected: Tensors
) -> Iterator[tuple[bool, Mapping[str, object]]]:
    """Yield the entries as they are, and without wrappers' parts where the network has none."""
    yield False, entries
    own = {part for name in expected for part in name.split(".")}
    parts = _WRAPPERS - own
    bare = {
        ".".join(part for part in name.split(".") if part not in parts): value
        for name, value in entries.items()
    }
    if len(bare) == len(entries) and bare.keys() != entries.keys():
        yield True, bare


def _common_prefixes(names: Iterable[str]) -> list[str]:
    """Return what all names begin with, by whole parts: nothing, ``model.``, ``model.net.``."""
    split = [name.split(".") for name in names]
    found = [""]
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1 or any(len(each) == len(found) for each in split):
            break
        found.append(f"{found[-1]}{parts[0]}.")
    return found


def _prefixes(entries: Mapping[str, object], wanted: Tensors) -> list[str]:
    """Return the empty prefix and those before enough of the wanted names, or before most."""
    votes: Counter[str] = Counter()
    for name in entries:
        at = 0
        while at >= 0:
            rest = name[at:]
            if rest in wanted or base_of(rest) in wanted:
                votes[name[:at]] += 1
            at = name.find(".", at) + 1 or -1
    needed = sum(not _may_lack(name) for name in wanted)
    often = votes.most_common(_MOST_PREFIXES)
    enough = [prefix for prefix, count in often if count >= needed]
    return list(dict.fromkeys(["", *enough, *(prefix for prefix, _ in often[:1])]))


def _may_lack(name: str) -> bool:
    """Tell whether old files lack such a tensor, which no output depends on."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _fit(entries: Mapping[str, object], prefix: str, wanted: Tensors) -> Fit:
    """Take off the prefix, and compare."""
    under: dict[str, Tensor] = {}
    no_tensors: dict[str, str] = {}
    outside, counters = [], 0
    for full, value in entries.items():
        inside, name = full.startswith(prefix), full[len(prefix) :]
        if inside and name in wanted:
            if isinstance(value, Tensor):
                under[name] = value
            else:
                no_tensors[name] = type(value).__name__
        elif full.rpartition(".")[2] in _COUNTERS:
            counters += 1
        elif isinstance(value, Tensor) and full != _MEANS:
            if inside:
                under[name] = value
            else:
                outside.append(full)
    state, plain = made_plain(under, wanted)
    return Fit(
        key="",
        prefix=prefix,
        put_before="",
        unwrapped=False,
        state=state,
        missing=tuple(
            name
            for name in wanted
            if name not in state and name not in no_tensors and not _may_lack(name)
        ),
        surplus=tuple(name for name in state if name not in wanted),
        misshapen=tuple(
            name
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ),
        no_tensors=no_tensors,
        outside=tuple(outside),
        counters=counters,
        plain=plain,
    )


def _apart(ways: list[Fit]) -> list[Fit]:
    """Count a tensor as outside, not as surplus, that another complete prefix stands before."""
    complete = [each.prefix for each in ways if each.is_complete]
    found = []
    for way in ways:
        longer = tuple(each for each in complete if each != way.prefix)
        own = [name for name in way.surplus if f"{way.prefix}{name}".startswith(longer)]
        if way.is_complete and own and longer:
            state = {name: way.state[name] for name in way.state if name not in set(own)}
            rest = tuple(name for name in way.surplus if name not in set(own))
            beside = (*way.outside, *(f"{way.prefix}{name}" for name in own))
            way = replace(way, state=state, surplus=rest, outside=beside)
        found.append(way)
    return found
