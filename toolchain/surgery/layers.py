"""Layers that write and read channels: convolutions and linear layers, seen alike.

The analyses watch operators, not modules, so a layer is recognised by the storage of its weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from toolchain.models.numbers import change_numbers
from toolchain.surgery.narrowing import narrow_layer, set_widths


@dataclass(frozen=True)
class Layer:
    """A convolution (plain, grouped, depthwise or transposed) or a linear layer."""

    name: str
    module: nn.Module

    @property
    def weight(self) -> Tensor:
        """The weight, in the module's own layout."""
        return cast(Tensor, self.module.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,), or None."""
        return cast("Tensor | None", self.module.bias)

    @property
    def weight_name(self) -> str:
        """The weight's name in the network."""
        return f"{self.name}.weight" if self.name else "weight"

    @property
    def bias_name(self) -> str:
        """The bias's name in the network, where there is one."""
        return f"{self.name}.bias" if self.name else "bias"

    @property
    def tensor_names(self) -> tuple[str, str]:
        """The names of both."""
        return self.weight_name, self.bias_name

    @property
    def kind(self) -> str:
        """A word for people."""
        if self.is_depthwise:
            return "depthwise convolution"
        if self.is_grouped:
            return "grouped convolution"
        if self.is_transposed:
            return "transposed convolution"
        return "convolution" if self.is_convolution else "linear layer"

    @property
    def is_convolution(self) -> bool:
        """True for every kind of convolution."""
        return isinstance(self.module, _ConvNd)

    @property
    def is_transposed(self) -> bool:
        """True for a transposed convolution, whose weight is (in, out / groups, ...)."""
        return isinstance(self.module, _ConvTransposeNd)

    @property
    def groups(self) -> int:
        """The number of groups; 1 for a linear layer."""
        return int(cast(int, getattr(self.module, "groups", 1)))

    @property
    def out_channels(self) -> int:
        """How many channels it writes."""
        if self.is_transposed:
            return int(self.weight.shape[1]) * self.groups
        return int(self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        """How many channels it reads."""
        if self.is_transposed:
            return int(self.weight.shape[0])
        return int(self.weight.shape[1]) * self.groups

    @property
    def is_depthwise(self) -> bool:
        """True if every channel is filtered on its own."""
        return self.groups > 1 and self.groups == self.in_channels

    @property
    def is_grouped(self) -> bool:
        """True if it has groups of several channels each."""
        return self.groups > 1 and not self.is_depthwise

    def filters(self) -> Tensor:
        """Return the weight as (out, everything else), one row per filter."""
        if not self.is_transposed:
            return self.weight.flatten(1)
        shape = (self.groups, -1, *self.weight.shape[1:])
        grouped = self.weight.reshape(shape)  # (g, in / g, out / g, ...)
        return grouped.transpose(1, 2).flatten(0, 1).flatten(1)

    def fill(self, tensor: Tensor, indices: Sequence[int], value: float) -> None:
        """Set all entries of some filters in a tensor like the weight, in place."""
        if not self.is_transposed:
            tensor[list(indices)] = value
            return
        shape = (self.groups, -1, *tensor.shape[1:])
        grouped = tensor.view(shape).transpose(1, 2)  # (g, out / g, in / g, ...)
        places = [divmod(index, self.out_channels // self.groups) for index in indices]
        grouped[[group for group, _ in places], [within for _, within in places]] = value

    def zero(self, indices: Sequence[int]) -> None:
        """Set the weights and the bias of some filters to zero, in place."""
        with torch.no_grad():
            self.fill(self.weight, indices, 0.0)
            if self.bias is not None:
                self.bias[list(indices)] = 0.0

    def columns(self) -> Tensor:
        """Return a view (in, out, kernel...) of the weight of a layer without groups."""
        return self.weight if self.is_transposed else self.weight.transpose(0, 1)

    def zero_filters(self) -> Tensor:
        """Return a bool (out,): True where a filter has only zero weights."""
        return (self.filters() == 0).all(dim=1)

    def narrow(self, kept_out: Sequence[int], kept_in: Sequence[int]) -> None:
        """Keep only the given channels, in place."""
        is_depthwise, groups = self.is_depthwise, self.groups
        left = len(self._places(kept_in, self.in_channels)) if self.is_grouped else groups
        narrow_layer(self.module, self._select(kept_out, kept_in), kept_out)
        if is_depthwise:
            cast(_ConvNd, self.module).groups = len(kept_in)
        elif left < groups:
            change_numbers(self.module, {"groups": (groups, left)})
        set_widths(self.module, len(kept_out), len(kept_in))

    def _places(self, kept: Sequence[int], width: int) -> dict[int, list[int]]:
        """Return by group, of those that are left, which of its channels are kept."""
        found: dict[int, list[int]] = {}
        for channel in kept:
            group, place = divmod(channel, width // self.groups)
            found.setdefault(group, []).append(place)
        return found

    def _select(self, kept_out: Sequence[int], kept_in: Sequence[int]) -> Tensor:
        rows, columns = torch.as_tensor(kept_out), torch.as_tensor(kept_in)
        if self.is_depthwise:  # one group per input channel
            if self.is_transposed:
                return self.weight.detach()[columns]
            return self.weight.detach()[rows]
        if self.is_grouped:  # at the same places in every group that is left
            inner = (kept_out, self.out_channels), (kept_in, self.in_channels)
            places = next(iter(self._places(*inner[not self.is_transposed]).values()))
            chosen = columns if self.is_transposed else rows
            return self.weight.detach()[chosen][:, torch.as_tensor(places)]
        first, second = (columns, rows) if self.is_transposed else (rows, columns)
        return self.weight.detach()[first][:, second]


@dataclass(frozen=True)
class RecurrentLayer(Layer):
    """What an LSTM, GRU or plain RNN makes of its input, or of its own state, at every step.

    Its name is its weight's. Its rows are those of all gates, one gate after the other.
    """

    part: str
    """``ih_l0`` for the input of the first layer, ``hh_l1_reverse`` for a state."""

    @property
    def recurrent(self) -> nn.RNNBase:
        """The module that it is a part of."""
        return cast(nn.RNNBase, self.module)

    @property
    def weight(self) -> Tensor:
        """The weight (gates * units, in)."""
        return cast(Tensor, getattr(self.module, f"weight_{self.part}"))

    @property
    def bias(self) -> Tensor | None:
        """The bias (gates * units,), or None."""
        return cast("Tensor | None", getattr(self.module, f"bias_{self.part}", None))

    @property
    def weight_name(self) -> str:
        """The weight's name in the network."""
        return self.name

    @property
    def bias_name(self) -> str:
        """The bias's name in the network, where there is one."""
        return self.name[: -len(f"weight_{self.part}")] + f"bias_{self.part}"

    @property
    def kind(self) -> str:
        """A word for people."""
        return "recurrent layer"

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.recurrent.hidden_size)

    @property
    def reads_state(self) -> bool:
        """True if it reads what the module's own units gave one step before."""
        return self.part.startswith("hh_")

    def narrow(self, kept_out: Sequence[int], kept_in: Sequence[int]) -> None:
        """Keep only the given channels, in place; of each gate as many."""
        rows, columns = torch.as_tensor(kept_out), torch.as_tensor(kept_in)
        for name, new in (
            (f"weight_{self.part}", self.weight.detach()[rows][:, columns]),
            (f"bias_{self.part}", None if self.bias is None else self.bias.detach()[rows]),
        ):
            if new is not None:
                learns = getattr(self.module, name).requires_grad
                setattr(self.module, name, nn.Parameter(new.clone(), requires_grad=learns))
        if self.reads_state:  # the last of its layer and direction
            self.recurrent.hidden_size = len(kept_out) // gates_of(self.recurrent)
        elif self.part in ("ih_l0", "ih_l0_reverse"):
            self.recurrent.input_size = len(kept_in)


def gates_of(module: nn.RNNBase) -> int:
    """Return how many rows of its weights each unit of an LSTM, GRU or RNN has."""
    return {"LSTM": 4, "GRU": 3}.get(module.mode, 1)


def _recurrent_layers(name: str, module: nn.Module) -> dict[str, Layer]:
    """Return the parts of a recurrent module; none if one of its tensors is no plain parameter."""
    if not isinstance(module, nn.RNNBase):
        return {}
    names = [each for layer in module._all_weights for each in layer]
    if not all(isinstance(module._parameters.get(each), nn.Parameter) for each in names):
        return {}
    prefix = f"{name}." if name else ""
    return {
        f"{prefix}{each}": RecurrentLayer(f"{prefix}{each}", module, each.removeprefix("weight_"))
        for each in names
        if each.startswith(("weight_ih", "weight_hh"))
    }


def layers_of(network: nn.Module) -> dict[str, Layer]:
    """Return the layers of ``network`` by name.

    Left out, and so never touched: layers whose weight or bias is not a plain parameter of their
    own (parametrised, or shared with another module).
    """
    found: dict[str, Layer] = {}
    for name, module in network.named_modules():
        found |= _recurrent_layers(name, module)
        if (
            isinstance(module, _ConvNd | nn.Linear)
            and isinstance(module._parameters.get("weight"), nn.Parameter)
            and "bias" in module._parameters
        ):
            found[name] = Layer(name, module)
    owners: dict[int, list[nn.Module]] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)

    return {name: layer for name, layer in found.items() if _is_alone(layer, owners)}


def _is_alone(layer: Layer, owners: Mapping[int, list[nn.Module]]) -> bool:
    """Return True if no other module has a layer's weight or bias, or another part of a module."""
    own = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    if isinstance(layer, RecurrentLayer):
        own = list(layer.module.parameters(recurse=False))
    return all(owners[id(each)] == [layer.module] for each in own)


def storage_key(tensor: Tensor) -> int:
    """Return a number that tensors share exactly if they share their memory."""
    return tensor.untyped_storage().data_ptr()
