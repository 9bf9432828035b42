"""The two detectors against their papers, and networks by name.

The networks are computed a second time straight from a state dict, by functions of PyTorch alone:
nothing of the classes under test is called, and the wiring is written out by hand.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.errors import ModelError
from toolchain.models.heads import flatten_levels
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into

torch.set_num_threads(1)

STRIDES = (4, 8, 16, 32, 64, 128)
State = dict[str, Tensor]
MODELS = ["eresfd", "extd"]


def images(*size: int, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed)) * 64


def lively(name: str, seed: int = 5) -> nn.Module:
    """A network whose batch norms are not the identity, so that a forgotten one shows."""
    network = build(name, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in [
                    (module.weight, 0.3, 0.9),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 1.5),
                ]:
                    assert tensor is not None
                    tensor.uniform_(low, high, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0.05, 0.4, generator=generator)
        if name == "eresfd":
            network.get_parameter("base.m0.fpn.w1").uniform_(-0.3, 1.0, generator=generator)
    return network


# Size and shape ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("eresfd", 92_208), ("extd", 162_352)])
def test_parameters_are_those_of_the_paper(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in build(name).parameters()) == count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(64, 96), (97, 131), (61, 33), (129, 5)])
def test_one_anchor_per_cell_of_every_level(name: str, size: tuple[int, int]) -> None:
    cells = sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in STRIDES)
    with torch.no_grad():
        loc, logits = build(name)(images(*size, batch=2))
    assert loc.shape == (2, cells, 4)
    assert logits.shape == (2, cells, 2)
    assert bool(torch.isfinite(loc).all())
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", MODELS)
def test_images_of_a_batch_do_not_touch_each_other(name: str) -> None:
    network = lively(name)
    batch = images(64, 64, batch=2)
    with torch.no_grad():
        together = network(batch)
        alone = network(batch[1:])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:], b, rtol=1e-4, atol=1e-4)


# The wiring, a second time ----------------------------------------------------------------------


def norm(state: State, name: str, x: Tensor) -> Tensor:
    scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
    shift = state[f"{name}.bias"] - scale * state[f"{name}.running_mean"]
    return x * scale[:, None, None] + shift[:, None, None]


def convolve(
    state: State, name: str, x: Tensor, padding: int, stride: int = 1, groups: int = 1
) -> Tensor:
    bias = state.get(f"{name}.bias")
    return F.conv2d(x, state[f"{name}.weight"], bias, stride=stride, padding=padding, groups=groups)


def convolve_norm(state: State, name: str, at: int, x: Tensor, k: int, stride: int = 1) -> Tensor:
    """The convolution ``name.at`` with a k x k kernel and the batch norm after it."""
    y = convolve(state, f"{name}.{at}", x, k // 2, stride)
    return norm(state, f"{name}.{at + 1}", y)


def residual(state: State, name: str, x: Tensor, stride: int) -> Tensor:
    inner = convolve_norm(state, f"{name}.res_layer", 0, x, 3, stride).clamp(min=0)
    inner = convolve_norm(state, f"{name}.res_layer", 3, inner, 3)
    if f"{name}.shortcut_layer.0.weight" in state:
        x = convolve_norm(state, f"{name}.shortcut_layer", 0, x, 1, stride)
    return inner + x


def enhance(state: State, name: str, x: Tensor) -> Tensor:
    """Widths 8, 4 and 4: each branch goes on from the one before."""
    first = convolve_norm(state, f"{name}.res_branch1", 0, x, 3).clamp(min=0)
    branches = [first]
    for branch in ("res_branch2", "res_branch3"):
        y = convolve_norm(state, f"{name}.{branch}", 0, branches[-1], 3).clamp(min=0)
        branches.append(convolve_norm(state, f"{name}.{branch}", 3, y, 3).clamp(min=0))
    return torch.cat(branches, 1)


def nearest(x: Tensor, like: Tensor) -> Tensor:
    """Nearest neighbour by index: row i of H comes from row floor(i * h / H)."""
    rows = [i * x.shape[2] // like.shape[2] for i in range(like.shape[2])]
    columns = [i * x.shape[3] // like.shape[3] for i in range(like.shape[3])]
    return x[:, :, rows][:, :, :, columns]


def pyramid(state: State, c: list[Tensor]) -> list[Tensor]:
    """EResFD's separated pyramid: c5 feeds only level 4; levels 3 to 0 start over from c4."""
    raw = state["base.m0.fpn.w1"].clamp(min=0)
    first, second = raw / (raw.sum(0) + 1e-4)

    def mix(column: int, a: Tensor, b: Tensor) -> Tensor:
        x, y = first[column], second[column]
        return (x * a + y * b) / (x + y + 1e-4)

    def lateral(i: int) -> Tensor:
        return convolve_norm(state, f"base.m0.fpn.laterals.{i}.conv", 0, c[i], 1).clamp(min=0)

    def smooth(i: int, x: Tensor) -> Tensor:
        return convolve_norm(state, f"base.m0.fpn.itm.{i}.conv", 0, x, 3).clamp(min=0)

    l0, l1, l2, l3, l4 = (lateral(i) for i in range(5))
    m4 = mix(4, l4, nearest(c[5], l4))
    m3 = mix(3, l3, nearest(c[4], l3))
    m2 = mix(2, l2, nearest(m3, l2))
    m1 = mix(1, l1, nearest(m2, l1))
    m0 = mix(0, l0, nearest(m1, l0))
    return [
        m0,
        mix(5, smooth(0, m1), c[1]),
        mix(6, smooth(1, m2), c[2]),
        mix(7, smooth(2, m3), c[3]),
        mix(8, smooth(3, m4), c[4]),
        c[5],
    ]


def heads(state: State, features: list[Tensor], padding: int) -> tuple[Tensor, Tensor]:
    """Cells row by row; level 0 takes the largest of its three background scores."""
    boxes, scores = [], []
    for i, feature in enumerate(features):
        loc = convolve(state, f"loc.{i}", feature, padding)
        conf = convolve(state, f"conf.{i}", feature, padding)
        background = conf[:, 0]
        for channel in range(1, conf.shape[1] - 1):
            background = torch.maximum(background, conf[:, channel])
        for row in range(feature.shape[2]):
            for column in range(feature.shape[3]):
                boxes.append(loc[:, :, row, column])
                cell = (background[:, row, column], conf[:, -1, row, column])
                scores.append(torch.stack(cell, 1))
    return torch.stack(boxes, 1), torch.stack(scores, 1)


def eresfd(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    x = convolve_norm(state, "base.conv1", 0, image, 5, stride=4)
    x = convolve_norm(state, "base.conv2", 0, x, 3).clamp(min=0)
    x = convolve_norm(state, "base.conv3", 0, x, 3).clamp(min=0)
    x = residual(state, "base.conv4", x, 1)
    c = [x]
    for stage, blocks in zip(range(1, 6), (3, 3, 3, 2, 2), strict=True):
        for block in range(blocks):
            x = residual(state, f"base.m0.b2_{stage}.{block}", x, 2 if block == 0 else 1)
        c.append(x)
    features = [enhance(state, f"base.m0.FEM_{i}", p) for i, p in enumerate(pyramid(state, c))]
    return heads(state, features, 0)


def prelu(state: State, name: str, x: Tensor) -> Tensor:
    return x.clamp(min=0) + state[f"{name}.weight"][:, None, None] * x.clamp(max=0)


def inverted(state: State, name: str, x: Tensor, stride: int, expands: bool) -> Tensor:
    y, at = x, 0
    if expands:
        y = prelu(state, f"{name}.2", convolve_norm(state, name, 0, x, 1))
        at = 3
    y = convolve(state, f"{name}.{at}", y, 1, stride, groups=y.shape[1])
    y = prelu(state, f"{name}.{at + 2}", norm(state, f"{name}.{at + 1}", y))
    y = convolve_norm(state, name, at + 3, y, 1)
    return x + y if stride == 1 else y


def extd(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    x = prelu(state, "base.0.2", convolve_norm(state, "base.0", 0, image, 3, stride=2))
    x = inverted(state, "base.1.conv", x, 1, expands=False)
    features = []
    for _ in range(6):  # the same four blocks, six times
        for block in (2, 3, 4):
            x = inverted(state, f"base.{block}.conv", x, 1, expands=True)
        x = inverted(state, "base.5.conv", x, 2, expands=True)
        features.append(x)
    merged = [features[5]]
    for i, finer in enumerate((features[4], features[3], features[2], features[1], features[0])):
        up = F.interpolate(merged[0], finer.shape[2:], mode="bilinear", align_corners=False)
        up = convolve(state, f"upfeat.{i}.0", up, 1, groups=up.shape[1])
        up = norm(state, f"upfeat.{i}.2", convolve(state, f"upfeat.{i}.1", up, 0))
        merged.insert(0, up.clamp(min=0) + finer)
    return heads(state, merged, 1)


Reference = Callable[[State, Tensor], tuple[Tensor, Tensor]]
REFERENCES: dict[str, Reference] = {"eresfd": eresfd, "extd": extd}


def assert_agrees(network: nn.Module, reference: Reference, image: Tensor) -> None:
    """Compare in float64, where only the wiring can differ, and in float32 within 1e-5."""
    with torch.no_grad():
        precise = network.double()(image.double())
        expected = reference(dict(network.state_dict()), image.double())
        single = network.float()(image)
    for name, a, b, c in zip(("loc", "logits"), precise, expected, single, strict=True):
        scale = b.abs().max()
        assert scale > 0.1, "the outputs say nothing"
        assert float((a - b).abs().max() / scale) < 1e-10, name
        assert float((c - b).abs().max() / scale) < 1e-5, name


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(96, 64), (101, 67)])
def test_network_agrees_with_an_independent_one(name: str, size: tuple[int, int]) -> None:
    assert_agrees(lively(name), REFERENCES[name], images(*size))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("eresfd", "upstream/eresfd/eresfd_16.pth"),
        ("eresfd", "paper/eresfd/ERES.pth"),
        ("extd", "upstream/extd/EXTD_64.pth"),
    ],
)
def test_published_weights_agree_with_an_independent_network(
    shared: Path, name: str, file: str
) -> None:
    network = build(name)
    load_into(network, read_checkpoint(shared / "weights" / file), name)
    assert_agrees(network, REFERENCES[name], images(97, 66))


def test_max_out_takes_the_largest_background_and_keeps_the_order_of_cells() -> None:
    """Two cells on level 0 and one on level 1; loc counts up through channels and cells."""
    loc = [torch.arange(8.0).reshape(1, 4, 1, 2), torch.arange(4.0).reshape(1, 4, 1, 1) + 100]
    conf = [
        torch.tensor([[1.0, 9], [5, 2], [3, 4], [7, 8]]).reshape(1, 4, 1, 2),
        torch.tensor([11.0, 12]).reshape(1, 2, 1, 1),
    ]
    boxes, logits = flatten_levels(loc, conf, 3)
    assert boxes.tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7], [100, 101, 102, 103]]]
    assert logits.tolist() == [[[5, 7], [9, 8], [11, 12]]]


# Networks by name -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_weights_follow_the_seed(name: str) -> None:
    first, second, other = build(name, 3), build(name, 3), build(name, 4)
    assert not first.training
    states = [network.state_dict() for network in (first, second, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["loc.0.weight"], states[2]["loc.0.weight"])


@pytest.mark.parametrize("name", MODELS)
def test_building_leaves_the_random_state_alone(name: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    build(name, 7)
    assert torch.equal(torch.rand(3), expected)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


USER_CODE = """
import torch
from torch import nn

THREE = 3
def good():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
def nothing():
    return None
def needs_more(width):
    return nn.Identity()
def raises():
    raise ValueError("no such width")
def raises_two_lines():
    raise ValueError("first\\nsecond")
def leaves():
    raise SystemExit("usage: me")
class Network(nn.Linear):
    def __init__(self):
        super().__init__(1, 2)
        self.weight = nn.Parameter(torch.rand(2, 1))
        self.bias = None
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "users_network.py").write_text(USER_CODE)
    (tmp_path / "users_broken.py").write_text("1 / 0\n")
    (tmp_path / "users_syntax.py").write_text("def f(:\n")
    (tmp_path / "users_script.py").write_text("import sys\nsys.exit(3)\n")
    yield "users_network"
    for name in list(sys.modules):
        if name.startswith("users_"):
            del sys.modules[name]


def refusal(name: str) -> str:
    """Return the message with which ``name`` is refused; it must be one line."""
    with pytest.raises(ModelError) as caught:
        build(name)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


def test_a_factory_of_ones_own_gives_a_network_in_eval_mode(user_module: str) -> None:
    network = build(f"{user_module}:good", 1)
    assert not network.training
    assert not network.get_submodule("1").training
    again = build(f"{user_module}:good", 1).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())


def test_a_class_is_a_factory_too(user_module: str) -> None:
    torch.manual_seed(9)
    nn.Linear(1, 2)
    expected = torch.rand(2, 1)
    assert torch.equal(build(f"{user_module}:Network", 9).get_parameter("weight"), expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet", "no model 'resnet': must be one of eresfd, extd, yunet, or module:factory"),
        ("", "no model '': must be one of eresfd, extd, yunet, or module:factory"),
        ("users_network:", "no model 'users_network:': must be one of"),
        ("users_missing:f", "cannot import 'users_missing' from "),
        (":f", "cannot import '' from "),
        (".relative:f", "cannot import '.relative' from "),
        ("users_broken:f", "ZeroDivisionError: division by zero"),
        ("users_syntax:f", "SyntaxError"),
        ("users_script:f", "cannot import 'users_script' from "),
        ("users_network:absent", "module users_network has no callable 'absent'"),
        ("users_network:THREE", "module users_network has no callable 'THREE'"),
        ("users_network:raises", "users_network:raises failed to build: ValueError: no such width"),
        ("users_network:raises_two_lines", "failed to build: ValueError: first"),
        ("users_network:leaves", "users_network:leaves failed to build: SystemExit"),
        (
            "users_network:needs_more",
            "needs arguments; give them as users_network:needs_more(width=...)",
        ),
        (
            "users_network:nothing",
            "users_network:nothing must return a torch.nn.Module (got NoneType)",
        ),
    ],
)
def test_a_bad_name_is_told_in_one_line(user_module: str, name: str, words: str) -> None:
    assert words in refusal(name)
