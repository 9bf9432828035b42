"""YOLOX-nano, with the decoding of its boxes (Megvii's layout)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.benchmarks.public.networks.parts import conv_bn


def base(inp: int, out: int, k: int, s: int = 1, groups: int = 1) -> nn.Sequential:
    return conv_bn(inp, out, k, s, nn.SiLU, groups, 1e-3)


def dw(inp: int, out: int, k: int, s: int = 1) -> nn.Sequential:
    return nn.Sequential(base(inp, inp, k, s, inp), base(inp, out, 1))


class Focus(nn.Module):
    """Puts the four pixels of a square into channels."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv = base(12, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        top_left, bottom_left = x[..., ::2, ::2], x[..., 1::2, ::2]
        top_right, bottom_right = x[..., ::2, 1::2], x[..., 1::2, 1::2]
        return self.conv(torch.cat((top_left, bottom_left, top_right, bottom_right), dim=1))


class Bottleneck(nn.Module):
    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1, self.conv2, self.use_add = base(width, width, 1), dw(width, width, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return y + x if self.use_add else y


class Csp(nn.Module):
    def __init__(self, inp: int, out: int, n: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        half = out // 2
        self.conv1, self.conv2, self.conv3 = (
            base(inp, half, 1),
            base(inp, half, 1),
            base(2 * half, out, 1),
        )
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))


class Spp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.conv2 = base(width, half, 1), base(4 * half, width, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(m(x) for m in self.m)], dim=1))


class YoloxHead(nn.Module):
    def __init__(self, classes: int = 80, width: int = 64) -> None:
        super().__init__()
        self.strides = (8, 16, 32)
        self.stems = nn.ModuleList(base(inp, width, 1) for inp in (64, 128, 256))
        self.cls_convs, self.reg_convs = (
            nn.ModuleList(nn.Sequential(dw(width, width, 3), dw(width, width, 3)) for _ in range(3))
            for _ in range(2)
        )
        self.cls_preds, self.reg_preds, self.obj_preds = (
            nn.ModuleList(nn.Conv2d(width, n, 1) for _ in range(3)) for n in (classes, 4, 1)
        )
        for pred in self.reg_preds:  # sizes are exponentials of it, which must stay numbers
            nn.init.normal_(pred.weight, std=0.002)

    def forward(self, xin: list[Tensor]) -> Tensor:
        outputs = []
        for at, x in enumerate(xin):
            x = self.stems[at](x)
            reg_feat = self.reg_convs[at](x)
            reg, obj = self.reg_preds[at](reg_feat), self.obj_preds[at](reg_feat)
            cls = self.cls_preds[at](self.cls_convs[at](x))
            outputs.append(torch.cat([reg, obj.sigmoid(), cls.sigmoid()], 1))
        hw = [x.shape[-2:] for x in outputs]
        found = torch.cat([x.flatten(start_dim=2) for x in outputs], dim=2).permute(0, 2, 1)
        return self._decode(found, hw)

    def _decode(self, outputs: Tensor, hw: list[torch.Size]) -> Tensor:
        grids, strides = [], []
        for (h, w), stride in zip(hw, self.strides, strict=True):
            yv, xv = torch.meshgrid([torch.arange(h), torch.arange(w)], indexing="ij")
            grid = torch.stack((xv, yv), 2).view(1, -1, 2)
            grids.append(grid)
            strides.append(torch.full((*grid.shape[:2], 1), stride))
        grid, step = (
            torch.cat(grids, dim=1).to(outputs.dtype),
            torch.cat(strides, dim=1).to(outputs.dtype),
        )
        places, sizes = (outputs[..., 0:2] + grid) * step, torch.exp(outputs[..., 2:4]) * step
        return torch.cat([places, sizes, outputs[..., 4:]], dim=-1)


class YoloxNano(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Focus(16)
        self.dark2 = nn.Sequential(dw(16, 32, 3, 2), Csp(32, 32, 1, True))
        self.dark3 = nn.Sequential(dw(32, 64, 3, 2), Csp(64, 64, 3, True))
        self.dark4 = nn.Sequential(dw(64, 128, 3, 2), Csp(128, 128, 3, True))
        self.dark5 = nn.Sequential(dw(128, 256, 3, 2), Spp(256), Csp(256, 256))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0, self.reduce_conv1 = base(256, 128, 1), base(128, 64, 1)
        self.C3_p4, self.C3_p3, self.C3_n3, self.C3_n4 = (
            Csp(256, 128),
            Csp(128, 64),
            Csp(128, 128),
            Csp(256, 256),
        )
        self.bu_conv2, self.bu_conv1 = dw(64, 64, 3, 2), dw(128, 128, 3, 2)
        self.head = YoloxHead()

    def forward(self, x: Tensor) -> Tensor:
        x2 = self.dark3(self.dark2(self.stem(x)))
        x1 = self.dark4(x2)
        x0 = self.dark5(x1)
        fpn_out0 = self.lateral_conv0(x0)
        f_out0 = self.C3_p4(torch.cat([self.upsample(fpn_out0), x1], 1))
        fpn_out1 = self.reduce_conv1(f_out0)
        pan_out2 = self.C3_p3(torch.cat([self.upsample(fpn_out1), x2], 1))
        pan_out1 = self.C3_n3(torch.cat([self.bu_conv2(pan_out2), fpn_out1], 1))
        pan_out0 = self.C3_n4(torch.cat([self.bu_conv1(pan_out1), fpn_out0], 1))
        return self.head([pan_out2, pan_out1, pan_out0])
