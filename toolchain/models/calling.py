"""How a network is called: by example, by shapes that were given, by its size, or by trying.

All other rooms call ``network(*example)`` with tensors and find tensors in what it returns. A
network that takes or gives something else gets a ``forward`` that translates; the names of its
modules and parameters stay.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from toolchain.errors import ModelError, in_one_line
from toolchain.models.leaves import is_plain, leaves, names_of, others_in, output_names, tensors_in
from toolchain.models.plain import LAYERS, subclass
from toolchain.models.registry import Built
from toolchain.models.sizes import image_size, largest_operator, resized

CHANNELS = (3, 1, 4)
"""Channels of an image that are tried after those of the network's first convolutions."""

SIDES = (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299, 320, 384, 416, 512, 640)
"""Sides of images that are tried where a network does not run on the size that was asked for."""

EXAMPLE_NAMES = ("example_inputs", "example_input_array")
"""Attributes that hold an example of what a network is called with."""


@dataclass(frozen=True)
class Arguments:
    """What ``forward`` is called with; tensors may lie in lists, tuples and dictionaries."""

    by_place: tuple[Any, ...]
    by_name: Mapping[str, Any] = field(default_factory=dict)

    def flat(self) -> tuple[list[Any], TreeSpec]:
        """Return the leaves and the structure."""
        return tree_flatten((self.by_place, dict(self.by_name)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in order."""
        return tuple(leaf for leaf in self.flat()[0] if isinstance(leaf, Tensor))

    @property
    def is_plain(self) -> bool:
        """True for tensors by place and nothing else."""
        return not self.by_name and all(isinstance(each, Tensor) for each in self.by_place)


@dataclass(frozen=True)
class Call:
    """How a network is called from now on: ``network(*example)``."""

    example: tuple[Tensor, ...]
    """Zeros, batch 1; whole numbers as the user gave them."""
    inputs: tuple[str, ...]
    """Names of the inputs; ``image`` where there is one alone."""
    outputs: tuple[str, ...]
    """Names of the output tensors."""
    notes: tuple[str, ...] = ()


def find_call(
    built: Built, name: str, size: tuple[int, int] | None, shapes: Sequence[str] = ()
) -> tuple[nn.Module, Call]:
    """Return the network, adapted where that is needed, and how it is called.

    ``size``: height and width of images, if they are asked for; ``shapes``: what
    ``--input-shape`` says. Raises :class:`ModelError` if it does not run.
    """
    network = built.network
    arguments, outputs, notes = _found(built, name, size, shapes)
    return called_with(network, name, arguments, outputs, notes)


def called_with(
    network: nn.Module,
    name: str,
    arguments: Arguments,
    outputs: object,
    notes: Sequence[str] = (),
) -> tuple[nn.Module, Call]:
    """Return the network, adapted where that is needed, and how it is called.

    ``outputs`` is what it gave for ``arguments``. Raises :class:`ModelError` if no tensor is in it.
    """
    ignored, notes = others_in(outputs), [*notes]
    if not tensors_in(outputs):
        raise ModelError(f"{name} returns no tensor ({', '.join(ignored) or 'nothing'})")
    if ignored:
        notes.append(f"Of what the network returns, {', '.join(ignored[:5])} is left out.")
    call = Call(
        arguments.tensors, _input_names(network, arguments), output_names(outputs), tuple(notes)
    )
    if not (arguments.is_plain and is_plain(outputs)):
        network = adapted(network, arguments)
    return network, call


def _found(
    built: Built, name: str, size: tuple[int, int] | None, shapes: Sequence[str]
) -> tuple[Arguments, object, list[str]]:
    """Return arguments with which the network runs, what it returned, and notes."""
    if shapes:
        arguments = read_shapes(shapes)
        return arguments, _demand(built.network, arguments, name, "--input-shape"), []
    given = _given_example(built.places)
    if given is not None:
        arguments = _resized(given, size)
        return arguments, _demand(built.network, arguments, name, "its example_inputs"), []
    errors: list[tuple[Arguments, Exception]] = []
    for arguments, note in _candidates(built, size):
        try:
            outputs = outputs_of(built.network, arguments)
        except Exception as error:  # a stranger's code may raise anything
            errors.append((arguments, error))
            continue
        return arguments, outputs, [note] if note else []
    raise ModelError(_no_call(built, name, errors))


def is_told(places: Sequence[object]) -> bool:
    """True if a network or its module says what it is called with."""
    return _given_example(places) is not None or input_size(places) is not None


def outputs_of(network: nn.Module, arguments: Arguments) -> object:
    """Run a copy of ``network``, for it may change while it runs, and return its outputs."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return copy.deepcopy(network)(*arguments.by_place, **arguments.by_name)


def _demand(network: nn.Module, arguments: Arguments, name: str, source: str) -> object:
    try:
        return outputs_of(network, arguments)
    except Exception as error:  # a stranger's code may raise anything
        raise ModelError(
            f"{name} does not run on {_words(arguments)}, as {source} says ({in_one_line(error)})"
        ) from error


def _words(arguments: Arguments) -> str:
    shapes = ["x".join(map(str, tensor.shape)) for tensor in arguments.tensors]
    return " and ".join(shapes) or "no tensor"


def _no_call(built: Built, name: str, errors: Sequence[tuple[Arguments, Exception]]) -> str:
    """Say on what a network was tried, what the first try said, and what to give."""
    tried = ", ".join(dict.fromkeys(_words(arguments) for arguments, _ in errors))
    said = f" ({in_one_line(errors[0][1])})" if errors else ""
    return (
        f"{name} does not run on {tried or 'any image'}{said}; {_advice(built.network, errors)}, "
        f"or as example_inputs beside {type(built.network).__name__}"
    )


def _advice(network: nn.Module, errors: Sequence[tuple[Arguments, Exception]]) -> str:
    first = next(module for module in network.modules() if isinstance(module, LAYERS))
    for kind, shape in ((nn.Conv1d, "1x{}x16000"), (nn.Conv3d, "1x{}x16x64x64")):
        if isinstance(first, kind):
            given = shape.format(first.in_channels)
            return f"its first layer is a {kind.__name__}: give its input by --input-shape {given}"
    asked = image_size(errors[0][0].tensors) if errors else None
    for side in sorted(SIDES, key=lambda each: abs(each - max(asked))) if asked else ():
        example = resized(errors[0][0].tensors, (side, side))
        if largest_operator(network, example) is not None:
            return f"it runs at {side}x{side}: give its size by --size, its input by --input-shape"
    return "give its size by --size, its input by --input-shape, such as 1x3x224x224"


# What was given ---------------------------------------------------------------------------------


def read_shapes(shapes: Sequence[str]) -> Arguments:
    """Return zeros of shapes such as ``1x3x64x64``, ``mask=1x1x64x64`` or ``1x16:int64``."""
    by_place, by_name = [], {}
    for text in shapes:
        key, _, shape = text.rpartition("=")
        tensor = _zeros(shape, text)
        if key and not key.isidentifier():
            raise _bad_shape(text)
        if key:
            by_name[key] = tensor
        else:
            by_place.append(tensor)
    return Arguments(tuple(by_place), by_name)


def _zeros(text: str, whole: str) -> Tensor:
    shape, _, kind = text.partition(":")
    dtype = getattr(torch, kind or "float32", None)
    sides = shape.lower().split("x")
    if not isinstance(dtype, torch.dtype) or not all(side.isdecimal() for side in sides):
        raise _bad_shape(whole)
    numbers = [int(side) for side in sides]
    if min(numbers) < 1 or torch.Size(numbers).numel() > 2**28:
        raise _bad_shape(whole)
    return torch.zeros(numbers, dtype=dtype)


def _bad_shape(text: str) -> ModelError:
    return ModelError(
        f"--input-shape must be NxCxHxW or another shape, for example 1x3x224x224, with the name "
        f"of the argument where it has one (mask=1x1x224x224), with a type where it is not float32 "
        f"(1x16:int64), sides >= 1 and at most 2^28 values (got {text!r})"
    )


def _given_example(places: Sequence[object]) -> Arguments | None:
    """Return what a network's own ``example_inputs`` says, or that of its factory or module."""
    for place in places:
        for key in EXAMPLE_NAMES:
            found = _attribute(place, key)
            if callable(found) and not isinstance(found, Tensor):
                found = found()
            arguments = _as_arguments(found)
            if arguments is not None and arguments.tensors:
                return arguments
    return None


def _attribute(place: object, key: str) -> Any:
    """Return an attribute without asking code that answers for any name."""
    found = inspect.getattr_static(place, key, None)
    if isinstance(found, Tensor | tuple | list | dict | int):
        return found
    if isinstance(place, nn.Module) and isinstance(found, property | staticmethod | classmethod):
        return getattr(place, key)
    if isinstance(found, staticmethod):
        return found.__func__
    return found if inspect.isfunction(found) and not isinstance(place, nn.Module | type) else None


def _as_arguments(found: object) -> Arguments | None:
    if isinstance(found, Tensor):
        return Arguments((_ready(found),))
    if isinstance(found, Mapping) and all(isinstance(key, str) for key in found):
        return Arguments((), {key: _ready(each) for key, each in found.items()})
    if isinstance(found, tuple | list):
        return Arguments(tuple(_ready(each) for each in found))
    return None


def _ready(value: Any) -> Any:
    """Return ``value`` with its floats as float32 zeros, as the proofs make their own numbers."""
    found, structure = tree_flatten(value)
    return tree_unflatten([_as_zeros(leaf) for leaf in found], structure)


def _as_zeros(leaf: object) -> object:
    if not isinstance(leaf, Tensor):
        return leaf
    leaf = leaf.detach().cpu()
    return torch.zeros(leaf.shape) if leaf.is_floating_point() else leaf


def _resized(arguments: Arguments, size: tuple[int, int] | None) -> Arguments:
    """Return arguments whose images have ``size``: those of the first image's height and width."""
    images = [tensor for tensor in arguments.tensors if tensor.ndim == 4]
    if size is None or not images:
        return arguments
    own = images[0].shape[2:]
    found, structure = arguments.flat()
    replaced = [
        leaf.new_zeros((*leaf.shape[:2], *size))
        if isinstance(leaf, Tensor) and leaf.ndim == 4 and leaf.shape[2:] == own
        else leaf
        for leaf in found
    ]
    by_place, by_name = tree_unflatten(replaced, structure)
    return Arguments(by_place, by_name)


# What is tried ----------------------------------------------------------------------------------


def _candidates(
    built: Built, size: tuple[int, int] | None
) -> Iterator[tuple[Arguments, str | None]]:
    """Yield what a network may be called with, the likeliest first, and a note on it."""
    network = built.network
    count = len(_required(network))
    for shape, note in _shapes(built, size):
        yield Arguments(tuple(torch.zeros(shape) for _ in range(max(1, count)))), note
    if count != 1:
        return
    for shape, _ in _shapes(built, size):
        asked = _asked_keys(network, shape)
        if asked:
            keys = ", ".join(map(repr, asked))
            found = Arguments(({key: torch.zeros(shape) for key in asked},))
            yield found, f"The network is called with a dictionary of {keys}."


def _shapes(
    built: Built, size: tuple[int, int] | None
) -> Iterator[tuple[tuple[int, ...], str | None]]:
    """Yield shapes of an input: by ``input_size``, then by the channels of first layers."""
    told = input_size(built.places)
    if told is not None and len(told) > 2:
        channels, *own = told
        yield (1, channels, *(size if size and len(own) == 2 else own)), None
        return
    images, modules = size or told, [*built.network.modules()]
    if all(isinstance(module, nn.Linear) for module in modules if isinstance(module, LAYERS)):
        first = next(module for module in modules if isinstance(module, nn.Linear))
        yield (1, first.in_features), None
    if images is None:
        return
    widths = [module.in_channels for module in modules if isinstance(module, nn.Conv2d)]
    usual = widths[0] if widths else None
    for channels in dict.fromkeys([*widths[:1], *CHANNELS, *sorted(set(widths))]):
        note = None
        if usual is not None and channels != usual:
            note = (
                f"The network takes {channels} channels, found by trying; its first convolution "
                f"reads {usual}. If that is wrong, give --input-shape."
            )
        yield (1, channels, *images), note


def input_size(places: Sequence[object]) -> tuple[int, ...] | None:
    """Return what ``input_size`` says: (C, H, W), (H, W), or another shape without the batch."""
    for place in places:
        found = _attribute(place, "input_size")
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return (found, found)
        if isinstance(found, tuple | list) and 2 <= len(found) <= 5:
            sides = tuple(found)
            if all(isinstance(side, int) and side > 0 for side in sides):
                return sides[1:] if len(sides) == 4 and sides[0] == 1 else sides
    return None


def _required(network: nn.Module) -> list[str]:
    """Return the names of the arguments that ``forward`` cannot do without."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return ["x"]
    return [
        each.name
        for each in parameters
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]


class _Asked(dict[str, Tensor]):
    """Gives an image for every key, and remembers which were asked for."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def __missing__(self, key: str) -> Tensor:
        self[key] = torch.zeros(self.shape)
        return self[key]


def _asked_keys(network: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the keys that a network reads of its argument, if it runs on a dictionary."""
    asked = _Asked(shape)
    try:
        outputs_of(network, Arguments((asked,)))
    except Exception:  # a stranger's code may raise anything
        return []
    return [key for key in asked if isinstance(key, str)]


# Adapting ---------------------------------------------------------------------------------------


def _input_names(network: nn.Module, arguments: Arguments) -> tuple[str, ...]:
    """Return the inputs' names: those of arguments and keys; ``image`` where there is one alone."""
    if len(arguments.tensors) == 1:
        return ("image",)
    places = [*_required(network), *(f"input_{index}" for index in range(len(arguments.by_place)))]
    named = {**dict(zip(places, arguments.by_place, strict=False)), **arguments.by_name}
    paths = [path for path, leaf in leaves(named) if isinstance(leaf, Tensor)]
    inner = [path[1:] if isinstance(path[-1], str) and len(path) > 1 else path for path in paths]
    return names_of(inner if len(set(inner)) == len(inner) else paths, "input")


def adapted(network: nn.Module, arguments: Arguments) -> nn.Module:
    """Let ``network`` take its tensors one by one, and return a tuple of tensors; return it.

    Its class becomes a subclass of the same name.
    """
    found, structure = arguments.flat()
    fixed = [None if isinstance(leaf, Tensor) else leaf for leaf in found]
    places = [index for index, leaf in enumerate(found) if isinstance(leaf, Tensor)]
    own = network.__dict__.pop("forward", None)
    plain = type(network).forward

    def forward(self: nn.Module, *tensors: Tensor) -> tuple[Tensor, ...]:
        filled = list(fixed)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        by_place, by_name = tree_unflatten(filled, structure)
        replaced = self.__dict__.get("_own_forward")
        if replaced is not None:
            return tensors_in(replaced(*by_place, **by_name))
        return tensors_in(plain(self, *by_place, **by_name))

    if own is not None:
        network.__dict__["_own_forward"] = own
    network.__class__ = subclass(type(network), {"forward": forward})
    return network
