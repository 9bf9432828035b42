"""Handing nodes on, operator by operator, while a network runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from toolchain.operators import Call, find, operator_name
from toolchain.operators.classes import Nodes
from toolchain.records.reasons import Code, Reason
from toolchain.surgery.calls import LayerCall, LayerCalls
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import Layer, layers_of, storage_key


def watcher_of(network: nn.Module) -> Watcher:
    """Return what watches a run of ``network``; each channel that a layer writes has a node."""
    layers = layers_of(network)
    flow = Flow()
    for name, layer in layers.items():
        flow.out_nodes[name] = flow.classes.new(layer.out_channels)
        flow.in_nodes[name] = flow.classes.new(layer.in_channels)
        _join_inside(flow, layer)
    return Watcher(flow, network, layers)


def _join_inside(flow: Flow, layer: Layer) -> None:
    """Join what a depthwise convolution reads and writes; keep grouped convolutions whole."""
    reads, writes = flow.in_nodes[layer.name], flow.out_nodes[layer.name]
    if layer.is_depthwise:
        multiplier = layer.out_channels // layer.in_channels
        for index, node in enumerate(writes):
            flow.classes.join(node, reads[index // multiplier])
    elif layer.is_grouped:
        flow.classes.protect([*reads, *writes], Reason("groups", (layer.name,)))


class Watcher(TorchDispatchMode):
    """Hands nodes on from operator to operator."""

    def __init__(self, flow: Flow, network: nn.Module, layers: dict[str, Layer]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flow, self.classes = flow, flow.classes
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
        self.nodes: dict[int, tuple[Tensor, Nodes]] = {}  # the tensor is held to keep its id
        self.storages: dict[int, set[int]] = {}  # memory -> the tensors with nodes that lie there
        self.writers: dict[int, tuple[Tensor, set[str]]] = {}
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
            _written(func, args, kwargs),
        )
        self.used.clear()
        layer_call = self.calls.find(call.name, args, kwargs)
        if layer_call is None:
            self._hand_on(call)
        else:
            self._read_by_layer(call, layer_call)
        self._note_peeking(call)
        self._note_writers(call, layer_call)
        return out

    def get(self, tensor: object) -> Nodes | None:
        """Return the nodes of ``tensor``, or None if no layer's channels are in it."""
        entry = self.nodes.get(id(tensor))
        return entry[1] if entry else None

    def put(self, tensor: Tensor, nodes: Nodes) -> None:
        """Remember the nodes of ``tensor``."""
        self.nodes[id(tensor)] = (tensor, nodes)
        self.storages.setdefault(storage_key(tensor), set()).add(id(tensor))

    def protect(self, tensors: Iterable[Tensor], reason: Reason) -> None:
        """Protect all channels that are in ``tensors``, or in the memory that they look into."""
        for tensor in tensors:
            for holder in {id(tensor), *self._holders(tensor)} & self.nodes.keys():
                self.classes.protect(self.nodes[holder][1], reason)

    def _holders(self, tensor: Tensor) -> set[int]:
        """Return the tensors with nodes that share memory with ``tensor``."""
        return self.storages.get(storage_key(tensor), set()) if tensor.numel() else set()

    def join_tensor(self, tensor: Tensor, nodes: Nodes) -> bool:
        """Tie a parameter or buffer with one entry per channel to ``nodes``."""
        entry = self.tensors.get(storage_key(tensor))
        if entry is None or entry[1].numel() != len(nodes) or tensor.numel() != len(nodes):
            return False
        if storage_key(tensor) in self.of_layers:  # a layer's own, used outside the layer
            return False
        if sum(size != 1 for size in entry[1].shape) > 1:  # entries in rows and columns
            return False
        self.classes.join_all(self.flow.tensor_nodes.setdefault(entry[0], nodes), nodes)
        self.used.add(storage_key(tensor))
        return True

    def leaves(self, tensor: Tensor, method: str) -> None:
        """Protect the channels whose values leave PyTorch."""
        self.protect([tensor], Reason("leaves_torch", operator=method))

    def protect_peeked(self) -> None:
        """Protect the channels of layers whose weights other code reads as well."""
        flow = self.flow
        for name, operator in self.peeked.items():
            layer = name.rpartition(".")[0]
            owner = (layer,) if layer else ()
            reason = Reason("weight_read", owner, operator=operator, parameter=name)
            nodes = [*flow.out_nodes.get(layer, []), *flow.in_nodes.get(layer, [])]
            flow.classes.protect([*nodes, *flow.tensor_nodes.get(name, [])], reason)

    def writers_of(self, tensors: Iterable[Tensor]) -> set[str]:
        """Return the layers whose values are in ``tensors``, whatever operators they passed."""
        return {name for t in tensors if id(t) in self.writers for name in self.writers[id(t)][1]}

    def _note_writers(self, call: Call, layer_call: LayerCall | None) -> None:
        names = {layer_call.layer.name} if layer_call else self.writers_of(call.inputs)
        for tensor in call.outputs if names else ():
            self.writers[id(tensor)] = (tensor, names | self.writers_of([tensor]))

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
        if nodes is None:
            reason = Reason("no_layer_writes", (layer.name,))
            self.classes.protect(slots, reason)
            self.protect([layer_call.x], reason)
        else:
            self.classes.join_all(slots, nodes)
        self.flow.calls[layer.name] = self.flow.calls.get(layer.name, 0) + 1
        own = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        self.used.update(storage_key(parameter) for parameter in own)
        self.put(call.outputs[0], self.flow.out_nodes[layer.name])

    def _hand_on(self, call: Call) -> None:
        """Give the operator's output its nodes, or protect what reaches it."""
        reached = [x for x in call.inputs if self.get(x) is not None or self._holders(x)]
        known = find(call.name)
        rule = known.channels
        if not reached or (known.shape_only and rule is None):
            return
        nodes = rule(call) if rule and call.outputs else None
        through_memory = any(self.get(tensor) is None for tensor in reached)
        if nodes is None or through_memory or self._writes_into_shared_memory(call):
            code: Code = "operator" if rule else "unknown_operator"
            self.protect([*reached, *call.written], Reason(code, operator=call.name))
            return
        for tensor in call.outputs:
            if tensor.ndim >= 2 and tensor.shape[1] == len(nodes):
                self.put(tensor, nodes)
        if self.get(call.out) is None:
            self.protect(reached, Reason("operator", operator=call.name))

    def _writes_into_shared_memory(self, call: Call) -> bool:
        """Return True if an operator changes memory that other tensors may look into."""
        return any(
            self.get(tensor) is None or self._holders(tensor) - {id(tensor)}
            for tensor in call.written
        )


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that the operator changes in place."""
    schema = func._schema
    if not schema.is_mutable:
        return []
    given = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)}
    return [
        leaf
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        for leaf in tree_leaves({**given, **kwargs}.get(argument.name))
        if isinstance(leaf, Tensor)
    ]
