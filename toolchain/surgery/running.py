"""Running networks so that nothing of them changes, and every operator can be seen."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.models.watching import OperatorMode
from toolchain.operators import operator_name
from toolchain.records.reasons import operator_words
from toolchain.surgery.copying import copied
from toolchain.surgery.precision import Precision

Inputs: TypeAlias = tuple[Tensor, ...]
"""What a network is called with."""

Example: TypeAlias = Tensor | Inputs
"""An input, or several."""

LEAVES_TORCH = frozenset(
    "numpy tolist __array__ __dlpack__ __deepcopy__ __reduce_ex__ data_ptr untyped_storage".split()
)
"""Methods that hand a tensor's values to code that no operator shows."""


class Border(TorchFunctionMode):
    """Watches for tensors whose values leave PyTorch without an operator.

    ``leaves`` is told of each, with the name of the method that hands its values out.
    """

    def __init__(self, leaves: Callable[[Tensor, str], None]) -> None:
        super().__init__()
        self._leaves = leaves

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in LEAVES_TORCH and args and isinstance(args[0], Tensor):
            with torch._C.DisableTorchFunction():
                self._leaves(args[0], name)
        return func(*args, **(kwargs or {}))


def as_inputs(example: Example) -> Inputs:
    """Return ``example`` as a tuple."""
    return (example,) if isinstance(example, Tensor) else tuple(example)


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Return the inputs with the floating ones in ``dtype``."""
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)


def shape_words(inputs: Inputs) -> str:
    """Return the shapes for a message."""
    return " and ".join(str(tuple(x.shape)) for x in inputs)


def fresh(network: nn.Module) -> nn.Module:
    """Return a copy of ``network`` in which every parameter and buffer has memory of its own.

    What a run caches or counts stays in the copy. A parameter that two modules share stays shared.
    """
    memo = _told_to_copying(network)
    cloned = {id(buffer) for buffer in memo.values() if isinstance(buffer, Tensor)}
    try:
        made = copied(network, memo)
    except Exception as error:  # a user's module may hold anything
        raise AnalysisError(
            f"the network cannot be copied ({type(error).__name__}: {error})"
        ) from error
    own: dict[int, Tensor] = {}
    for module in made.modules():
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in own:
                own[id(parameter)] = parameter
                if type(parameter) is not nn.Parameter:  # those are copied apart from all others
                    parameter.data = parameter.data.clone()
        for name, buffer in module._buffers.items():
            if buffer is not None and id(buffer) not in cloned:
                if id(buffer) not in own:
                    own[id(buffer)] = buffer.detach().clone()
                module._buffers[name] = own[id(buffer)]
    return made


def _told_to_copying(network: nn.Module) -> dict[int, Any]:
    """Return by identity what :func:`copy.deepcopy` need not copy itself, with the copies.

    Tensors with a gradient history (weight norm of old keeps one) it cannot copy as they are; it
    copies the whole storage of a buffer; and on the dozen empty dictionaries of every module, where
    hooks would be, it would spend most of its time.
    """
    memo: dict[int, Any] = {}
    for module in network.modules():
        for value in vars(module).values():
            if type(value) in (dict, OrderedDict):
                if not value:
                    memo[id(value)] = type(value)()
            elif isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
        for buffer in module._buffers.values():
            if type(buffer) is Tensor:
                memo[id(buffer)] = buffer.detach().clone()
    return memo


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Run without gradients, and attention operator by operator, not in one fused call."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextlib.contextmanager
def step_by_step(network: nn.Module) -> Iterator[None]:
    """Let recurrent layers run operator by operator, not in one fused call of oneDNN."""
    fused = bool(torch._C._get_mkldnn_enabled())
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):
        torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(fused)


def run_fresh(network: nn.Module, inputs: Inputs) -> Any:
    """Run a copy of ``network`` and return what it gives."""
    with plainly():
        return fresh(network)(*inputs)


@dataclass(frozen=True)
class Working:
    """A network to analyse, and what one run of it showed."""

    network: nn.Module
    """A copy, never run itself."""
    precision: Precision
    """The type that it is analysed in."""
    coarsest: Precision
    """The coarsest floating type that any of its operators gave."""
    random_operators: tuple[str, ...]
    """Operators that drew random numbers."""
    largest_bytes: int
    """The largest tensor that an operator gave."""


def working_copy(network: nn.Module, inputs: Inputs) -> Working:
    """Return a copy to analyse: in float64, or in float32 or its own type where it needs that.

    Raises :class:`AnalysisError` where it runs in none of them.
    """
    own = dtype_of(network)
    failure = ""
    wider = () if own == torch.float64 else (torch.float64, torch.float32)
    for dtype in dict.fromkeys((*wider, own)):
        made = fresh(network)
        if dtype != own:
            made = made.double() if dtype == torch.float64 else made.float()
        facts = _Facts()
        try:
            with facts:
                run_fresh(made, cast(inputs, dtype))
        except AnalysisError:
            raise
        except Exception as error:  # a user's code may raise anything
            failure = failure or f"{type(error).__name__}: {error}"
        else:
            coarsest = max(map(Precision, {dtype, *facts.dtypes}), key=lambda each: each.epsilon)
            operators = tuple(facts.random_operators)
            return Working(made, Precision(dtype), coarsest, operators, facts.largest_bytes)
    raise AnalysisError(
        f"the network does not run on an input of shape {shape_words(inputs)} ({failure})"
    )


class _Facts(OperatorMode):
    """Notes types, sizes and randomness of every operator's result."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()
        self.random_operators: dict[str, None] = {}
        self.largest_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random_operators[operator_words(operator_name(func))] = None
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.largest_bytes = max(self.largest_bytes, leaf.numel() * leaf.element_size())
                if leaf.is_floating_point():
                    self.dtypes.add(leaf.dtype)
        return out


def dtype_of(network: nn.Module) -> torch.dtype:
    """Return the type of the network's first floating parameter or buffer."""
    tensors = [*network.parameters(), *network.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def written_by(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that an operator changes in place."""
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


def see_alike(a: Tensor, b: Tensor) -> bool:
    """Return True if two tensors of one memory see the same of it, in the same way."""
    same_place = a.storage_offset() == b.storage_offset()
    return same_place and (a.shape, a.stride()) == (b.shape, b.stride())
