"""LSTM, GRU and plain RNN: columns of what they read go, and units that are always zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.recurrent import kill
from test_moving import conv, difference, kept, trained
from torch import Tensor, nn

import toolchain as tc
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.surgery.removing import shrink

IMAGE = torch.zeros(1, 3, 8, 10)


class Reader(nn.Module):
    """Columns of eight features each, read one after the other, as a CRNN reads text."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **settings: Any) -> None:
        super().__init__()
        self.first, self.layer = conv(3, 8), kind(8, 6, **settings)
        width = self.layer.proj_size or 6
        self.last = nn.Linear(width * (2 if self.layer.bidirectional else 1), 3)
        self.batch_first = self.layer.batch_first

    def read(self, x: Tensor) -> Tensor:
        out, _ = self.layer(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        columns = self.first(x).mean(2)
        columns = columns.transpose(1, 2) if self.batch_first else columns.permute(2, 0, 1)
        out: Tensor = self.last(self.read(columns))
        return out


class LastState(Reader):
    def read(self, x: Tensor) -> Tensor:
        _, (state, _) = self.layer(x)
        return state.transpose(0, 1).flatten(1)


class GivenState(Reader):
    def read(self, x: Tensor) -> Tensor:
        out, _ = self.layer(x, torch.zeros(1, x.shape[1], 6, dtype=x.dtype))
        return out


def made(factory: Callable[..., nn.Module] = Reader, *args: Any, **settings: Any) -> nn.Module:
    """The network with three dead filters."""
    torch.manual_seed(0)
    network = trained(factory(*args, **settings))
    network.first[0].weight.data[[1, 3, 4]] = 0
    return network


KINDS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "batch first": (nn.LSTM, {"batch_first": True}),
    "both ways": (nn.LSTM, {"bidirectional": True}),
    "two layers": (nn.LSTM, {"num_layers": 2, "dropout": 0.5}),
    "gru": (nn.GRU, {}),
    "gru, batch first, both ways": (nn.GRU, {"batch_first": True, "bidirectional": True}),
    "rnn": (nn.RNN, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_constants_that_it_reads_and_dead_units_go(name: str) -> None:
    kind, settings = KINDS[name]
    whole = made(Reader, kind, **settings)
    kill(whole.layer, (1, 4))
    small, surgery = shrink(whole, IMAGE)
    assert (small.layer.input_size, small.layer.hidden_size) == (5, 4)
    assert small.last.in_features == (8 if small.layer.bidirectional else 4)
    assert kept(surgery) == []
    assert difference(whole, small) < 1e-6


def test_a_unit_that_is_not_dead_in_both_directions_stays() -> None:
    whole = made(bidirectional=True)
    kill(whole.layer, (1, 4), "reverse")
    kill(whole.layer, (2,), "l0")
    small, surgery = shrink(whole, IMAGE)
    assert (small.layer.input_size, small.layer.hidden_size) == (5, 5)
    assert set(kept(surgery)) == {Reason("parts", operator="lstm")}
    assert difference(whole, small) < 1e-6


def test_a_unit_whose_state_alone_is_dead_stays() -> None:
    whole = made()
    kill(whole.layer, (1,), "hh_l0")
    small, _ = shrink(whole, IMAGE)
    assert small.layer.hidden_size == 6
    assert difference(whole, small) < 1e-6


def test_a_projection_keeps_the_units_and_what_is_read_goes() -> None:
    whole = made(proj_size=2)
    kill(whole.layer, (1, 4))
    small, surgery = shrink(whole, IMAGE)
    assert (small.layer.input_size, small.layer.hidden_size) == (5, 6)
    assert set(kept(surgery)) == {Reason("operator", operator="lstm")}
    assert difference(whole, small) < 1e-6


def test_the_last_state_of_both_directions_joins_their_units() -> None:
    whole = made(LastState, bidirectional=True)
    kill(whole.layer, (1, 4))
    small, _ = shrink(whole, IMAGE)
    assert (small.layer.input_size, small.layer.hidden_size) == (5, 4)
    assert difference(whole, small) < 1e-6


def test_a_state_that_the_code_gives_keeps_the_units() -> None:
    whole = made(GivenState, nn.GRU)
    kill(whole.layer, (1, 4))
    small, surgery = shrink(whole, IMAGE)
    assert (small.layer.input_size, small.layer.hidden_size) == (5, 6)
    assert len(kept(surgery)) == 2 * 3 * 2  # two units' rows in three gates, of input and state
    assert difference(whole, small) < 1e-6


def test_a_rate_takes_what_an_lstm_reads() -> None:
    torch.manual_seed(0)
    soft = zero_filters(trained(Reader()), IMAGE, PruneSection(rate=0.5, scope="group"))
    small, surgery = shrink(soft, IMAGE)
    assert (small.first[0].out_channels, small.layer.input_size) == (4, 4)
    assert kept(surgery) == []
    assert difference(soft, small) < 1e-6


def test_a_rate_takes_nothing_of_a_layer_that_is_not_called() -> None:
    network = trained(Reader())
    network.unused = nn.Conv2d(8, 8, 1)
    soft = zero_filters(network, IMAGE, PruneSection(rate=0.5, scope="group"))
    assert bool(soft.unused.weight.flatten(1).any(dim=1).all())
    assert not bool(soft.first[0].weight.flatten(1).any(dim=1).all())


def test_a_cut_lstm_trains_and_comes_back_from_its_file(tmp_path: Path) -> None:
    whole = made(num_layers=2)
    kill(whole.layer, (1, 4))
    small, _ = shrink(whole, IMAGE)
    image = torch.randn(2, 3, 9, 11)
    small.train()(image).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    small.eval()
    tc.save(small, tmp_path / "small.safetensors")
    again = tc.load(tmp_path / "small.safetensors", lambda: Reader(num_layers=2)).eval()
    with torch.no_grad():
        assert torch.equal(again(image), small(image))
