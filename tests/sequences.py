"""Small networks of sequences and tokens, each for a picture (1, 1, 8, 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]


class Line(nn.Module):
    """Text in a line, as CRNN reads it: time first, states flattened for the layer after them."""

    def __init__(self, layer: Layer = nn.LSTM, both: bool = True) -> None:
        super().__init__()
        self.columns = nn.Conv2d(1, 6, 3, (4, 1), 1)
        self.layer = layer(12, 10, bidirectional=both)
        self.last = nn.Linear(20 if both else 10, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, W) -> (W, 1, 5)."""
        states, _ = self.layer(self.columns(x).flatten(1, 2).permute(2, 0, 1))
        steps, sequences, width = states.shape
        out: Tensor = self.last(states.view(steps * sequences, width))
        return out.view(steps, sequences, -1)


class Last(nn.Module):
    """A classifier by the last states, and all of them."""

    def __init__(self, layer: Layer, both: bool) -> None:
        super().__init__()
        self.columns = nn.Conv2d(1, 6, 3, (4, 1), 1)
        self.layer = layer(12, 10, num_layers=2, bidirectional=both, batch_first=True)
        self.last = nn.Linear(20 if both else 10, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, 8, W) -> (1, 5), (1, W, states)."""
        states, last = self.layer(self.columns(x).flatten(1, 2).transpose(1, 2))
        last = last[0] if isinstance(last, tuple) else last
        ways = last[-2:] if self.layer.bidirectional else last[-1:]
        return self.last(torch.cat(list(ways), 1)), states


class Started(nn.Module):
    """A layer whose first states are learned, and computed."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = nn.Conv2d(1, 6, 3, (4, 1), 1)
        self.layer, self.cell = (
            nn.LSTM(12, 10, batch_first=True),
            nn.Parameter(torch.randn(1, 1, 10)),
        )
        self.both = nn.GRU(10, 10, batch_first=True, bidirectional=True)
        self.hidden, self.ways = nn.Linear(12, 10), nn.Linear(12, 20)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, W) -> (1, W, 20)."""
        x = self.columns(x).flatten(1, 2).transpose(1, 2)
        states, _ = self.layer(x, (self.hidden(x.mean(1)).unsqueeze(0), self.cell))
        ways = self.ways(x.amax(1)).view(1, 2, 10).transpose(0, 1).contiguous()
        out: Tensor = self.both(states, ways)[0]
        return out


class Rows(nn.Module):
    """Each row of a picture is a sequence, all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.map = nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(12, 3, 1)
        self.layer = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, H, W) -> (1, 3, H, W), (1, 12)."""
        x = self.features(x)
        batch, channels, high, wide = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch * high, wide, channels)
        states, (last, _) = self.layer(x)
        states = states.reshape(batch, high, wide, -1).permute(0, 3, 1, 2)
        return self.map(states), last.transpose(0, 1).reshape(batch, high, -1).mean(1)


class Packed(nn.Module):
    """Attention as ViT packs it: queries, keys and values in one, taken apart by heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.packed = nn.Conv2d(1, 16, 2, 2), nn.Linear(16, 48)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 5)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        batch, tokens, width = x.shape
        packed = self.packed(x).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.last(self.norm(mixed.transpose(1, 2).reshape(batch, tokens, width)))
        return out[:, 0]


class Encoder(nn.Module):
    """PyTorch's own encoder, tokens first or the batch, the mean of all tokens at its end."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, self.patches = first, nn.Conv2d(1, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, activation="gelu", batch_first=first, norm_first=first
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 5)."""
        x = self.patches(x).flatten(2)
        x = self.layers(x.transpose(1, 2) if self.first else x.permute(2, 0, 1))
        out: Tensor = self.last(x.mean(1 if self.first else 0))
        return out


class Weights(nn.Module):
    """PyTorch's attention with the weights that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 2, 2)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, 8, 12) -> (1, 24, 16), (1, 24, 24)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        out: tuple[Tensor, Tensor] = self.attention(x, x, x)
        return out


class Windows(nn.Module):
    """Attention within windows of 4x4, shifted by two, as Swin has it."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.packed = nn.Conv2d(1, 8, 1), nn.Linear(8, 24)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 8, 8, 12)."""
        x = self.features(x).permute(0, 2, 3, 1)
        batch, high, wide, width = x.shape
        x = torch.roll(x, (-2, -2), (1, 2)).view(batch, high // 4, 4, wide // 4, 4, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, width)
        packed = self.packed(x).reshape(len(x), 16, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        weights = (query @ key.transpose(-2, -1) + self.bias).softmax(-1)
        x = (weights @ value).transpose(1, 2).reshape(len(x), 16, width)
        x = x.view(batch, high // 4, wide // 4, 4, 4, width).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(batch, high, wide, width), (2, 2), (1, 2))
        return x.permute(0, 3, 1, 2)


class OneAxis(nn.Module):
    """Sums, means and the largest along one axis, of the batch's own too."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 6, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(1, 1, 8, 12) -> four of one axis less."""
        x = self.features(x)
        return x.mean(1), x.sum(2), x.amax(3), x[0].amax(0)


class Focus(nn.Module):
    """Every second row and column, four times over, as YOLOX's stem takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.stem = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(16, 6, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 6, 4, 6)."""
        x = self.features(x)
        parts = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.stem(torch.cat(parts, 1))
        return out
