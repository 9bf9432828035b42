"""``tc.save`` and ``tc.load``: a smaller network as one file, and back, without its surgery."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import toolchain
from toolchain.errors import CheckpointError, InputError, ModelError, in_one_line
from toolchain.library.handing_over import demand_network, name_of, reopened
from toolchain.library.shrinking import Shrunk
from toolchain.library.taking import copied, unwrapped
from toolchain.models.layouts import Checkpoint, read_checkpoint
from toolchain.models.plain_weights import plainly
from toolchain.models.registry import build_network
from toolchain.models.told_inputs import read_shapes
from toolchain.models.weights import load_into, save_native
from toolchain.records.certificate import Certificate

Place = str | os.PathLike[str]
Factory = Callable[[], nn.Module] | str


def save(shrunk: Shrunk | nn.Module, path: Place) -> Path:
    """Write a smaller network's weights and its layers' widths into one safetensors file.

    The file holds tensors and text, no pickle. What the network has learnt since its surgery is
    saved with it; of a network in wrappers, what is inside.

    Args:
        shrunk: what :func:`shrink` gave, or its ``.network``.
        path: of the file; its folder must be there. The name should end in ``.safetensors``.

    Returns:
        The path.

    Raises:
        InputError: the file cannot be written, or ``shrunk`` is no network.

    Example:
        >>> tc.save(small, "small.safetensors")
        >>> network = tc.load("small.safetensors", Detector)
    """
    network = shrunk.network if isinstance(shrunk, Shrunk) else demand_network(shrunk, "shrunk")
    plain, _ = plainly(copied(network).cpu())
    target = Path(path)
    metadata: dict[str, object] = {
        "model": name_of(network),
        "trained": True,
        "tool_version": toolchain.__version__,
    }
    try:
        save_native(plain, target, metadata)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def load(path: Place, factory: Factory) -> nn.Module:
    """Return the smaller network of a file of :func:`save`, bit for bit, ready to run or to train.

    Args:
        path: the file; ``model.safetensors`` of an output folder is one, too.
        factory: builds the *original* network, at its full width: a callable without arguments
            (the class, or a ``lambda``), or ``"module:name"`` as on the command line. It is
            narrowed to the file's widths.

    Returns:
        The network, in the mode and on the device that the factory gives it, in the file's types.

    Raises:
        CheckpointError: the file cannot be read, is not one of :func:`save`, or does not fit.
        ModelError: the factory fails, or gives no network.

    Example:
        >>> network = tc.load("small.safetensors", lambda: Detector(classes=3))
    """
    checkpoint = read_checkpoint(Path(path))
    if checkpoint.layout != "native":
        raise CheckpointError(
            f"{path}: was not written by tc.save; it must be (got the layout {checkpoint.layout}); "
            f"an ordinary checkpoint is loaded by load_state_dict"
        )
    network = _built(factory)
    training = {name: module.training for name, module in network.named_modules()}
    device = next((each.device for each in network.parameters()), torch.device("cpu"))
    plain, _ = plainly(network.cpu(), lambda own: _take(own, checkpoint))
    for name, module in plain.named_modules():
        module.training = training.get(name, plain.training)
    return plain.to(device)


def _built(factory: Factory) -> nn.Module:
    if isinstance(factory, str):
        return build_network(factory).network
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ModelError(
            f"factory must be a callable that builds the original network, or 'module:name' "
            f"(got {type(factory).__name__})"
        )
    try:
        made = factory()
    except Exception as error:  # a user's code may raise anything
        raise ModelError(f"the factory failed to build: {in_one_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"the factory must return a torch.nn.Module (got {type(made).__name__})")
    return unwrapped(made)


def reopener(certificate: Certificate, factory: Factory) -> Callable[[Path], nn.Module]:
    """Return what gives the network of a certificate its weights back from files of its folder.

    Raises :class:`ModelError` where the certificate does not tell how the network is called.
    """
    recipe = certificate.recipe
    if not recipe.input.shapes:
        raise ModelError(
            f"{recipe.model.name}: its certificate does not tell how it is called; it can be "
            f"verified by its name alone, without a factory"
        )
    original, _ = plainly(_built(factory).cpu().eval())
    return reopened(original, read_shapes(recipe.input.shapes), recipe.model.name)


def _take(network: nn.Module, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Load the tensors, in the file's types; refuse layers that are wider than the network's."""
    for name, tensor in network.state_dict(keep_vars=True).items():
        found = checkpoint.state.get(name)
        if found is None or not isinstance(tensor, torch.Tensor):
            continue
        wider = found.ndim == tensor.ndim and any(
            theirs > ours for theirs, ours in zip(found.shape, tensor.shape, strict=True)
        )
        if wider:
            raise CheckpointError(
                f"{checkpoint.name}: {name} must be no larger than the network's "
                f"{tuple(tensor.shape)} (got {tuple(found.shape)}); the factory must build the "
                f"network that was shrunk, at its full width"
            )
        if tensor.is_floating_point() and found.is_floating_point():
            tensor.data = tensor.data.to(found.dtype)
    return load_into(network, checkpoint, str(checkpoint.model))
