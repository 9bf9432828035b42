"""A network in memory, as the stages take it: with a recipe, a source and how it is called."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from toolchain.errors import InputError, RecipeError
from toolchain.library.taking import Example, arguments_of, copied, take, undisturbed, unwrapped
from toolchain.models.arguments import Arguments, outputs_of
from toolchain.models.calling import called_with
from toolchain.models.layouts import read_checkpoint
from toolchain.models.plain import plain_network
from toolchain.models.plain_weights import plainly
from toolchain.models.sizes import image_size
from toolchain.models.weights import load_into, unique_state
from toolchain.recipe import ModelSection, PruneSection, Recipe, default_recipe, override
from toolchain.records.stages import Source
from toolchain.zoo.sources import Loaded


@dataclass(frozen=True)
class Handed:
    """A copy of the caller's network, and what it is called with."""

    loaded: Loaded
    arguments: Arguments

    @property
    def recipe(self) -> Recipe:
        """With the example's size."""
        return self.loaded.recipe

    def with_recipe(self, recipe: Recipe) -> Handed:
        """Return the same by another recipe."""
        return dataclasses.replace(self, loaded=dataclasses.replace(self.loaded, recipe=recipe))


def hand_over(
    network: nn.Module,
    example: Example,
    recipe: Recipe | None = None,
    value_range: tuple[float, float] | None = None,
    *,
    own_type: bool,
) -> Handed:
    """Take a copy of a network on the CPU, in eval mode, without wrappers or computed weights.

    It is of its own type where it runs in it, or else of float32. Raises what :func:`take` raises.
    """
    take(network, example)  # refuses what is no network or does not run
    arguments = _one_image(network, arguments_of(example))
    name = name_of(network)
    with undisturbed():
        plain, notes = plain_network(copied(network), name)
        plain, computed = plainly(plain)
        if own_type:
            plain, arguments = _in_own_type(plain, unwrapped(network), arguments)
        outputs = outputs_of(plain, arguments)
        original = copy.deepcopy(plain)
        plain, call = called_with(plain, name, arguments, outputs, (*notes, *computed))
    call = dataclasses.replace(call, example=tuple(map(_zeros, call.example)))
    recipe = _fitted(recipe or _recipe_of(name), arguments, value_range)
    source = Source(None, "memory", _sha256(plain), trained=True, seed=recipe.model.seed)
    reopen = reopened(original, arguments, recipe.model.name)  # as files of this run call it
    loaded = Loaded(plain, recipe, source, call.notes, call=call, reopen=reopen)
    return Handed(loaded, arguments)


def name_of(network: nn.Module) -> str:
    """Return ``module:Class``, as the command line would build it if it needs no arguments."""
    kind = type(unwrapped(network))
    return f"{kind.__module__}:{kind.__qualname__.replace('<locals>.', '')}"


def _recipe_of(name: str) -> Recipe:
    return dataclasses.replace(
        default_recipe("network:handed_over"), model=ModelSection(name), prune=PruneSection()
    )


def _fitted(
    recipe: Recipe, arguments: Arguments, value_range: tuple[float, float] | None
) -> Recipe:
    """Return the recipe with the example's size and shapes."""
    values: dict[str, object] = {"prune.protected": []}
    size = image_size(arguments.tensors)
    if size is not None:
        values |= {"input.height": size[0], "input.width": size[1]}
    if value_range is not None:
        values["input.range"] = list(value_range)
    if ":" in recipe.model.name:
        values["input.shapes"] = list(_shapes(arguments))
    if recipe.prune.zeroes:
        raise RecipeError(
            "recipe must not ask for zeros here (prune.rate, widths or gone); they are chosen by "
            "tc.prune or tc.SoftPruner"
        )
    return override(recipe, values)


def _shapes(arguments: Arguments) -> list[str]:
    """Return the arguments as ``--input-shape`` has them; none where it cannot say them."""
    named = [(None, each) for each in arguments.by_place] + [*arguments.by_name.items()]
    if not all(isinstance(value, Tensor) and value.ndim for _, value in named):
        return []
    return [
        (f"{key}=" if key else "")
        + "x".join(map(str, value.shape))
        + ("" if value.is_floating_point() else f":{str(value.dtype).removeprefix('torch.')}")
        for key, value in named
    ]


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.is_floating_point() else tensor


def _one_image(network: nn.Module, arguments: Arguments) -> Arguments:
    """Return arguments of a batch of one, where a larger one was given and the network takes it."""
    batches = {tensor.shape[0] for tensor in arguments.tensors if tensor.ndim}
    if batches == {1} or len(batches) != 1 or not arguments.tensors:
        return arguments
    leaves, structure = arguments.flat()
    first = [leaf[:1] if isinstance(leaf, Tensor) and leaf.ndim else leaf for leaf in leaves]
    by_place, by_name = torch.utils._pytree.tree_unflatten(first, structure)
    smaller = Arguments(by_place, by_name)
    try:
        with undisturbed():
            outputs_of(copied(network).cpu().float().eval(), smaller)
    except Exception:  # a stranger's code may raise anything
        return arguments
    return smaller


def _in_own_type(
    plain: nn.Module, network: nn.Module, arguments: Arguments
) -> tuple[nn.Module, Arguments]:
    """Return the network and arguments in the caller's types, if it runs in them on the CPU."""
    state = {name: tensor.detach().cpu() for name, tensor in copied(network).state_dict().items()}
    types = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if types <= {torch.float32}:
        return plain, arguments
    own = copy.deepcopy(plain)
    for name, tensor in [*own.named_parameters(), *own.named_buffers()]:
        if name in state:
            tensor.data = state[name].clone()
        elif len(types) == 1 and tensor.is_floating_point():  # a computed weight
            tensor.data = tensor.data.to(next(iter(types)))
    first = next((each.dtype for each in own.parameters()), torch.float32)
    leaves, structure = arguments.flat()
    cast = [
        leaf.to(first) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf
        for leaf in leaves
    ]
    by_place, by_name = torch.utils._pytree.tree_unflatten(cast, structure)
    typed = Arguments(by_place, by_name)
    try:
        outputs_of(own, typed)
    except Exception:  # not every operator is there in half precision
        return plain, arguments
    return own, typed


def reopened(original: nn.Module, arguments: Arguments, name: str) -> Callable[[Path], nn.Module]:
    """Return what gives a copy of the network the weights of a file of this run."""

    def reopen(path: Path) -> nn.Module:
        network = copy.deepcopy(original)
        load_into(network, read_checkpoint(path), name)
        network, _ = called_with(network, name, arguments, outputs_of(network, arguments))
        return network.eval()

    return reopen


def _sha256(network: nn.Module) -> str:
    """Return the hash of all tensors with their names: there is no file to hash."""
    digest = hashlib.sha256()
    for name, tensor in sorted(unique_state(network).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def demand_network(value: object, where: str) -> nn.Module:
    """Return a network; raise :class:`InputError` for anything else."""
    if not isinstance(value, nn.Module):
        raise InputError(
            f"{where} must be a torch.nn.Module or what tc.shrink gives "
            f"(got {type(value).__name__})"
        )
    return value
