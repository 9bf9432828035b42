"""What a user's module may give: wrapped networks, arguments, and what cannot be worked on."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.models.registry import build, build_network

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of its older formats

CODE = """
import torch
from torch import nn

def plain(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 1))

class Nested:
    @staticmethod
    def build(widths, *, name=None):
        return nn.Sequential(*(nn.Linear(a, b) for a, b in zip(widths, widths[1:])))

class Answering(nn.Module):
    '''Its own __getattr__ answers for every name.'''
    def __init__(self):
        super().__init__()
        self.inner = plain()
    def __getattr__(self, name):
        return vars(self)['_modules'].get(name) or (lambda *_: name)
    def forward(self, x):
        return self.inner(x)

net = plain().train()
scripted = lambda: torch.jit.script(plain().eval())
traced = lambda: torch.jit.trace(plain().eval(), torch.zeros(1, 3, 8, 8))
exported = lambda: torch.export.export(plain().eval(), (torch.zeros(1, 3, 8, 8),))
parallel = lambda: nn.DataParallel(plain())
compiled = lambda: torch.compile(plain())
inside = lambda: nn.Sequential(torch.compile(plain()), nn.DataParallel(nn.Conv2d(2, 2, 1)))
graph = lambda: torch.fx.symbolic_trace(plain())
half = lambda: plain().half()
brain = lambda: plain().bfloat16()
wide = lambda: plain().double()
empty = lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
lazy = lambda: nn.LazyConv2d(4, 3)
meta = lambda: plain().to('meta')
needs = lambda width, depth, *, more=1: plain(width)
function = lambda: (lambda x: x)
classes = lambda: nn.Conv2d

def quantised():
    from torch.ao.nn import quantized
    return nn.Sequential(quantized.Conv2d(3, 4, 3))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module of networks in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "strange_networks.py").write_text(CODE)
    yield "strange_networks"
    sys.modules.pop("strange_networks", None)


def output(network: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        found: Tensor = network(torch.randn(1, 3, 12, 10, generator=generator))
    return found


@pytest.mark.parametrize("wrapped", ["parallel", "compiled", "graph"])
def test_a_wrapped_network_is_the_network_inside(module: str, wrapped: str) -> None:
    network = build(f"{module}:{wrapped}", 4)
    assert torch.equal(output(network), output(build(f"{module}:plain", 4)))
    assert set(network.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_wrapped_parts_are_taken_out_too(module: str) -> None:
    network = build(f"{module}:inside")
    assert [type(each) for each in network.children()] == [nn.Sequential, nn.Conv2d]


def test_arguments_of_a_factory_are_literals(module: str) -> None:
    assert build(f"{module}:plain(5)").get_parameter("0.weight").shape == (5, 3, 3, 3)
    assert build(f"{module}:plain(width=6)").get_parameter("0.weight").shape == (6, 3, 3, 3)
    network = build(f"{module}:Nested.build([3, 7, 2], name='a:b')")
    assert [each.weight.shape for each in network.children()] == [(7, 3), (2, 7)]


@pytest.mark.parametrize(
    "text", ["plain(width=int(3))", "plain(__import__('os'))", "plain(", "plain()()", "plain(**{})"]
)
def test_nothing_but_literals_is_read(module: str, text: str) -> None:
    with pytest.raises(ModelError, match=r"must be module:factory, or module:factory\(width=0.5\)"):
        build(f"{module}:{text}")


def test_a_network_that_is_there_is_copied_and_left_alone(module: str) -> None:
    network = build(f"{module}:net")
    with torch.no_grad():
        network.get_parameter("0.weight").zero_()
    original = sys.modules[module].net
    assert original.training
    assert bool((original[0].weight != 0).any())


def test_a_network_that_answers_every_name_can_be_copied(module: str) -> None:
    network = build(f"{module}:Answering")
    again = copy.deepcopy(network)
    with torch.no_grad():
        next(again.parameters()).add_(1.0)
    assert not torch.equal(output(network), output(again))
    assert type(again).__name__ == "Answering"


@pytest.mark.parametrize(("name", "kind"), [("half", "float16"), ("brain", "bfloat16")])
def test_half_precision_is_widened_without_a_change(module: str, name: str, kind: str) -> None:
    built = build_network(f"{module}:{name}", 4)
    exact = build(f"{module}:plain", 4)
    for key, value in built.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, exact.state_dict()[key].to(getattr(torch, kind)).float())
    assert built.notes == (
        f"The network is of {kind}; files are of float32, which holds the same values.",
    )


def test_double_precision_is_rounded_and_said(module: str) -> None:
    built = build_network(f"{module}:wide")
    assert "float64" in built.notes[0]
    assert built.network.get_parameter("0.weight").dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scripted", "is TorchScript, whose layers cannot be cut; give the PyTorch network that"),
        ("traced", "is TorchScript, whose layers cannot be cut"),
        ("exported", "is an ExportedProgram, whose layers cannot be cut"),
        ("quantised", "is quantised (Conv2d), whose layers cannot be cut; give the float network"),
        ("empty", "has no convolution and no linear layer"),
        ("lazy", "has lazy layers without weights"),
        ("meta", "is on the device meta"),
        ("function", "must return a torch.nn.Module (got function)"),
        ("classes", "must return a torch.nn.Module (got the class Conv2d)"),
        ("needs", "needs arguments; give them as strange_networks:needs(width=..., depth=...)"),
        ("net()", "a Sequential, which cannot be called"),
        ("absent", "has no callable 'absent'; it has plain, Nested, Answering, net"),
    ],
)
def test_what_cannot_be_worked_on_is_told_by_its_kind(module: str, name: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(f"{module}:{name}")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_graph_that_a_run_left_behind_is_let_go(module: str) -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 1)
            self.kept: Any = self.layer(torch.zeros(1, 3, 4, 4))

    sys.modules[module] = type(sys)(module)
    sys.modules[module].caching = Caching  # type: ignore[attr-defined]
    copied = copy.deepcopy(build(f"{module}:caching"))
    assert torch.equal(copied.kept[0, :, 0, 0], copied.layer.bias)
