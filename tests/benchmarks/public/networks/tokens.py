"""Layers over the last axis: ConvNeXt-atto, MobileViT-XXS (timm's layouts), and ViT-Tiny."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import conv_bn


class LayerNorm2d(nn.LayerNorm):
    """Over channels, wherever they are."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """With convolutions of one pixel, as the smallest is published."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim, eps=1e-6)
        self.fc1, self.act, self.fc2 = (
            nn.Conv2d(dim, 4 * dim, 1),
            nn.GELU(),
            nn.Conv2d(4 * dim, dim, 1),
        )
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.fc2(self.act(self.fc1(self.norm(self.conv_dw(x)))))
        x = x.mul(self.gamma.reshape(1, -1, 1, 1))
        return x + shortcut


class ConvNeXtLinearBlock(nn.Module):
    """With linear layers on the last axis, as larger ones are published."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = (
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
        )
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        inputs = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        return inputs + x


class ConvNeXt(nn.Module):
    def __init__(self, block: type[nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 40, 4, 4), LayerNorm2d(40, eps=1e-6)]
        inp = 40
        for dim, depth in ((40, 2), (80, 2), (160, 6), (320, 2)):
            if dim != inp:
                layers += [LayerNorm2d(inp, eps=1e-6), nn.Conv2d(inp, dim, 2, 2)]
            layers += [block(dim) for _ in range(depth)]
            inp = dim
        self.features = nn.Sequential(*layers)
        self.norm, self.head = nn.LayerNorm(inp, eps=1e-6), nn.Linear(inp, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.head(self.norm(x.mean([-2, -1])))


def convnext_atto() -> nn.Module:
    return ConvNeXt(ConvNeXtBlock)


def convnext_atto_linear() -> nn.Module:
    return ConvNeXt(ConvNeXtLinearBlock)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.fused = num_heads, dim // num_heads, fused
        self.scale = self.head_dim**-0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            q = q * self.scale
            attn = (q @ k.transpose(-2, -1)).softmax(dim=-1)
            x = attn @ v
        x = x.transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, ratio: int, act: nn.Module, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, fused)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), act, nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, dim: int = 192, depth: int = 12, heads: int = 3, size: int = 224) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 16, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // 16) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 4, nn.GELU(), True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return self.head(x[:, 0])


class MobileVitBlock(nn.Module):
    def __init__(self, inp: int, dim: int, depth: int) -> None:
        super().__init__()
        self.conv_kxk, self.conv_1x1 = (
            conv_bn(inp, inp, 3, act=nn.SiLU),
            nn.Conv2d(inp, dim, 1, bias=False),
        )
        self.transformer = nn.Sequential(
            *(Block(dim, 4, 2, nn.SiLU(), False) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_proj = conv_bn(dim, inp, 1, act=nn.SiLU)
        self.conv_fusion = conv_bn(2 * inp, inp, 3, act=nn.SiLU)
        self.patch_size = 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut, p = x, self.patch_size
        x = self.conv_1x1(self.conv_kxk(x))
        B, C, H, W = x.shape
        n_h, n_w = math.ceil(H / p), math.ceil(W / p)
        if (n_h * p, n_w * p) != (H, W):
            x = F.interpolate(x, size=(n_h * p, n_w * p), mode="bilinear", align_corners=False)
        x = x.reshape(B * C * n_h, p, n_w, p).transpose(1, 2)
        x = x.reshape(B, C, n_h * n_w, p * p).transpose(1, 3).reshape(B * p * p, n_h * n_w, -1)
        x = self.norm(self.transformer(x))
        x = x.contiguous().view(B, p * p, n_h * n_w, -1)
        x = x.transpose(1, 3).reshape(B * C * n_h, n_w, p, p)
        x = x.transpose(1, 2).reshape(B, C, n_h * p, n_w * p)
        if (n_h * p, n_w * p) != (H, W):
            x = F.interpolate(x, size=(H, W), mode="bilinear", align_corners=False)
        return self.conv_fusion(torch.cat((shortcut, self.conv_proj(x)), dim=1))


class Inverted(nn.Module):
    def __init__(self, inp: int, out: int, s: int) -> None:
        super().__init__()
        wide = 2 * inp
        self.block = nn.Sequential(
            conv_bn(inp, wide, 1, act=nn.SiLU),
            conv_bn(wide, wide, 3, s, nn.SiLU, groups=wide),
            conv_bn(wide, out, 1, act=None),
        )
        self.add = s == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + x if self.add else self.block(x)


def mobilevit_xxs() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 16, 3, 2, nn.SiLU),
        Inverted(16, 16, 1),
        *(Inverted(inp, 24, s) for inp, s in ((16, 2), (24, 1), (24, 1))),
        *(Inverted(24, 48, 2), MobileVitBlock(48, 64, 2)),
        *(Inverted(48, 64, 2), MobileVitBlock(64, 80, 4)),
        *(Inverted(64, 80, 2), MobileVitBlock(80, 96, 3)),
        conv_bn(80, 320, 1, act=nn.SiLU),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, 1000)),
    )
