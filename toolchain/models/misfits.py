"""Why a state dict does not fit a network, and what may help."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from toolchain.models.fitting import Fit, Tensors
from toolchain.models.state_dicts import quoted, shown, some

_STATISTICS = ("running_mean", "running_var")


def why_not(fit: Fit, expected: Tensors) -> str:
    """Return in one line what is missing, not known or of another shape, and a hint."""
    words = "; ".join(filter(None, _problems(fit, expected)))
    where = _where(fit)
    hint = next(_hints(fit, expected), "")
    return "; ".join(filter(None, [f"{where}: {words}" if where else words, hint]))


def _where(fit: Fit) -> str:
    """Say which state dict was compared, where that is not plain."""
    how = [
        quoted(fit.key) if fit.key else "",
        f"without the prefix {quoted(fit.prefix)}" if fit.prefix else "",
        f"with {quoted(fit.put_before)} before each name" if fit.put_before else "",
        "without what wrappers put into the names" if fit.unwrapped else "",
    ]
    return ", ".join(filter(None, how))


def _problems(fit: Fit, expected: Tensors) -> Iterator[str]:
    for name, kind in islice(fit.no_tensors.items(), 1):
        yield f"entry {quoted(name)} must be a tensor (got {kind})"
    yield some("missing", fit.missing)
    yield some("not known", fit.surplus)
    if fit.misshapen and not (fit.missing or fit.surplus):
        name = fit.misshapen[0]
        more = len(fit.misshapen) - 1
        others = f", and {more} more of another shape" if more else ""
        yield (
            f"{shown(name)} must be of shape {tuple(expected[name].shape)} "
            f"(got {tuple(fit.state[name].shape)}){others}"
        )


def _hints(fit: Fit, expected: Tensors) -> Iterator[str]:
    if any(name.endswith("_u") or ".parametrizations." in f".{name}" for name in fit.surplus):
        yield (
            "some parameters are parametrised, as by spectral norm: before saving call "
            "torch.nn.utils.parametrize.remove_parametrizations or remove_spectral_norm"
        )
    if fit.missing and all(name.endswith(_STATISTICS) for name in fit.missing):
        yield (
            "batch norm's running statistics are buffers: save network.state_dict(), not the "
            "parameters alone"
        )
    yield from _other_outputs(fit, expected)


def _other_outputs(fit: Fit, expected: Tensors) -> Iterator[str]:
    """Say it if one layer has another number of outputs, as with other classes."""
    if fit.missing or fit.surplus or not fit.misshapen:
        return
    layers = {name.rpartition(".")[0] for name in fit.misshapen}
    shapes = [(fit.state[name].shape, expected[name].shape) for name in fit.misshapen]
    same_rest = all(found[1:] == wanted[1:] for found, wanted in shapes if found and wanted)
    if len(layers) == 1 and same_rest and all(found and wanted for found, wanted in shapes):
        found, wanted = shapes[0]
        yield (
            f"the file's {shown(layers.pop())} has {found[0]} outputs, the network's {wanted[0]}: "
            f"build the network with as many as the file, for example classes, or give another file"
        )
