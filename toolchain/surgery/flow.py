"""Which channel of which layer flows where.

The network runs once while every operator is watched. Each channel that a layer writes gets a
node; operators that keep channels apart hand the nodes on, those that combine two channels
position by position join their nodes, and a layer joins what it reads to its input slots. What
is joined can only be removed together. An operator that is not known to keep channels apart
protects all channels that reach it: they stay, and the reason names it.

This follows any Python code, sees shared modules in every call, and tells which channels reach
the network's output. Torch-pruning's dependency graph is joined to it: what either of them says
belongs together is removed together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.records.reasons import Reason
from toolchain.surgery.boundaries import noting_boundaries
from toolchain.surgery.channels import Flow
from toolchain.surgery.dependencies import Slot, coupled_slots
from toolchain.surgery.following import hold_pinned, note_shapes, tie
from toolchain.surgery.inside import flow_of
from toolchain.surgery.numbers import Numbers, can_be_rewritten, tell
from toolchain.surgery.running import Border, Example, as_inputs, fresh, plainly, step_by_step
from toolchain.surgery.scales import Scales
from toolchain.surgery.watching import Watcher


def trace_flow(
    network: nn.Module, example: Example, whole_groups: Collection[str] | None = None
) -> Flow:
    """Run a copy of ``network`` on ``example`` (N, C, H, W) and return where channels flow.

    ``whole_groups`` is as in :func:`~toolchain.surgery.inside.flow_of`. Where its code holds
    numbers of channels, and can be written anew with others, it runs again.
    """
    flow = watch(network, example, whole_groups=whole_groups)
    in_code = _held_in_code(network, flow)
    if in_code:
        with contextlib.suppress(Exception):  # it runs as it is, and not operator by operator
            flow = watch(network, example, in_code=in_code, whole_groups=whole_groups)
    hold_pinned(flow)
    tie(flow)
    # Torch-pruning takes channels that were put elsewhere for those that were there before.
    moved = {flow.classes.find(node) for node in flow.moved}
    free = [
        name
        for name, nodes in flow.out_nodes.items()
        if name in flow.calls
        and any(flow.classes.protection(node) is None for node in nodes)
        and moved.isdisjoint(flow.classes.find(node) for node in nodes)
    ]
    try:
        pairs = coupled_slots(network, as_inputs(example), free)
    except AnalysisError as error:  # our own run stands alone, and the proof follows anyway
        flow.second_opinion = str(error)
        return flow
    for a, b in pairs:
        known = _node(flow, a), _node(flow, b)
        if known[0] is not None and known[1] is not None:
            flow.classes.join(known[0], known[1])
    return flow


def _node(flow: Flow, slot: Slot) -> int | None:
    """Return a slot's node; None for a slot that does not exist (torch-pruning can be off)."""
    nodes = (flow.out_nodes if slot.side == "out" else flow.in_nodes).get(slot.layer, [])
    return nodes[slot.index] if slot.index < len(nodes) else None


def _held_in_code(network: nn.Module, flow: Flow) -> frozenset[str]:
    """Return the modules whose code holds numbers of channels that nothing else protects."""
    found = set[str]()
    for name, operators in [*flow.unknown.items(), *_rooted(flow)]:
        reasons = [
            reason
            for _, nodes in operators
            for reason in (flow.classes.protection(node) for node in nodes)
            if reason is None or reason.code == "operator"
        ]
        if reasons and can_be_rewritten(network, name):
            found.add(name)
    return frozenset(found)


def _rooted(flow: Flow) -> Iterator[tuple[str, list[tuple[str, tuple[int, ...]]]]]:
    """Yield modules with a number of channels of which a root is taken, as in the code's scale."""
    for use in flow.uses:
        for module, _ in (use.keys & flow.pins) - flow.shapes.keys():
            if use.nodes:
                yield module, [(use.operator, use.nodes)]
    for key in flow.pins & flow.shapes.keys():
        reader = flow.readers.get(key)
        if reader is not None and flow.shapes[key]:
            yield reader, [("pow", flow.shapes[key])]


def watch(
    network: nn.Module,
    example: Example,
    prepare: Callable[[Flow], None] | None = None,
    in_code: Collection[str] = (),
    whole_groups: Collection[str] | None = None,
) -> Flow:
    """Return what the operators of one run show, without torch-pruning.

    ``prepare`` may join nodes of layers before the run; of the modules ``in_code`` the numbers in
    their code are noted.
    """
    try:
        return _watch(network, example, prepare, in_code, whole_groups)
    except AnalysisError:
        raise
    except Exception:
        if in_code:
            raise
        # It does not take numbers that tell.
        return _watch(network, example, prepare, None, whole_groups)


def _watch(
    network: nn.Module,
    example: Example,
    prepare: Callable[[Flow], None] | None,
    in_code: Collection[str] | None,
    whole_groups: Collection[str] | None,
) -> Flow:
    """Watch one run, in which numbers do not tell where ``in_code`` is None."""
    network = fresh(network)
    watcher = _watcher_of(network, whole_groups)
    flow = watcher.flow
    if prepare is not None:
        prepare(flow)
    numbers = Numbers(network, watcher, flow)
    if in_code is not None:
        tell(network, in_code, flow)
    telling = contextlib.nullcontext() if in_code is None else numbers
    noting = noting_boundaries(network, watcher, flow.dims_given)
    with _watched(network, watcher), Scales(watcher), telling, noting, watcher:
        outputs = network(*as_inputs(example))
    flow.uses, flow.unknown, flow.in_code = numbers.uses, numbers.unknown, frozenset(in_code or ())
    for output in tree_leaves(outputs):
        if isinstance(output, Tensor):
            watcher.protect([output], Reason("output"))
            flow.output_layers |= watcher.writers.of([output])
        elif not isinstance(output, int | float | str | None):
            raise AnalysisError(
                f"the network gives a {type(output).__name__}, in which no tensors are seen: "
                f"expected tensors, or tuples, lists and dicts of them"
            )
    watcher.protect_peeked()
    note_shapes(flow, numbers.of_shapes)
    flow.peeked = set(watcher.peeked)
    return flow


def _watcher_of(network: nn.Module, whole_groups: Collection[str] | None = None) -> Watcher:
    """Return what watches a run of ``network``; each channel that a layer writes has a node."""
    flow, layers = flow_of(network, whole_groups)
    return Watcher(flow, network, layers)


@contextlib.contextmanager
def _watched(network: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Run so that every operator is seen, and the states that recurrent layers begin with."""
    with plainly(), step_by_step(network), watcher.states, Border(watcher.leaves):
        yield


def find_failure(network: nn.Module, example: Example) -> tuple[str, frozenset[str]]:
    """Return the operator at which a run fails, and the layers whose channels reach it there.

    Code that holds a number of channels (``view(-1, 320)``) fails there once channels are gone.
    """
    network = fresh(network)
    watcher = _watcher_of(network)
    with contextlib.suppress(Exception), _watched(network, watcher), watcher:
        network(*as_inputs(example))
    if watcher.failed is None:
        return "", frozenset()
    operator, inputs = watcher.failed
    find = watcher.flow.classes.find
    laid = [placed for placed in map(watcher.placed, inputs) if placed is not None]
    reached = {find(node) for placed in laid for node in placed.nodes}
    writers = {
        name
        for name, nodes in watcher.flow.out_nodes.items()
        if name in watcher.flow.calls and reached & {find(node) for node in nodes}
    }
    return operator, frozenset(writers)
