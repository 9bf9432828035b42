"""What a network takes on a board, estimated from its layers: the figures and the sentence."""

from __future__ import annotations

import dataclasses

import pytest

from toolchain.arm.layer_costs import ASKING, EACH, LayerCosts, costs_of_core
from toolchain.arm.targets import read_targets
from toolchain.records.stages import OnBoard
from toolchain.records.timings import Estimate
from toolchain.report import wording
from toolchain.report.run.board import board_words

FOUND = OnBoard(
    "Raspberry Pi 4B", "ncnn 1", (320, 320), 20_000_000, 17_000_000, Estimate(12.0, 16.0, 20.0)
)
ADD = "BinaryOp 0=0 of 16x80x80 16x80x80"


def table() -> LayerCosts:
    found = costs_of_core("cortex-a72")
    assert found is not None
    return found


def test_the_sentence_names_the_board_and_not_this_machine() -> None:
    words = board_words(FOUND, 0.3, "eresfd")
    assert words == (
        f"On a Raspberry Pi 4B the ncnn file takes about 17.0 M instructions at "
        f"{wording.shape((320, 320))}, 16 ms (12 to 20) on one thread: 15% less than unpruned "
        f"(20.0 M). Estimated from its layers, ncnn 1."
    )


def test_a_rate_that_does_not_pay_is_told_with_what_does() -> None:
    words = board_words(FOUND, 0.31, "eresfd")
    assert "At a rate of 0.31 that is little" in words
    assert "--align 4" in words
    assert "toolchain plan eresfd --latency 0.69" in words
    slower = dataclasses.replace(FOUND, after=21_000_000)
    assert "5% MORE than unpruned" in board_words(slower, 0.1, "eresfd")
    assert "that is little" not in board_words(slower, None, "eresfd")


def test_what_is_not_counted_is_named() -> None:
    words = board_words(dataclasses.replace(FOUND, uncounted=("Softmax",)), None, "eresfd")
    assert words.endswith("ncnn 1; without Softmax.")


def test_what_was_measured_is_taken_as_it_is() -> None:
    costs = table()
    assert costs.of(ADD) == costs.exact[ADD]
    assert costs.total([ADD, ADD]) == ASKING + 2 * (EACH + costs.exact[ADD])


def test_a_size_between_two_lies_between_them() -> None:
    between = table().of("BinaryOp 0=0 of 16x60x60 16x60x60")
    exact = table().exact
    assert exact["BinaryOp 0=0 of 16x40x40 16x40x40"] < between < exact[ADD]


@pytest.mark.parametrize("channels", [24, 64, 128])
def test_wider_convolutions_go_by_their_multiply_adds(channels: int) -> None:
    costs = table()
    key = next(
        key for key in costs.exact if "0=16" in key and "1=3 11=3" in key and "of 16x80x80" in key
        and "3=1 13=1" in key and "9=1" in key
    )  # fmt: skip
    wider = key.replace("0=16", f"0={channels}").replace("of 16x", f"of {channels}x")
    wider = wider.replace("6=2304", f"6={channels * channels * 9}")
    assert costs.of(wider) / costs.of(key) == pytest.approx((channels / 16) ** 2, rel=0.25)


def test_an_unknown_kind_is_estimated_by_what_it_reads() -> None:
    costs = table()
    small, large = costs.of("Sigmoid  of 8x10x10"), costs.of("Sigmoid  of 8x40x40")
    assert 0 < small < large


def test_every_board_that_runs_ncnn_has_a_table() -> None:
    for target in read_targets().values():
        assert ("ncnn" in target.runtimes.values()) == (costs_of_core(target.core) is not None) or (
            target.architecture == "armv7l"
        )


def test_boards_without_a_table_have_no_estimate() -> None:
    assert costs_of_core("cortex-m4") is None
