"""What the surgery promises of every network, tried on random ones.

Either the shrunk network gives the same output, or the network is refused with a reason: never
silently wrong. The networks come from tests/networks/, where the comparison is explained too.

Some networks are the same every time, others are new in every run; pytest prints the seed they
come from. To run these again, or to search further::

    SURGERY_SEED=1234567 pytest tests/test_surgery_properties.py
    SURGERY_EXAMPLES=5000 pytest tests/test_surgery_properties.py -k random

``make soak-surgery`` searches for hours. To see how many networks lost channels, and why others
were refused: ``-s``; in more detail: ``--hypothesis-show-statistics``. A failure prints a
description: add it to PAST_FAILURES.
"""

from __future__ import annotations

import copy
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, event, given, note, settings
from networks.blocks import BLOCKS, JOINS, OUTPUTS
from networks.building import build
from networks.checking import LAYERS, deployed_parameters, parameters_in_all
from networks.convolutions import WEIGHTS, Unit, filters_of
from networks.descriptions import (
    EXAMPLE,
    Again,
    Block,
    Convolution,
    Description,
    Function,
    Join,
    Output,
    Step,
    Zeros,
)
from networks.drawing import description_of
from networks.functions import FUNCTIONS
from networks.judging import Inputs, cast, outputs_of
from networks.layers import ACTIVATIONS, LEARNED, NORMS
from networks.promise import (
    Surgeon,
    dressed,
    example_of,
    inputs_of,
    keep_promise,
    shrunk_or_refused,
)
from networks.reducing import reduced
from networks.strategies import descriptions
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import AnalysisError
from toolchain.records.stages import Surgery
from toolchain.surgery.removing import Cut, cut

PAST_FAILURES = {
    "a linear layer that reads constants": Description(
        (Convolution(channels=2, zeros=Zeros("some")),), (Output("pooled"),)
    ),
    "a concatenation inside a block, read by a residual block": Description(
        (Block("dense", channels=1), Block())
    ),
    "constants that differ near the border, averaged: they differ with the size": Description(
        (Convolution(zeros=Zeros("all")), Convolution(kernel=3)), (Output("pooled"),)
    ),
    "a kernel that meets both borders, in maps smaller than those that were looked at": Description(
        (
            Convolution(channels=2, kernel=3, stride=2, norm="batch"),
            Join(source=4, other=5, zeros=Zeros("some", bias=True)),
            Block(
                "tokens", 1, 2, activation="none", zeros=Zeros("all", True, False, "some", "some")
            ),
            Convolution(
                channels=2,
                kernel=3,
                stride=2,
                bias=False,
                norm="batch",
                activation="prelu_channels",
                zeros=Zeros("most", norm=True, columns="some", scales="all"),
            ),
            Function("scale", 2),
            Block("split_and_stack", 1, 2, "batch", "prelu_channels", Zeros("some", True, True)),
            Block("pyramid", channels=8, zeros=Zeros(bias=True, columns="some")),
        ),
        (Output("boxes"),),
        seed=35845,
        layout="channels_last",
        form="nested",
    ),
    "averages of constants, one nearly a combination of the others at three sizes": Description(
        (
            Convolution(kernel=5, bias=False, norm="batch"),
            Function("average_pool"),
            Block("encoder", 1, activation="prelu_channels", zeros=Zeros("all", bias=True)),
            Join("gate", 4, 3, Zeros("all", bias=True, norm=True)),
            Block("tokens", 0, 2, "none", "silu", Zeros("most")),
            Block("mirror", activation="prelu_channels", zeros=Zeros("some", norm=True)),
            Join("gate", 3, 0, Zeros("some")),
        ),
        (Output("boxes"), Output("perceptron", zeros=Zeros(columns="some"))),
        seed=22714,
    ),
    "weights that the code around the layer reads": Description(
        (Convolution(zeros=Zeros("some")), Convolution(weights="peeked"))
    ),
    "a decision by a list of values": Description(
        (Convolution(zeros=Zeros("most")), Function("flip_when_a_list_is_bright")),
        (Output("pointwise"),),
        seed=782,
        aligned=True,
    ),
    "values that pass through numpy, read by nothing that is seen": Description(
        (Convolution(channels=8), Function("mark_bright_in_numpy"), Function("mean_of_channels"))
    ),
    "values that pass through numpy and are an output: its shape changed": Description(
        (
            Convolution(bias=False, norm="batch"),
            Convolution(bias=False, norm="batch", zeros=Zeros(columns="all")),
            Function("mark_bright_in_numpy"),
        ),
        (Output("map"),),
    ),
    "a layer that pads in its call, where its attributes say that it does not": Description(
        (
            Convolution(channels=8, norm="batch", zeros=Zeros("some")),
            Convolution(kernel=3, weights="pads_in_call"),
        )
    ),
    "attention whose fast path reads its weights elsewhere": Description((Block("encoder"),)),
}
"""Descriptions on which a surgery was once wrong."""

SEARCHED = os.environ.get("SURGERY_EXAMPLES")
SEED = int(os.environ["SURGERY_SEED"])
"""Set by conftest.py where the caller has not."""

Test = Callable[..., None]


def trying(examples: int) -> settings:
    """So many networks, always the same ones."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def trying_new(examples: int) -> Callable[[Test], Test]:
    """So many networks, or as many as a search was told, others in every run."""
    chosen = settings(
        trying(examples),
        max_examples=int(SEARCHED) if SEARCHED else examples,
        derandomize=False,
    )
    return lambda test: hypothesis.seed(SEED)(chosen(test))


def without_shrinking(examples: int) -> settings:
    """For tests that look at many networks together, or that expect a failure."""
    return settings(
        trying(examples), max_examples=examples, phases=[Phase.generate], report_multiple_bugs=False
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """How many networks ended how; printed when the module's tests are done (``-s``)."""
    outcomes: Counter[str] = Counter()
    yield outcomes
    print("\nRandom networks:")
    for outcome, count in outcomes.most_common():
        print(f"{count:6d}  {outcome}")


@pytest.mark.slow
@trying_new(50)
@given(descriptions())
def test_new_random_networks_lose_nothing_or_are_refused(
    tally: Counter[str], description: Description
) -> None:
    note(f"SURGERY_SEED={SEED}")
    outcome = str(keep_promise(description, cut))
    event(outcome)
    tally[outcome] += 1


@pytest.mark.slow
@trying(20)
@given(descriptions())
def test_the_usual_random_networks_lose_nothing_or_are_refused(
    tally: Counter[str], description: Description
) -> None:
    tally[str(keep_promise(description, cut))] += 1


@pytest.mark.parametrize("description", PAST_FAILURES.values(), ids=PAST_FAILURES)
def test_past_failures_stay_mended(description: Description) -> None:
    keep_promise(description, cut)


def test_what_carries_constants_does_not_amplify_its_own_rounding() -> None:
    some = Zeros("some")
    steps = (
        Convolution(channels=8, norm="batch", zeros=some),
        Convolution(channels=8, kernel=3, norm="batch_without_statistics", zeros=some),
        Convolution(kernel=3, norm="batch", activation="relu"),
    )
    outcome = keep_promise(Description(steps, seed=3), cut)
    assert outcome.shrunk < 4 * outcome.soft


def test_a_transposed_depthwise_layer_is_cut() -> None:
    some = Zeros("some")
    transposed = Convolution(kernel=3, groups=0, transposed=True, zeros=Zeros("all"))
    steps = (Convolution(zeros=some), transposed, Convolution(kernel=3, zeros=some))
    assert keep_promise(Description(steps), cut).kind == "smaller"


SOME = Zeros(filters="some")
BEFORE = Convolution(channels=8, norm="batch", zeros=SOME)
AFTER = Convolution(channels=4, kernel=3, norm="batch", activation="relu")
SPATIAL = Convolution(channels=8, kernel=3, zeros=SOME)
TRANSPOSED = replace(SPATIAL, transposed=True)


def each_operator() -> dict[str, tuple[Step, ...]]:
    """Every operator between a layer with zeroed filters and a layer that pads."""
    middles: dict[str, tuple[Step, ...]] = {
        "shared": (SPATIAL, Again(), Again()),
        "shared elsewhere": (SPATIAL, Again(source=1), Join("add"), Again()),
    }
    middles |= {name: (Function(name),) for name in [*FUNCTIONS, *LEARNED]}
    middles |= {f"join {kind}": (BEFORE, Join(kind)) for kind in [*JOINS, "weighted_sum"]}
    middles |= {f"block {kind}": (Block(kind, channels=8, zeros=SOME),) for kind in BLOCKS}
    middles |= {f"norm {name}": (replace(SPATIAL, norm=name),) for name in NORMS}
    middles |= {f"activation {name}": (replace(SPATIAL, activation=name),) for name in ACTIVATIONS}
    middles |= {f"weights {name}": (SPATIAL, replace(SPATIAL, weights=name)) for name in WEIGHTS}
    middles |= {f"padding {size}": (replace(SPATIAL, padding=size),) for size in ("none", "large")}
    modes = ("reflect", "replicate", "circular")
    middles |= {f"padding {mode}": (replace(SPATIAL, mode=mode),) for mode in modes}
    middles |= {f"groups {groups}": (replace(SPATIAL, groups=groups),) for groups in (0, 2)}
    middles |= {f"transposed {stride}": (replace(TRANSPOSED, stride=stride),) for stride in (1, 2)}
    middles |= {"transposed groups": (replace(TRANSPOSED, groups=2),)}
    return {name: (BEFORE, *middle, AFTER) for name, middle in middles.items()}


EACH_OPERATOR = each_operator()


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [False, True], ids=["layers", "groups"])
@pytest.mark.parametrize("name", EACH_OPERATOR)
def test_every_operator_loses_nothing_or_is_refused(
    name: str, aligned: bool, tally: Counter[str]
) -> None:
    description = Description(EACH_OPERATOR[name], seed=3, aligned=aligned)
    assert len(build(description).wiring) == len(description.steps), "a step was left out"
    tally[f"{keep_promise(description, cut)} (single operators)"] += 1


@pytest.mark.parametrize("kind", OUTPUTS)
def test_every_output_loses_nothing_or_is_refused(kind: str) -> None:
    zeros = Zeros(filters="some", columns="some")
    keep_promise(Description((BEFORE, AFTER, BEFORE), (Output(kind, zeros=zeros),)), cut)


@pytest.mark.slow
@trying_new(30)
@given(descriptions())
def test_a_second_shrink_of_random_networks_removes_nothing(description: Description) -> None:
    note(f"SURGERY_SEED={SEED}")
    _, out = shrunk_or_refused(description, cut)
    if isinstance(out, str):
        return
    once = out.network
    second = cut(once, example_of(description))
    twice, surgery = second.network, second.surgery
    assert deployed_parameters(twice) == deployed_parameters(once)
    assert parameters_in_all(twice) == parameters_in_all(once)
    assert surgery.removed_live_filters == 0
    assert len(surgery.filters) == surgery.count("kept")


# A shrunk network is an ordinary network ---------------------------------------------------------


def gradients(description: Description, network: nn.Module) -> list[Tensor]:
    """Gradients after one backward pass in training mode.

    In float64, which oneDNN leaves alone: in torch 2.13 its backward pass of a 1x1 convolution of
    stride 2 corrupts memory when the input is laid out channels last, shrunk or not.
    """
    network = copy.deepcopy(network).double().train()
    image = torch.randn(2, 3, *EXAMPLE, generator=torch.Generator().manual_seed(2))
    outputs = tree_leaves(network(*cast(dressed(description, image), torch.float64)))
    losses = [o.mean() for o in outputs if isinstance(o, Tensor) and o.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()
    return [item.grad for item in network.parameters() if item.grad is not None]


def trains(description: Description, network: nn.Module) -> bool:
    """True if the network can be trained on the images that ``gradients`` takes."""
    try:
        return all(torch.isfinite(item).all() for item in gradients(description, network))
    except ValueError:  # norms refuse to train on one value per channel
        return False


@pytest.mark.slow
@trying_new(30)
@given(descriptions())
def test_shrunk_random_networks_can_be_saved_and_trained_on(description: Description) -> None:
    note(f"SURGERY_SEED={SEED}")
    network, out = shrunk_or_refused(description, cut)
    if isinstance(out, str):
        return
    shrunk, example = out.network, example_of(description)
    file = io.BytesIO()
    torch.save(shrunk.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(shrunk)
    other.load_state_dict(torch.load(file, weights_only=True))
    for before, after in zip(
        outputs_of(shrunk, *example), outputs_of(other, *example), strict=True
    ):
        assert torch.equal(before, after)
    if trains(description, network):
        assert all(torch.isfinite(item).all() for item in gradients(description, shrunk))


# The tests above can fail, and they say something ------------------------------------------------


def has_zeroed_filters(network: nn.Module) -> bool:
    return any(
        not bool(view.any())
        for module in network.modules()
        if isinstance(module, LAYERS)
        for view in filters_of(module)
    )


@pytest.mark.slow
def test_many_random_networks_with_zeroed_filters_lose_channels() -> None:
    with_zeros, smaller = 0, 0

    @without_shrinking(60)
    @given(descriptions())
    def look(description: Description) -> None:
        nonlocal with_zeros, smaller
        network, out = shrunk_or_refused(description, cut)
        if has_zeroed_filters(network):
            with_zeros += 1
            smaller += not isinstance(out, str) and deployed_parameters(
                out.network
            ) < deployed_parameters(network)

    look()
    assert with_zeros > 30
    assert smaller > 0.4 * with_zeros


@pytest.mark.slow
@without_shrinking(60)
@given(descriptions())
def test_random_networks_are_the_same_every_time_and_can_be_pasted(
    description: Description,
) -> None:
    assert eval(repr(description)) == description
    first, second = build(description), build(description)
    for _, inputs in inputs_of(description):
        for a, b in zip(outputs_of(first, *inputs), outputs_of(second, *inputs), strict=True):
            assert torch.equal(a, b) or not torch.isfinite(a).all()


def in_both_types(surgeon: Callable[[nn.Module, Tensor], nn.Module]) -> Surgeon:
    """A surgeon that works on the network and on a copy in float64 alike."""

    def work(network: nn.Module, example: Inputs) -> Cut:
        double = copy.deepcopy(network).double()
        nothing = Surgery(rounds=1, filters=(), layers=())
        return Cut(surgeon(network, example[0]), surgeon(double, example[0].double()), nothing)

    return work


@in_both_types
def forget_constants(network: nn.Module, example: Tensor) -> nn.Module:
    """Wrong: what removal by dependency groups does, as if a zeroed filter left a zero."""
    shrunk = copy.deepcopy(network)
    for unit in shrunk.modules():
        if isinstance(unit, Unit) and isinstance(unit.convolution, nn.Conv2d):
            for index, view in enumerate(filters_of(unit.convolution)):
                for layer in (unit.convolution, unit.norm):
                    if not view.any() and isinstance(getattr(layer, "bias", None), Tensor):
                        layer.bias.data[index] = 0.0
                        if layer is unit.norm and isinstance(layer, nn.BatchNorm2d):
                            layer.running_mean[index] = 0.0
    return shrunk


def test_the_property_catches_a_surgeon_that_forgets_constants() -> None:
    @without_shrinking(100)
    @given(descriptions())
    def keep(description: Description) -> None:
        keep_promise(description, forget_constants)

    with pytest.raises(AssertionError, match="of the channel"):
        keep()


@in_both_types
def fold_into_last(network: nn.Module, example: Tensor) -> nn.Module:
    """Right only sometimes: fold what is constant in the example's size into the last layer's
    bias, whether that layer pads or not, and whether the constant is the same in other sizes."""
    shrunk = copy.deepcopy(network)
    *steps, last = shrunk.steps
    one, two = (nn.Sequential(*steps)(image).detach() for image in (example, example.flip(3) + 1))
    constants = one.mean(dim=(0, 2, 3))
    still = torch.stack([one - constants[:, None, None], one - two]).abs().amax((0, 1, 3, 4)) < 1e-6
    weight = last.convolution.weight.data
    last.convolution.bias.data += weight.sum(dim=(2, 3)) @ (constants * still)
    weight[:, still] = 0.0
    return shrunk


FOLDABLE = Convolution(channels=4, kernel=3, padding="none")


def whole(*steps: Step) -> Description:
    return Description(steps, (Output("map"),))


def test_folding_is_right_where_nothing_pads() -> None:
    assert keep_promise(whole(BEFORE, FOLDABLE), fold_into_last).kind != "refused"


@pytest.mark.parametrize(
    "description",
    [
        whole(BEFORE, Convolution(channels=4, kernel=3)),
        whole(BEFORE, Function("global_sum"), Convolution(channels=4)),
        whole(BEFORE, Function("weigh_by_size"), FOLDABLE),
        whole(BEFORE, Function("tanh"), Function("to_int"), FOLDABLE),
    ],
    ids=["border", "sum over space", "size", "jump that ordinary images do not reach"],
)
def test_the_checker_catches_folding_that_is_wrong(description: Description) -> None:
    with pytest.raises(AssertionError, match="of the channel"):
        keep_promise(description, fold_into_last)


def test_a_surgeon_that_changes_the_original_is_caught() -> None:
    def careless(network: nn.Module, example: Inputs) -> Cut:
        network.steps[0].convolution.weight.data *= 2
        raise AnalysisError("a reason of several words")

    with pytest.raises(AssertionError, match="changed the original"):
        keep_promise(Description((BEFORE, AFTER)), careless)


def test_a_refusal_without_a_reason_is_caught() -> None:
    def silent(network: nn.Module, example: Inputs) -> Cut:
        raise AnalysisError

    with pytest.raises(AssertionError, match="without a reason"):
        keep_promise(Description((BEFORE, AFTER)), silent)


# Networks of plain seeds, and failures made small ------------------------------------------------


def test_seeds_stand_for_networks_that_have_little_in_common() -> None:
    drawn = [description_of(seed) for seed in range(300)]
    assert drawn[7] == description_of(7)
    assert len(set(map(repr, drawn))) == 300
    steps = {type(step) for description in drawn for step in description.steps}
    assert steps == {Convolution, Block, Function, Join, Again}


def test_a_failing_description_is_made_small() -> None:
    def failure(description: Description) -> str:
        bad = [step for step in description.steps if getattr(step, "kernel", 1) > 3]
        return "wrong" if bad and len(description.outputs) > 1 else ""

    given = next(d for d in map(description_of, range(500)) if failure(d))
    (step,) = reduced(given, failure).steps
    assert step == Convolution(kernel=4)
    assert reduced(given, failure).outputs == (Output(), Output())
