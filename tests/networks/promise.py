"""What the surgery promises of every network: the same outputs, or a refusal with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.builder import seconds
from networks.building import Network, build
from networks.checking import deployed_parameters
from networks.convolutions import filters_of
from networks.descriptions import EXAMPLE, Description
from networks.judging import (
    Inputs,
    Truth,
    assert_as_near,
    assert_same,
    cast,
    images_of,
    outputs_of,
)
from toolchain.errors import AnalysisError, ParityError
from toolchain.records.stages import FilterVerdict, Surgery
from toolchain.report.run.reasons import sentence
from toolchain.surgery.removing import Cut

Surgeon = Callable[[nn.Module, Inputs], Cut]


@dataclass(frozen=True)
class Outcome:
    """How a network ended, and how near a shrunk one is to the soft one's float64 outputs."""

    kind: str
    """ "smaller", "nothing to remove", "refused" or "does not run"."""
    reason: str = ""
    """Of a refusal, without names and numbers."""
    exact: float | None = None
    """Largest difference when shrunk in float64, as a share of the channel's magnitude; None
    where the network does not run in it, or is refused in it."""
    soft: float | None = None
    """How far the soft network in its own type is from the float64 truth."""
    shrunk: float | None = None
    """How far the shrunk network in its own type is from it."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


def inputs_of(description: Description) -> list[tuple[str, Inputs]]:
    """Named inputs that a network is judged by."""
    return [(name, dressed(description, image)) for name, image in images_of(description.sizes)]


def dressed(description: Description, image: Tensor) -> Inputs:
    """The image in the network's type and layout, and what the network takes beside it."""
    image = image.to(getattr(torch, description.dtype))
    others = seconds(description.second, image)
    if description.layout == "channels_last":
        image = image.contiguous(memory_format=torch.channels_last)
    return image, *others


def example_of(description: Description) -> Inputs:
    """The example that the surgery is given."""
    random = torch.Generator().manual_seed(0)
    return dressed(description, torch.randn(1, 3, *EXAMPLE, generator=random))


def traces_of(network: nn.Module) -> dict[str, object]:
    """All of a network that the surgery must leave as it is, apart from the tensors' values."""
    return {
        name: (
            type(module),
            module.training,
            sorted(key for key in vars(module) if key != "_modules"),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            [
                (key, id(item), item.requires_grad)
                for key, item in module._parameters.items()
                if item is not None
            ],
        )
        for name, module in network.named_modules()
    }


def assert_unchanged(network: nn.Module, traces: dict[str, object], fresh: nn.Module) -> None:
    """The network is as before: ``fresh`` is the same network, built anew."""
    assert traces_of(network) == traces, "the surgery changed the original's modules"
    for (name, now), then in zip(
        network.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert torch.equal(now, then), f"the surgery changed the original's {name}"
    assert all(parameter.grad is None for parameter in network.parameters())


def shrunk_or_refused(description: Description, surgeon: Surgeon) -> tuple[Network, Cut | str]:
    """The network, and what became of it: shrunk, or a reason; the original is as it was."""
    network = build(description)
    traces = traces_of(network)
    try:
        out: Cut | str = surgeon(network, example_of(description))
    except (AnalysisError, ParityError) as refusal:
        out = f"{type(refusal).__name__}: {refusal}"
    if isinstance(out, str):
        assert len(out.split()) >= 4, f"refused without a reason: {out}"
    assert_unchanged(network, traces, build(description))
    return network, out


def outline(reason: str) -> str:
    """A reason without the names and numbers that differ from network to network."""
    return re.sub(r"[\w.]*\d[\w.]*", "#", reason)[:100]


def does_not_run(description: Description) -> str:
    """Why the soft network does not run itself, on every size: half precision lacks operators."""
    network = build(description)
    for _, inputs in inputs_of(description) if description.dtype != "float32" else ():
        try:
            outputs_of(network, *inputs)
        except (RuntimeError, TypeError) as error:
            return outline(f"{description.dtype}: {error}")
    return ""


def in_float64(description: Description) -> Network | None:
    """The network in float64, if it runs in it."""
    network = build(description).double()
    try:
        outputs_of(network, *cast(example_of(description), torch.float64))
    except (RuntimeError, TypeError):  # the code inside casts
        return None
    return network


def judge(description: Description, soft: nn.Module, cut: Cut) -> Outcome:
    """Raise AssertionError if the shrunk network is another function than the soft one."""
    inputs = inputs_of(description)
    before, after = deployed_parameters(soft), deployed_parameters(cut.network)
    assert after <= before, f"{before} deployed parameters became {after}"
    kind = "smaller" if after < before else "nothing to remove"
    precise = in_float64(description)
    if precise is None:
        assert_same(Truth.of(soft, inputs), cut.network)
        return Outcome(kind, "in its own type only")
    truth = Truth.of(precise, inputs)
    exact = None if cut.exact is None else assert_same(truth, cut.exact)
    reason = "analysed in its own type" if cut.exact is None else ""
    return Outcome(kind, reason, exact, *assert_as_near(truth, soft, cut.network))


def keep_promise(description: Description, surgeon: Surgeon) -> Outcome:
    """Raise AssertionError if the surgeon breaks the promise; return how it ended."""
    if reason := does_not_run(description):
        return Outcome("does not run", reason)
    network, out = shrunk_or_refused(description, surgeon)
    if isinstance(out, str):
        return Outcome("refused", outline(out))
    assert not any(module.training for module in out.network.modules())
    outcome = judge(description, network, out)
    assert_records_add_up(network, out.network, out.surgery)
    return outcome


def assert_records_add_up(network: nn.Module, shrunk: nn.Module, surgery: Surgery) -> None:
    """The surgery's record says what was really there, and what is there now."""
    layers, left = dict(network.named_modules()), dict(shrunk.named_modules())
    for change in surgery.layers:
        counted = change.dropped + change.folded + change.carried + change.kept
        assert counted == change.zeroed_filters, change
        layer = layers.get(change.layer)
        if type(layer) is nn.Conv2d:
            zeroed = sum(not bool(view.any()) for view in filters_of(layer))
            assert zeroed == change.zeroed_filters, change
        if change.layer in left and type(left[change.layer]) is nn.Conv2d:
            assert left[change.layer].out_channels == change.out_channels_after, change
            assert left[change.layer].in_channels == change.in_channels_after, change
    for verdict in surgery.filters:
        assert_numbers_are_original(network, surgery, verdict)


def assert_numbers_are_original(
    network: nn.Module, surgery: Surgery, verdict: FilterVerdict
) -> None:
    """What a record and its sentence count are channels of the network before the surgery."""
    before = {change.layer: change for change in surgery.layers}
    layer = network.get_submodule(verdict.layer) if verdict.layer in modules_of(network) else None
    assert 0 <= verdict.index < before[verdict.layer].out_channels_before, verdict
    if type(layer) is nn.Conv2d:
        assert not bool(filters_of(layer)[verdict.index].any()), f"not a zero filter: {verdict}"
    if layer is None:  # a recurrent layer's weight
        rows = dict(network.named_parameters())[verdict.layer]
        assert not bool(rows[verdict.index].any()), f"not a zero row: {verdict}"
    for read in verdict.reason.carriers:
        assert read.channels, verdict
        assert all(0 <= n < before[read.layer].in_channels_before for n in read.channels), verdict
    words = sentence(verdict)
    assert len(words.split()) >= 3, verdict
    known = {verdict.index, *(n for read in verdict.reason.carriers for n in read.channels)}
    assert numbers_beside_names(words, network) <= known, words


def modules_of(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_modules()}


def numbers_beside_names(words: str, network: nn.Module) -> set[int]:
    """The numbers of a sentence, without those inside the names of layers and parameters."""
    names = [name for name, _ in [*network.named_modules(), *network.named_parameters()] if name]
    for name in sorted(names, key=len, reverse=True):
        words = words.replace(name, "")
    return {int(number) for number in re.findall(r"(?<![\w.])\d+(?!\w)", words)}
