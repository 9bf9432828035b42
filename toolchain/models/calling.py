"""How a network is called: by example, by shapes that were given, by its size, or by trying.

All other rooms call ``network(*example)`` with tensors and find tensors in what it returns. A
network that takes or gives something else gets a ``forward`` that translates; the names of its
modules and parameters stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from toolchain.errors import ModelError, in_one_line
from toolchain.models.arguments import Arguments, outputs_of, required
from toolchain.models.leaves import is_plain, leaves, names_of, others_in, output_names, tensors_in
from toolchain.models.plain import LAYERS, subclass
from toolchain.models.registry import Built
from toolchain.models.sizes import image_size, largest_operator, resized
from toolchain.models.told_inputs import given_example, read_shapes, with_size
from toolchain.models.tried_inputs import candidates

SIDES = (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299, 320, 384, 416, 512, 640)
"""Sides of images that are tried where a network does not run on the size that was asked for."""


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
    given = given_example(built.places)
    if given is not None:
        arguments = with_size(given, size)
        return arguments, _demand(built.network, arguments, name, "its example_inputs"), []
    errors: list[tuple[Arguments, Exception]] = []
    for arguments, note in candidates(built, size):
        try:
            outputs = outputs_of(built.network, arguments)
        except Exception as error:  # a stranger's code may raise anything
            errors.append((arguments, error))
            continue
        return arguments, outputs, [note] if note else []
    raise ModelError(_no_call(built, name, errors))


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


def _input_names(network: nn.Module, arguments: Arguments) -> tuple[str, ...]:
    """Return the inputs' names: those of arguments and keys; ``image`` where there is one alone."""
    if len(arguments.tensors) == 1:
        return ("image",)
    places = [*required(network), *(f"input_{index}" for index in range(len(arguments.by_place)))]
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
