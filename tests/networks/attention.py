"""Attention and linear layers as newer networks have them, written out in their own code."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from networks.builder import Builder, Unfitting
from networks.descriptions import Block, Shape
from networks.layers import Apply


def zero_together(builder: Builder, block: Block, width: int, *parts: nn.Module) -> None:
    """Zero the same inner channels of all heads: each part has ``width`` rows over and over."""
    chosen = builder.choose(block.zeros.filters, width)
    for part in parts:
        rows = [row for row in range(len(part.weight)) if row % width in chosen]
        part.weight.data[rows] = 0.0
        if block.zeros.bias and part.bias is not None:
            part.bias.data[rows] = 0.0


class SelfAttention(nn.Module):
    """Queries, keys and values of one layer; ``own_width`` reads the heads' width from a shape."""

    def __init__(self, channels: int, head: int, *, fused: bool, own_width: bool = False) -> None:
        super().__init__()
        self.heads, self.head, self.fused, self.own_width = 2, head, fused, own_width
        self.scale = head**-0.5
        self.qkv = nn.Linear(channels, 6 * head)
        self.proj = nn.Linear(2 * head, channels)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.heads, self.head).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        if self.fused:
            out = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        else:
            scale = query.shape[-1] ** -0.5 if self.own_width else self.scale
            out = ((query * scale) @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        back: Tensor = self.proj(out.transpose(1, 2).reshape(count, tokens, -1))
        return back


class ApartAttention(nn.Module):
    """Queries, keys and values of a layer each; as wide as the embedding, and divided as it is."""

    def __init__(self, channels: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.channels, self.fused = 2, channels, fused
        self.q, self.k, self.v = (nn.Linear(channels, channels) for _ in range(3))
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, channels = x.shape
        query, key, value = (
            layer(x).view(count, tokens, self.heads, channels // self.heads).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        if self.fused:
            out = F.scaled_dot_product_attention(query, key, value)
        else:
            weights = query @ key.transpose(-2, -1) / (self.channels // self.heads) ** 0.5
            out = weights.softmax(dim=-1) @ value
        back: Tensor = self.proj(out.transpose(1, 2).reshape(count, tokens, channels))
        return back


class MapAttention(nn.Module):
    """YOLO11's: of maps, keys half as wide as values, a depthwise convolution added to those."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads, self.value = 2, channels // 2
        self.key = max(1, self.value // 2)
        self.scale = self.key**-0.5
        self.qkv = nn.Conv2d(channels, channels + 4 * self.key, 1)
        self.local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        qkv = self.qkv(x).view(count, self.heads, 2 * self.key + self.value, height * width)
        query, key, value = qkv.split([self.key, self.key, self.value], dim=2)
        weights = ((query.transpose(-2, -1) @ key) * self.scale).softmax(dim=-1)
        out = (value @ weights.transpose(-2, -1)).view(count, channels, height, width)
        back: Tensor = self.proj(out + self.local(value.reshape(count, channels, height, width)))
        return back


def in_tokens(x: Tensor, block: nn.Module) -> Tensor:
    rows = x.flatten(2).transpose(1, 2)
    return (rows + block(rows)).transpose(1, 2).reshape(x.shape)


def even(shape: Shape) -> int:
    if shape[0] % 2 or shape[1] * shape[2] > 200:
        raise Unfitting
    return shape[0]


def attention(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    even(shape)
    head = max(1, block.channels // 2)
    kind = builder.choose("some", 3)[0] if block.activation != "relu" else 0
    made = SelfAttention(shape[0], head, fused=kind == 1, own_width=kind == 2)
    zero_together(builder, block, head, made.qkv)
    return Apply(in_tokens, made)


def attention_apart(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    channels = even(shape)
    made = ApartAttention(channels, fused=block.activation == "silu")
    zero_together(builder, block, channels // 2, made.q, made.k)
    zero_together(builder, block, channels // 2, made.v)
    return Apply(in_tokens, made)


def attention_of_maps(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    made = MapAttention(even(shape))
    keys = builder.choose(block.zeros.filters, made.key)
    values = builder.choose(block.zeros.filters, made.value)
    rows = [*keys, *(made.key + row for row in keys), *(2 * made.key + row for row in values)]
    every = [row + head * (2 * made.key + made.value) for head in (0, 1) for row in rows]
    made.qkv.weight.data[every] = made.qkv.bias.data[every] = 0.0
    return Apply(lambda x, made: x + made(x), made)


def gate_of_rows(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """Squeeze and excitation by linear layers."""
    down, up = nn.Linear(shape[0], 2 * shape[0]), nn.Linear(2 * shape[0], shape[0])
    builder.zero(down, None, block.zeros)
    builder.zero(up, None, block.zeros)

    def run(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
        count, channels, _, _ = x.size()
        gate = up(down(F.adaptive_avg_pool2d(x, 1).view(count, channels)).relu()).sigmoid()
        return x * gate.view(count, channels, 1, 1).expand_as(x)

    return Apply(run, down, up)


ATTENTION = {
    "attention": attention,
    "attention_apart": attention_apart,
    "attention_of_maps": attention_of_maps,
    "gate_of_rows": gate_of_rows,
}
