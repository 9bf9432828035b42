"""What the surgery refuses: hidden NaN, values that leave PyTorch, weights that code reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_checked import IMAGE, randomised
from torch import Tensor, nn

from toolchain import operators
from toolchain.errors import AnalysisError
from toolchain.records.reasons import Reason
from toolchain.surgery.removing import shrink


class Signs(nn.Module):
    """Values pass an operator that swallows NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sign(self.first(x)))


def test_the_second_net_catches_an_operator_that_is_wrongly_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = randomised(Signs())
    assert shrink(network, IMAGE)[0].head.in_channels == 4
    monkeypatch.setitem(operators.TABLE, "sign", replace(operators.find("sign"), nan="carried"))
    with pytest.raises(AnalysisError, match="head reads looked constant but changes"):
        shrink(network, IMAGE)


@pytest.mark.parametrize("way", ["numpy", "tolist", "asarray"])
def test_values_that_leave_torch_are_refused(way: str) -> None:
    leave = {
        "numpy": lambda x: torch.from_numpy(x.numpy() * 2),
        "tolist": lambda x: torch.tensor(x.tolist()),
        "asarray": lambda x: torch.as_tensor(np.asarray(x) + 1),
    }[way]

    class Leaves(Signs):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(leave(self.first(x).detach()).to(x.dtype))

    with pytest.raises(AnalysisError, match=r"Tensor\.(numpy|tolist|__array__)|aten\._local"):
        shrink(randomised(Leaves()), IMAGE)


def test_a_layer_whose_weight_other_code_reads_stays_whole() -> None:
    class Peeks(Signs):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.first(x) * self.first.weight.abs().mean())

    network = randomised(Peeks())
    network.first.weight.data[1] = 0
    shrunk, surgery = shrink(network, IMAGE)
    assert shrunk.first.out_channels == 4
    assert surgery.filters[0].reason == Reason(
        "weight_read", ("first",), operator="abs", parameter="first.weight"
    )
