"""Which layers' values are in a tensor, whatever operators they passed."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from toolchain.operators import Call
from toolchain.surgery.calls import LayerCall


class Writers:
    """Follows the names of layers from operator to operator, up to the next layer."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Tensor, set[str]]] = {}  # the tensor is held to keep its id

    def of(self, tensors: Iterable[Tensor]) -> set[str]:
        """Return the layers whose values are in ``tensors``."""
        known = [self._names[id(tensor)] for tensor in tensors if id(tensor) in self._names]
        return {name for _, names in known for name in names}

    def note(self, call: Call, layer_call: LayerCall | None) -> None:
        """Remember what an operator gave."""
        names = {layer_call.layer.name} if layer_call else self.of(call.inputs)
        for tensor in call.outputs if names else ():
            self._names[id(tensor)] = (tensor, names | self.of([tensor]))
