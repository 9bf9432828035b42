"""Handing nodes on, operator by operator, while a network runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.models.watching import OperatorMode
from toolchain.operators import Call, find, operator_name
from toolchain.operators.classes import Nodes, Placed
from toolchain.records.reasons import Code, Reason
from toolchain.surgery.calls import LayerCall, LayerCalls
from toolchain.surgery.channels import Flow, Parts, Product
from toolchain.surgery.indices import Indices
from toolchain.surgery.layers import Layer, storage_key
from toolchain.surgery.running import see_alike, written_by
from toolchain.surgery.states import States
from toolchain.surgery.writers import Writers

STAYING = frozenset(
    "view _unsafe_view squeeze unsqueeze expand slice select split unsafe_split unbind".split()
)
"""Operators that may leave channels where they are, or lay their positions side by side."""


class Watcher(OperatorMode):
    """Hands nodes on from operator to operator."""

    def __init__(self, flow: Flow, network: nn.Module, layers: dict[str, Layer]) -> None:
        super().__init__()
        self.flow, self.classes, self.numbers_follow = flow, flow.classes, False
        self.calls = LayerCalls(layers.values())
        self.of_layers = {
            storage_key(tensor)
            for layer in layers.values()
            for tensor in (layer.weight, layer.bias)
            if tensor is not None
        }
        self.tensors = {
            storage_key(tensor): (name, tensor)
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]
        }
        self.saved = network.state_dict().keys()
        self.indices = Indices(flow, self.tensors, self.saved)
        self.states = States()
        self.apart = dict[int, Tensor]()  # parts that overlap nothing, though memory is shared
        self.stacked = dict[int, tuple[Tensor, Call]]()  # channels to be joined if it is used
        self.owners = {name: each.name for each in layers.values() for name in each.tensor_names}
        self.biases = {
            storage_key(layer.bias): layer for layer in layers.values() if layer.bias is not None
        }
        self.without_bias: dict[str, int] = {}  # layer -> calls whose bias is still to be added
        self.nodes: dict[int, tuple[Tensor, Placed]] = {}  # the tensor is held to keep its id
        self.storages: dict[int, set[int]] = {}  # memory -> the tensors with nodes that lie there
        self.writers = Writers()
        self.used: set[int] = set()  # parameters that the current operator uses as it should
        self.failed: tuple[str, list[Tensor]] | None = None  # an operator that raised
        self.peeked: dict[str, str] = {}  # parameter -> an operator that reads it otherwise

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        try:
            out = func(*args, **kwargs)
        except Exception:
            self.failed = operator_name(func), inputs
            raise
        call = Call(
            self,
            operator_name(func),
            args,
            inputs,
            [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)],
            written_by(func, args, kwargs),
            func,
            kwargs,
        )
        self.used.clear()
        self.indices.note(call.name, call.outputs, call.written)
        self.flow.multiplied += bool(find(call.name).multiplies)
        layer_call = self.calls.find(call.name, args, kwargs)
        if layer_call is None:
            self._hand_on(call)
        else:
            self._read_by_layer(call, layer_call)
        self._note_peeking(call)
        self.writers.note(call, layer_call)
        return out

    def get(self, tensor: object) -> Nodes | None:
        """Return the nodes of ``tensor``'s dimension 1, or None if its channels lie elsewhere."""
        placed = self.placed(tensor)
        if placed is None or not isinstance(tensor, Tensor) or tensor.ndim < 2:
            return None
        if placed.dim == 1:
            return placed.nodes
        return placed.nodes[:1] * tensor.shape[1] if placed.is_uniform else None

    def placed(self, tensor: object) -> Placed | None:
        """Return where channels lie in ``tensor``, or None if no layer's channels are in it."""
        if id(tensor) in self.stacked:
            _, call = self.stacked.pop(id(tensor))
            self._hand_on(call, is_used=True)
        entry = self.nodes.get(id(tensor))
        return entry[1] if entry else None

    def dim_of(self, tensor: Tensor) -> int | None:
        """Return along which dimension channels lie, or None; what is put off stays so."""
        entry = self.nodes.get(id(tensor))
        return entry[1].dim if entry else None

    def divide(self, operator: str, parts: Sequence[Nodes]) -> None:
        """Remember that an operator's parts must lose as many channels each."""
        divided = Parts(operator, tuple(map(tuple, parts)))
        if divided not in self.flow.parts[-8:]:  # once for all steps of a recurrent layer
            self.flow.parts.append(divided)

    def is_fixed(self, index: Tensor) -> bool:
        """Return True if ``index`` stands in the code, or is a buffer or a view of one."""
        return self.indices.is_fixed(index)

    def picks(self, operator: str, index: Tensor, nodes: Nodes) -> bool:
        """Return True if ``index``, positions among ``nodes``, is a buffer that can be changed."""
        self.used.add(storage_key(index))
        return self.indices.picks(operator, index, nodes)

    def multiply(self, operator: str, nodes: Nodes) -> None:
        """Remember that an operator sums over channels, each a product of two factors."""
        self.flow.products.append(Product(operator, self.flow.multiplied - 1, tuple(nodes)))

    def is_state(self, tensor: Tensor) -> bool:
        """Return True for zeros with which a recurrent module begins, as wide as it is."""
        return self.states.is_state(tensor)

    def adds_bias(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Return True if ``tensor`` is the bias of the layer that wrote ``nodes``."""
        layer = self.biases.get(storage_key(tensor))
        if layer is None or self.flow.out_nodes[layer.name] != nodes:
            return False
        if self.without_bias.get(layer.name, 0) < 1:
            return False
        self.without_bias[layer.name] -= 1
        self.used.add(storage_key(tensor))
        return True

    def put(self, tensor: Tensor, placed: Placed) -> None:
        """Remember where channels lie in ``tensor``."""
        self.nodes[id(tensor)] = (tensor, placed)
        if id(tensor) not in self.apart:
            self.storages.setdefault(storage_key(tensor), set()).add(id(tensor))

    def protect(self, tensors: Iterable[Tensor], reason: Reason) -> None:
        """Protect all channels that are in ``tensors``, or in the memory that they look into."""
        for tensor in tensors:
            self.placed(tensor)
            for holder in {id(tensor), *self._holders(tensor)} & self.nodes.keys():
                self.classes.protect(self.nodes[holder][1].nodes, reason)

    def _holders(self, tensor: Tensor) -> set[int]:
        """Return the tensors with nodes that share memory with ``tensor``."""
        return self.storages.get(storage_key(tensor), set()) if tensor.numel() else set()

    def join_tensor(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Tie a parameter or buffer with one entry per channel to ``nodes``."""
        entry = self.tensors.get(storage_key(tensor))
        if entry is None or entry[1].numel() != len(nodes) or tensor.numel() != len(nodes):
            return False
        in_rows_and_columns = sum(size != 1 for size in entry[1].shape) > 1
        if in_rows_and_columns or storage_key(tensor) in self.of_layers:  # used outside its layer
            return False
        if entry[0] not in self.saved:  # it would come back from a file as wide as it was
            return False
        self.classes.join_all(self.flow.tensor_nodes.setdefault(entry[0], nodes), nodes)
        self.used.add(storage_key(tensor))
        return True

    def _place_parameter(self, tensor: Tensor) -> None:
        """Say that each entry of a parameter is of a channel; which, its use will tell."""
        entry = self.tensors.get(storage_key(tensor))
        if entry is None or tensor.ndim != 1 or storage_key(tensor) in self.of_layers:
            return
        name, whole = entry
        if whole.shape == tensor.shape:
            nodes = self.flow.tensor_nodes.setdefault(name, self.classes.new(len(tensor)))
            self.used.add(storage_key(tensor))
            self.nodes[id(tensor)] = (tensor, Placed(0, nodes))

    def leaves(self, tensor: Tensor, method: str) -> None:
        """Protect the channels whose values leave PyTorch."""
        self.protect([tensor], Reason("leaves_torch", operator=method))

    def protect_peeked(self) -> None:
        """Protect the channels of layers whose weights other code reads as well."""
        flow = self.flow
        for layer, missing in self.without_bias.items():
            if missing:
                reason = Reason("weight_read", (layer,), operator="mm", parameter=f"{layer}.weight")
                nodes = [*flow.out_nodes[layer], *flow.in_nodes[layer]]
                flow.classes.protect(nodes, reason)
        for name, operator in self.peeked.items():
            layer = self.owners.get(name, name.rpartition(".")[0])
            owner = (layer,) if layer else ()
            reason = Reason("weight_read", owner, operator=operator, parameter=name)
            nodes = [*flow.out_nodes.get(layer, []), *flow.in_nodes.get(layer, [])]
            nodes += [*flow.tensor_nodes.get(name, []), *self.indices.reached.get(name, [])]
            flow.classes.protect(nodes, reason)

    def _note_peeking(self, call: Call) -> None:
        """Remember parameters that are read by other than their own layer's operator."""
        if find(call.name).view:
            return
        for tensor in call.inputs:
            key = storage_key(tensor)
            if key in self.tensors and key not in self.used:
                self.peeked.setdefault(self.tensors[key][0], call.name)

    def _read_by_layer(self, call: Call, layer_call: LayerCall) -> None:
        """Join what a layer reads to its input slots."""
        layer = layer_call.layer
        slots = self.flow.in_nodes[layer.name]
        nodes = self.get(layer_call.x)
        if nodes is None and not self.is_state(layer_call.x):  # zeros, as wide as the layer
            reason = Reason("no_layer_writes", (layer.name,))
            if self.placed(layer_call.x) is not None:  # channels, but not where the layer's are
                reason = Reason("operator", operator=call.name)
            self.classes.protect(slots, reason)
            self.protect([layer_call.x], reason)
        elif nodes is not None:
            self.classes.join_all(slots, nodes)
        self.flow.calls[layer.name] = self.flow.calls.get(layer.name, 0) + 1
        own = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        self.used.update(storage_key(parameter) for parameter in own)
        if layer_call.lacks_bias:
            self.without_bias[layer.name] = self.without_bias.get(layer.name, 0) + 1
        self.put(call.outputs[0], Placed(1, self.flow.out_nodes[layer.name]))

    def _hand_on(self, call: Call, *, is_used: bool = False) -> None:
        """Give the operator's output its nodes, or protect what reaches it."""
        if call.name in ("unbind", "select"):
            self.states.hand_on(call.inputs, call.outputs)
        if call.name == "unsafe_split":  # what is divided is not looked at any more
            self.apart.update((id(part), part) for part in call.outputs)
            self.storages.get(storage_key(call.x), set()).discard(id(call.x))
        if call.name == "stack" and not is_used and self._differ(call.inputs):
            self.stacked[id(call.out)] = call.out, call  # last states, which few networks read
            return
        if call.name == "repeat":  # instance norm, of its scale and shift
            self._place_parameter(call.x)
        reached = [x for x in call.inputs if self.placed(x) is not None or self._holders(x)]
        known = find(call.name)
        rule = known.channels
        if not reached or (known.shape_only and rule is None):
            return
        found = rule(call) if rule and call.outputs else None
        through_memory = any(self.placed(tensor) is None for tensor in reached)
        if found is None or through_memory or self._writes_into_shared_memory(call):
            code: Code = "operator" if rule else "unknown_operator"
            self.protect([*reached, *call.written], Reason(code, operator=call.name))
            return
        if found == ():
            return
        self._put_all(call, found)
        if self.placed(call.out) is None:
            self.protect(reached, Reason("operator", operator=call.name))

    def _put_all(self, call: Call, found: Nodes | Placed | Sequence[Placed] | tuple[()]) -> None:
        """Remember what a rule returned: for all outputs, or one for each of them."""
        each: list[Placed] = []
        if isinstance(found, Placed):
            each = [found] * len(call.outputs)
            if call.name == "native_group_norm":  # code holds a number of groups
                self.flow.moved.update(dict.fromkeys(found.nodes, call.name))
        elif found and isinstance(found[0], Placed):
            each = [item for item in found if isinstance(item, Placed)]
            self._note_moved(call, each)
        else:
            nodes = [node for node in found if isinstance(node, int)]
            each = [Placed(1, nodes)] * len(call.outputs)
        for tensor, placed in zip(call.outputs, each, strict=False):
            if placed.dim < tensor.ndim and tensor.shape[placed.dim] == len(placed.nodes):
                self.put(tensor, placed)

    def _note_moved(self, call: Call, found: Sequence[Placed]) -> None:
        """Remember channels that lie elsewhere now, not only beside others or once per position."""
        x = call.x_placed
        for placed in () if call.name == "cat" else found:
            alike = x is not None and placed.order == x.order
            stays = x is not None and call.name in STAYING and placed.dim == x.dim
            if not (stays and alike):
                self.flow.moved.update(dict.fromkeys(placed.nodes, call.name))
            if not alike or "split" in call.name:
                self.flow.cuts.add((call.name, tuple(placed.order)))

    def _differ(self, tensors: Iterable[Tensor]) -> bool:
        """Return True if channels lie along the same dimension of all, and are others in each."""
        laid = [self.placed(tensor) for tensor in tensors]
        known = {(each.dim, tuple(each.nodes)) for each in laid if each is not None}
        return None not in laid and len({dim for dim, _ in known}) == 1 < len(known)

    def _writes_into_shared_memory(self, call: Call) -> bool:
        """Return True if an operator changes memory that other tensors see in another way."""
        return any(
            (placed := self.placed(tensor)) is None
            or any(there != placed or not see_alike(other, tensor) for other, there in holders)
            for tensor in call.written
            for holders in [[self.nodes[holder] for holder in self._holders(tensor)]]
        )
