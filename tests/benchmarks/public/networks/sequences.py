"""Text in a line, words in a sound: CRNN and BC-ResNet-1."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BidirectionalLstm(nn.Module):
    def __init__(self, inp: int, hidden: int, out: int) -> None:
        super().__init__()
        self.rnn, self.embedding = (
            nn.LSTM(inp, hidden, bidirectional=True),
            nn.Linear(hidden * 2, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        recurrent, _ = self.rnn(x)
        T, b, h = recurrent.size()
        output = self.embedding(recurrent.view(T * b, h))
        return output.view(T, b, -1)


class Crnn(nn.Module):
    def __init__(self, classes: int = 37, hidden: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inp = 1
        for at, out in enumerate((64, 128, 256, 256, 512, 512, 512)):
            layers.append(nn.Conv2d(inp, out, 2 if at == 6 else 3, 1, 0 if at == 6 else 1))
            layers += [nn.BatchNorm2d(out)] if at in (2, 4, 6) else []
            layers.append(nn.ReLU(True))
            if at in (0, 1):
                layers.append(nn.MaxPool2d(2, 2))
            if at in (3, 5):
                layers.append(nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
            inp = out
        self.cnn = nn.Sequential(*layers)
        self.rnn = nn.Sequential(
            BidirectionalLstm(512, hidden, hidden), BidirectionalLstm(hidden, hidden, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x)
        _, _, h, _ = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2)
        conv = conv.permute(2, 0, 1)
        return self.rnn(conv)


class SubSpectralNorm(nn.Module):
    """Batch norm of each channel's bands of frequencies on their own."""

    def __init__(self, features: int, groups: int = 5) -> None:
        super().__init__()
        self.spec_groups, self.ssnorm = groups, nn.BatchNorm2d(features * groups)

    def forward(self, x: Tensor) -> Tensor:
        b, c, f, t = x.size()
        x = x.contiguous().view(b, c * self.spec_groups, f // self.spec_groups, t)
        x = self.ssnorm(x)
        return x.contiguous().view(b, c, f, t)


class BcResBlock(nn.Module):
    def __init__(self, inp: int, out: int, stage: int, s: int) -> None:
        super().__init__()
        self.transition_block, d = inp != out, 2**stage
        layers: list[nn.Module] = []
        if self.transition_block:
            layers = [nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]
        layers.append(nn.Conv2d(out, out, (3, 1), (s, 1), (1, 0), groups=out, bias=False))
        self.f2 = nn.Sequential(*layers, SubSpectralNorm(out))
        self.avg_gpool = nn.AdaptiveAvgPool2d((1, None))
        self.f1 = nn.Sequential(
            nn.Conv2d(out, out, (1, 3), 1, (0, d), (1, d), out, bias=False),
            *(
                nn.BatchNorm2d(out),
                nn.SiLU(True),
                nn.Conv2d(out, out, 1, bias=False),
                nn.Dropout2d(0.1),
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        aux = self.f2(x)
        x = self.f1(self.avg_gpool(aux)) + aux
        if not self.transition_block:
            x = x + shortcut
        return torch.relu(x)


class BcResNet(nn.Module):
    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        self.cnn_head = nn.Sequential(
            nn.Conv2d(1, 16, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)
        )
        blocks, inp = [], 16
        for stage, (out, depth) in enumerate(((8, 2), (12, 2), (16, 4), (20, 4))):
            for at in range(depth):
                blocks.append(BcResBlock(inp, out, stage, 2 if stage in (1, 2) and not at else 1))
                inp = out
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Conv2d(20, 20, 5, bias=False, groups=20, padding=(0, 2)),
            *(nn.Conv2d(20, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True)),
            *(nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(32, classes, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.classifier(self.blocks(self.cnn_head(x)))
        return x.view(-1, x.shape[1])
