"""int8 with layers in float: which go together, which cost most, and how many stay."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolchain.cli import run as run_cli
from toolchain.exporting.extra import lacking
from toolchain.exporting.units import Operator, Unit, units_of, weights_digest
from toolchain.lineage.mixing import mixed_link
from toolchain.recipe import default_recipe, override
from toolchain.records.certificate import NAME, LayerNoise, Link, read_certificate
from toolchain.records.parity import Parity, ParityCase, Spot
from toolchain.workflows.pipeline import Job, run_shrink


class Fragile(nn.Module):
    """One channel between two layers is a thousand times as wide as the others.

    With one step for all of them nothing is left of the others: both layers must stay in float.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(6))
        self.wide, self.narrow = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.wide.weight[0] *= 1000
            self.narrow.weight[:, 0] *= 1e-4

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        for layer in self.body:
            image = torch.relu(layer(image))
        return torch.as_tensor(self.head(torch.relu(self.narrow(self.wide(image)))))


def fragile() -> nn.Module:
    """For the command line: test_mixing:fragile."""
    torch.manual_seed(3)
    return Fragile()


def test_what_shares_weights_or_follows_goes_together() -> None:
    operators = [
        Operator("pad", ("image",), ("p",), None),
        Operator("conv 1", ("p", "w1"), ("a",), "w1"),
        Operator("relu", ("a",), ("b",), None),
        Operator("conv 2", ("b", "w2"), ("c",), "w2"),
        Operator("add", ("b", "c"), ("d",), None),
        Operator("conv 1 again", ("d", "w1"), ("e",), "w1"),
        Operator("join", ("e", "c"), ("f",), None),
    ]
    assert units_of(operators) == (
        Unit("w1", ("conv 1", "relu", "conv 1 again", "join")),
        Unit("w2", ("conv 2", "add")),
    )


def test_a_digest_of_weights_knows_neither_order_of_axes_nor_signs_of_zeros() -> None:
    weights = torch.arange(24.0).reshape(2, 3, 4)
    assert weights_digest(weights.numpy()) == weights_digest(weights.permute(2, 0, 1).numpy())
    assert weights_digest(weights.numpy()) != weights_digest((weights + 1).numpy())
    zeros = torch.tensor([0.0, -0.0, 1.0])
    assert weights_digest(zeros.numpy()) == weights_digest(zeros.flip(0).numpy())


class Pretended:
    """Eight layers of one operator each, and one that belongs to none."""

    operators = ("pad", *"abcdefgh")
    units = tuple(Unit(name.upper(), (name,)) for name in "abcdefgh")

    def quantised(self, operators: Collection[str]) -> bytes:
        """Return what is in int8."""
        return "".join(operators).encode()


def links_that_hold(holds: Callable[[bytes], bool], seen: list[tuple[bytes, str]]) -> object:
    def make(data: bytes, what: str) -> Link:
        seen.append((data, what))
        spot = Spot("output", None, None, 0.01 if holds(data) else 0.5, 1.0)
        parity = Parity("a -> b", "mean", 0.05, (ParityCase("noise", (1,), "0", spot, spot),))
        return Link("a", "b", "0", "1", "here", "approximate", parity)

    return make


NOISES = tuple(LayerNoise(name, 0.1, in_float=False) for name in "CAHBDEFG")


@pytest.mark.parametrize(
    ("holds", "tried"),
    [
        (lambda data: True, [b"padabcdefgh"]),
        (lambda data: b"c" not in data, [b"padabcdefgh", b"padabdefgh"]),
        (lambda data: b"a" not in data[3:], [b"padabcdefgh", b"padabdefgh", b"padbdefgh"]),
        (lambda data: False, [b"padabcdefgh", b"padabdefgh", b"padbdefgh", b"paddefg"]),
    ],
)
def test_as_few_as_hold_stay_in_float(holds: Callable[[bytes], bool], tried: list[bytes]) -> None:
    seen: list[tuple[bytes, str]] = []
    make = links_that_hold(holds, seen)
    link = mixed_link(Pretended(), make, lambda: NOISES)  # type: ignore[arg-type]
    assert [data for data, _ in seen] == tried
    assert link.passed == holds(tried[-1])
    if len(tried) == 1:
        assert link.mixed_precision is None
        return
    assert link.mixed_precision is not None
    count = {2: 1, 3: 2, 4: 4}[len(tried)]
    found = link.mixed_precision
    assert [layer.layer for layer in found.layers if layer.in_float] == list("CAHB"[:count])
    assert [attempt.in_float for attempt in found.attempts] == [0, 1, 2, 4][: len(tried)]
    assert [not attempt.problems for attempt in found.attempts][:-1] == [False] * (len(tried) - 1)
    assert seen[-1][1] == f"{count} of 8 layers in float"


def shrunk(formats: tuple[str, ...], out: Path) -> None:
    recipe = override(
        default_recipe("test_mixing:fragile"),
        {"input.height": 32, "input.width": 48, "prune.rate": 0.0},
    )
    run_shrink(Job(recipe, out, formats=formats))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "model_int8.onnx",
        pytest.param(
            "model_int8.tflite",
            marks=[
                pytest.mark.skipif(lacking() is not None, reason=f"{lacking()}"),
                pytest.mark.filterwarnings("ignore"),
            ],
        ),
    ],
)
def test_the_layers_that_int8_ruins_are_found_and_kept(
    name: str, tmp_path: Path, quick_latency: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    shrunk(("onnx", "tflite", "int8") if name.endswith("tflite") else ("onnx", "int8"), tmp_path)
    certificate = read_certificate(tmp_path / NAME)
    assert certificate.is_complete, certificate.failures
    (link,) = [link for link in certificate.links if link.after == name]
    assert link.mixed_precision is not None
    mixed = link.mixed_precision
    worst = {layer.layer for layer in mixed.layers[:3]}  # the head is one of TFLite's
    assert {"wide.weight", "narrow.weight"} <= worst
    assert [attempt.in_float for attempt in mixed.attempts][-1] <= 3
    whole, *_, last = mixed.attempts
    assert whole.mean is not None
    assert last.mean is not None
    assert last.mean < 0.05 < whole.mean
    for page in ("report.md", "report.html"):
        assert "wide" in (tmp_path / page).read_text()
    assert run_cli(["verify", str(tmp_path)]) == 0
