"""Watching operators: PyTorch's compiler is not loaded for it, and kept out where it is loaded."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from toolchain.surgery.removing import cut

WATCHED = """
import sys
import torch
from toolchain.models.watching import OperatorMode

class Names(OperatorMode):
    seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

with Names():
    torch.ones(1) + 1
assert "add" in Names.seen
print("torch._dynamo" in sys.modules)
"""


def test_watching_operators_does_not_load_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_what_is_compiled_is_cut_as_what_is_not() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    with torch.no_grad():
        plain[0].weight[0] = 0.0
    compiled = torch.compile(plain, backend="eager")
    found = cut(compiled, torch.zeros(1, 3, 12, 12)).network.state_dict()
    expected = cut(plain, torch.zeros(1, 3, 12, 12)).network.state_dict()
    assert [each.shape for each in found.values()] == [each.shape for each in expected.values()]
    assert expected["0.weight"].shape[0] == 3
