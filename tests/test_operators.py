"""Operators of a user's own: unknown, they protect and are named; told, they are followed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from toolchain import operators
from toolchain.checking.cost import measure_cost
from toolchain.errors import InputError
from toolchain.records.reasons import Reason
from toolchain.report.run.reasons import held_words
from toolchain.surgery.removing import shrink

IMAGE = torch.zeros(1, 3, 8, 9)


@torch.library.custom_op("toolchain_tests::doubled_conv", mutates_args=())
def doubled_conv(x: Tensor) -> Tensor:
    return x * 2


@torch.library.custom_op("toolchain_tests::relu", mutates_args=())
def relu(x: Tensor) -> Tensor:
    """Named like PyTorch's, yet it mixes channels."""
    return x + x.flip(1)


@torch.library.custom_op("toolchain_tests::brightness", mutates_args=())
def brightness(x: Tensor) -> Tensor:
    """Holds no NaN, whatever it reads."""
    return torch.nan_to_num(x.mean((1, 2, 3), keepdim=True)).expand(x.shape).clone()


class OneDead(nn.Module):
    """A filter of zeros, an operator, and a reader without padding."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 2, 1)
        self.operator = operator
        self.first.weight.data[1] = 0

    def forward(self, x: Tensor) -> Tensor:
        operator = getattr(torch.ops.toolchain_tests, self.operator)
        out: Tensor = self.second(operator(self.first(x)))
        return out


@pytest.fixture(autouse=True)
def table_as_before() -> Iterator[None]:
    kept = dict(operators.TABLE)
    yield
    operators.TABLE.clear()
    operators.TABLE.update(kept)


def width_and_reason(operator: str) -> tuple[int, Reason]:
    small, surgery = shrink(OneDead(operator).eval(), IMAGE)
    [verdict] = [filter for filter in surgery.filters if filter.layer == "first"]
    return small.first.out_channels, verdict.reason


def test_an_unknown_operator_keeps_what_reaches_it_and_is_named() -> None:
    width, reason = width_and_reason("doubled_conv")
    assert (width, reason.code) == (4, "unknown_operator")
    assert "the operator toolchain_tests.doubled_conv is not known" in held_words(reason)


def test_a_registered_operator_is_followed() -> None:
    operators.register("toolchain_tests::doubled_conv", keeps_channels=True, carries_nan=True)
    assert width_and_reason("doubled_conv")[0] == 3


def test_an_operator_that_loses_nan_marks_all_that_it_gives() -> None:
    """Channels stay apart, but the constant of the dead one is not known to be constant."""
    operators.register("toolchain_tests.doubled_conv", keeps_channels=True)
    assert width_and_reason("doubled_conv") == (4, Reason("joined", ("second",)))


def test_a_rule_of_ones_own_says_what_depends_on_the_image() -> None:
    def rule(func: object, args: tuple[Tensor, ...], kwargs: object) -> Tensor:
        return torch.full_like(args[0], float("nan"))

    operators.register("toolchain_tests.brightness", keeps_channels=True, carries_nan=rule)
    assert width_and_reason("brightness")[0] == 4


def test_a_namesake_of_a_known_operator_is_not_trusted() -> None:
    width, reason = width_and_reason("relu")
    assert (width, reason.code, reason.operator) == (4, "unknown_operator", "toolchain_tests.relu")


def test_macs_are_named_as_missing_until_they_are_told() -> None:
    network = OneDead("doubled_conv").eval()
    missing = measure_cost(network, IMAGE)
    assert missing.uncounted_operators == ("toolchain_tests.doubled_conv",)
    operators.register("toolchain_tests.doubled_conv", macs=lambda args, out: 5 * out.numel())
    told = measure_cost(network, IMAGE)
    assert told.uncounted_operators == ()
    assert told.macs - missing.macs == 5 * 4 * 6 * 7
    operators.register("toolchain_tests.doubled_conv", macs=11)
    assert measure_cost(network, IMAGE).macs - missing.macs == 11


def test_what_is_not_told_again_stays() -> None:
    operators.register("aten.relu", macs=3)
    known = operators.find("relu")
    assert (known.macs, known.nan) == (3, "carried")
    assert known.channels is operators.find("sigmoid").channels


@pytest.mark.parametrize("name", ["my_op", "aten.relu.default", "", "mylib."])
def test_a_name_needs_its_namespace(name: str) -> None:
    with pytest.raises(InputError, match=r"must be named namespace\.operator"):
        operators.register(name, carries_nan=True)


def test_macs_are_not_negative() -> None:
    with pytest.raises(InputError, match="at least 0"):
        operators.register("mylib.my_op", macs=-1)
