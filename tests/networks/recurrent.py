"""Recurrent layers along the width of a value, some of whose units are dead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
DEAD = (1, 3)


def kill(module: nn.RNNBase, units: tuple[int, ...], suffix: str = "") -> None:
    """Zero all rows of some units, in all layers and directions, or in those of a suffix."""
    size = module.hidden_size
    rows = [unit + gate * size for unit in units for gate in range(GATES[type(module)])]
    for name, parameter in module.named_parameters():
        if name.endswith(suffix) and "_hr_" not in name:
            parameter.data[rows] = 0.0


class Recurrent(nn.Module):
    """A sequence of columns; what it gives is a map of one row."""

    def __init__(
        self,
        kind: type[nn.RNNBase],
        channels: int,
        *,
        state: str = "none",
        dead: str | None = "",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.layer = kind(channels, 5, **settings)
        self.state, self.batch_first = state, self.layer.batch_first
        if dead is not None:
            kill(self.layer, DEAD, dead)

    def forward(self, x: Tensor) -> Tensor:
        columns = x.mean(dim=2)
        columns = columns.transpose(1, 2) if self.batch_first else columns.permute(2, 0, 1)
        if self.state == "given":
            out, _ = self.layer(columns, torch.ones(1, x.shape[0], 5, dtype=x.dtype))
        else:
            out, last = self.layer(columns)
        if self.state == "read":
            last = last[0] if isinstance(last, tuple) else last
            return last.transpose(0, 1).flatten(1)[:, :, None, None]
        return (out.transpose(1, 2) if self.batch_first else out.permute(1, 2, 0)).unsqueeze(2)


RECURRENT: dict[str, Callable[[int], nn.Module]] = {
    "lstm": lambda c: Recurrent(nn.LSTM, c),
    "lstm_both_ways": lambda c: Recurrent(nn.LSTM, c, bidirectional=True, batch_first=True),
    "lstm_of_two_layers": lambda c: Recurrent(nn.LSTM, c, num_layers=2),
    "lstm_one_way_dead": lambda c: Recurrent(nn.LSTM, c, bidirectional=True, dead="reverse"),
    "lstm_projected": lambda c: Recurrent(nn.LSTM, c, proj_size=2),
    "lstm_without_bias": lambda c: Recurrent(nn.LSTM, c, bias=False),
    "lstm_constant": lambda c: Recurrent(nn.LSTM, c, dead="_hh_l0"),
    "lstm_last_state": lambda c: Recurrent(nn.LSTM, c, bidirectional=True, state="read"),
    "gru": lambda c: Recurrent(nn.GRU, c, batch_first=True),
    "gru_of_two_layers": lambda c: Recurrent(nn.GRU, c, num_layers=2, bidirectional=True),
    "gru_given_state": lambda c: Recurrent(nn.GRU, c, state="given"),
    "gru_alive": lambda c: Recurrent(nn.GRU, c, dead=None),
    "rnn": lambda c: Recurrent(nn.RNN, c, nonlinearity="relu"),
}
