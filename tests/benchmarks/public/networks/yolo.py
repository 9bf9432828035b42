"""YOLOv8 and YOLO11 of size n, with the decoding of their boxes (Ultralytics' layout)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5) -> None:
        super().__init__()
        c_ = int(c2 * e)
        self.cv1, self.cv2 = Conv(c1, c_, 3), Conv(c_, c2, 3)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C2f(nn.Module):
    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, e: float = 0.5
    ) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1, self.cv2 = Conv(c1, 2 * self.c), Conv((2 + n) * self.c, c2)
        self.m = nn.ModuleList(Bottleneck(self.c, self.c, shortcut, 1.0) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class C3k(nn.Module):
    def __init__(self, c1: int, c2: int, n: int = 2) -> None:
        super().__init__()
        c_ = c2 // 2
        self.cv1, self.cv2, self.cv3 = Conv(c1, c_), Conv(c1, c_), Conv(2 * c_, c2)
        self.m = nn.Sequential(*(Bottleneck(c_, c_, True, 1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3k2(C2f):
    """Divides by numbers in its code, as the public one does for files."""

    def __init__(self, c1: int, c2: int, c3k: bool = False, e: float = 0.5) -> None:
        super().__init__(c1, c2, 1, True, e)
        inner = C3k(self.c, self.c) if c3k else Bottleneck(self.c, self.c)
        self.m = nn.ModuleList([inner])

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).split((self.c, self.c), 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class SPPF(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2), Conv(c1 // 2 * 4, c2)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, attn_ratio: float = 0.5) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.key_dim = int(self.head_dim * attn_ratio)
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + self.key_dim * num_heads * 2, act=False)
        self.proj, self.pe = Conv(dim, dim, act=False), Conv(dim, dim, 3, g=dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        n = h * w
        qkv = self.qkv(x)
        q, k, v = qkv.view(b, self.num_heads, self.key_dim * 2 + self.head_dim, n).split(
            [self.key_dim, self.key_dim, self.head_dim], dim=2
        )
        attn = ((q.transpose(-2, -1) @ k) * self.scale).softmax(dim=-1)
        x = (v @ attn.transpose(-2, -1)).view(b, c, h, w) + self.pe(v.reshape(b, c, h, w))
        return self.proj(x)


class PSABlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn = Attention(c, c // 64)
        self.ffn = nn.Sequential(Conv(c, c * 2), Conv(c * 2, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(nn.Module):
    def __init__(self, c1: int) -> None:
        super().__init__()
        self.c = c1 // 2
        self.cv1, self.cv2 = Conv(c1, 2 * self.c), Conv(2 * self.c, c1)
        self.m = nn.Sequential(PSABlock(self.c))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).split((self.c, self.c), dim=1)
        b = self.m(b)
        return self.cv2(torch.cat((a, b), 1))


class DFL(nn.Module):
    """Means of distributions over distances."""

    def __init__(self, c1: int = 16) -> None:
        super().__init__()
        self.conv, self.c1 = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False), c1
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float).view(1, c1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, a = x.shape
        return self.conv(x.view(b, 4, self.c1, a).transpose(2, 1).softmax(1)).view(b, 4, a)


class Detect(nn.Module):
    """Boxes as (x, y, w, h) in pixels, and scores."""

    def __init__(self, nc: int, ch: tuple[int, ...], light: bool) -> None:
        super().__init__()
        self.nc, self.reg_max, self.stride = nc, 16, (8, 16, 32)
        self.no = nc + 4 * self.reg_max
        c2, c3 = max(16, ch[0] // 4, 4 * self.reg_max), max(ch[0], min(nc, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(x, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4 * self.reg_max, 1))
            for x in ch
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(self._step(x, c3, light), self._step(c3, c3, light), nn.Conv2d(c3, nc, 1))
            for x in ch
        )
        self.dfl = DFL(self.reg_max)

    @staticmethod
    def _step(c1: int, c2: int, light: bool) -> nn.Module:
        return nn.Sequential(Conv(c1, c1, 3, g=c1), Conv(c1, c2)) if light else Conv(c1, c2, 3)

    def forward(self, x: list[Tensor]) -> Tensor:
        x = [torch.cat((self.cv2[i](each), self.cv3[i](each)), 1) for i, each in enumerate(x)]
        shape = x[0].shape
        x_cat = torch.cat([xi.view(shape[0], self.no, -1) for xi in x], 2)
        box, cls = x_cat.split((self.reg_max * 4, self.nc), 1)
        anchors, strides = self._anchors(x)
        lt, rb = self.dfl(box).chunk(2, 1)
        x1y1, x2y2 = anchors.unsqueeze(0) - lt, anchors.unsqueeze(0) + rb
        dbox = torch.cat(((x1y1 + x2y2) / 2, x2y2 - x1y1), 1) * strides
        return torch.cat((dbox, cls.sigmoid()), 1)

    def _anchors(self, feats: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, strides = [], []
        for feat, stride in zip(feats, self.stride, strict=True):
            h, w = feat.shape[2:]
            sx = torch.arange(end=w, device=feat.device, dtype=feat.dtype) + 0.5
            sy = torch.arange(end=h, device=feat.device, dtype=feat.dtype) + 0.5
            sy, sx = torch.meshgrid(sy, sx, indexing="ij")
            points.append(torch.stack((sx, sy), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), stride, dtype=feat.dtype, device=feat.device))
        return torch.cat(points).transpose(0, 1), torch.cat(strides).transpose(0, 1)


class Yolo(nn.Module):
    """A backbone of five levels, a path down and one up, and the head."""

    def __init__(self, early: nn.ModuleList, late: nn.ModuleList, head: Detect) -> None:
        super().__init__()
        self.early, self.late, self.head = early, late, head
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for layer in self.early:
            x = layer(x)
            seen.append(x)
        p3, p4, p5 = seen[4], seen[6], x
        down4, down3, step4, up4, step5, up5 = self.late
        n4 = down4(torch.cat((self.up(p5), p4), 1))
        n3 = down3(torch.cat((self.up(n4), p3), 1))
        m4 = up4(torch.cat((step4(n3), n4), 1))
        m5 = up5(torch.cat((step5(m4), p5), 1))
        return self.head([n3, m4, m5])


def yolov8n() -> nn.Module:
    early = [Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C2f(32, 32, 1, True), Conv(32, 64, 3, 2)]
    early += [C2f(64, 64, 2, True), Conv(64, 128, 3, 2), C2f(128, 128, 2, True)]
    early += [Conv(128, 256, 3, 2), C2f(256, 256, 1, True), SPPF(256, 256)]
    late = [C2f(384, 128), C2f(192, 64), Conv(64, 64, 3, 2), C2f(192, 128)]
    late += [Conv(128, 128, 3, 2), C2f(384, 256)]
    head = Detect(80, (64, 128, 256), light=False)
    return Yolo(nn.ModuleList(early), nn.ModuleList(late), head)


def yolo11n() -> nn.Module:
    early = [Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), C3k2(32, 64, e=0.25), Conv(64, 64, 3, 2)]
    early += [C3k2(64, 128, e=0.25), Conv(128, 128, 3, 2), C3k2(128, 128, True)]
    early += [Conv(128, 256, 3, 2), C3k2(256, 256, True), SPPF(256, 256), C2PSA(256)]
    late = [C3k2(384, 128), C3k2(256, 64), Conv(64, 64, 3, 2), C3k2(192, 128)]
    late += [Conv(128, 128, 3, 2), C3k2(384, 256, True)]
    head = Detect(80, (64, 128, 256), light=True)
    return Yolo(nn.ModuleList(early), nn.ModuleList(late), head)
