"""Other sizes and batches of what a network is called with, and whether it runs on them."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import in_one_line
from toolchain.models.watching import OperatorMode

Example = tuple[Tensor, ...]

LARGEST_OPERATOR = 256 * 2**20
"""Bytes that the tensors of one operator may take at a size that nobody asked for, in float32; or
twice of what they take at the size that was asked for, if that is more. A proof holds several such
operators' tensors at a time, and in float64."""


@dataclass(frozen=True)
class Trial:
    """How a network took an example."""

    runs: bool
    reason: str = ""
    """Why it does not, or was not tried."""
    too_large: bool = False


def as_example(example: Tensor | Example) -> Example:
    """Return an input, or several, as a tuple."""
    return (example,) if isinstance(example, Tensor) else example


def image_size(example: Sequence[Tensor]) -> tuple[int, int] | None:
    """Return height and width of the first image among the tensors; None without one."""
    for tensor in example:
        if tensor.ndim == 4:
            return int(tensor.shape[2]), int(tensor.shape[3])
    return None


def resized(
    example: Sequence[Tensor], size: tuple[int, int] | None = None, batch: int = 1
) -> Example:
    """Return zeros like ``example`` whose images have another size; those of the first's size.

    A batch of 1 becomes one of ``batch``, in every tensor.
    """
    own = image_size(example)
    found = []
    for tensor in example:
        shape = list(tensor.shape)
        if size is not None and len(shape) == 4 and tuple(shape[2:]) == own:
            shape[2:] = size
        if batch > 1 and shape and shape[0] == 1:
            shape[0] = batch
        same = shape == list(tensor.shape)
        found.append(tensor if same else _filled(tensor, shape))
    return tuple(found)


def _filled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return zeros; what is no float keeps its values where only the batch grows."""
    if not tensor.is_floating_point() and list(tensor.shape[1:]) == list(shape[1:]):
        return tensor.expand(*shape).clone()
    return tensor.new_zeros(shape)


def near_sizes(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return two sizes about as large: one divisible by what both sides are (up to 32), one odd."""
    step = math.gcd(height, width, 32)
    higher = height + step * max(1, round(height / 4 / step))
    narrower = max(step, width - step * round(width / 4 / step))
    return (higher, narrower), ((height * 17 // 16) | 1, (width * 9 // 8) | 1)


def try_on(network: nn.Module, example: Example, asked: Example | None = None) -> Trial:
    """Run a copy of ``network`` on ``example``, if that takes not much more than ``asked``.

    Without ``asked`` it is run whatever it takes.
    """
    if asked is not None and not _is_affordable(network, example, asked):
        shape = "x".join(map(str, example[0].shape))
        return Trial(False, f"{shape} would take too much memory", too_large=True)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            copy.deepcopy(network)(*example)
    except Exception as error:  # a stranger's code may raise anything
        return Trial(False, in_one_line(error))
    return Trial(True)


def _is_affordable(network: nn.Module, example: Example, asked: Example) -> bool:
    ratio = _values(example) / max(1, _values(asked))
    if ratio <= 1:
        return True
    watcher = _Largest()
    with torch.random.fork_rng(devices=[]), torch.no_grad(), watcher:
        copy.deepcopy(network)(*asked)
    most = max(LARGEST_OPERATOR, 2 * watcher.largest)
    needed = watcher.largest * ratio**2  # every pair of positions, at the worst
    if needed > most:
        needed = largest_operator(network, example) or needed
    return needed <= most


def _values(example: Example) -> int:
    return sum(tensor.numel() for tensor in example)


def largest_operator(network: nn.Module, example: Example) -> int | None:
    """Return the bytes of what one operator reads and writes, the largest; None: cannot be told.

    No memory is taken: the run is on shapes alone.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes a second

    watcher = _Largest()
    try:
        fake, copied = FakeTensorMode(allow_non_fake_inputs=True), copy.deepcopy(network)
        with _silent(), torch.random.fork_rng(devices=[]), torch.no_grad(), fake, watcher:
            copied(*(fake.from_tensor(tensor) for tensor in example))
    except Exception:  # a stranger's code may raise anything
        return None
    return watcher.largest


def smallest_map(network: nn.Module, example: Example) -> int:
    """Return the shortest side, in cells, of all maps (N, C, H, W) of a run; 0: it does not run."""
    watcher, copied = _Smallest(), copy.deepcopy(network)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), watcher:
            copied(*example)
    except Exception:  # a stranger's code may raise anything
        return 0
    return watcher.side


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """PyTorch logs what does not run on shapes alone."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


class _Smallest(OperatorMode):
    def __init__(self) -> None:
        super().__init__()
        self.side = sys.maxsize

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.ndim == 4:
                self.side = min(self.side, *leaf.shape[2:])
        return out


class _Largest(OperatorMode):
    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = {
            id(leaf): leaf.numel() * leaf.element_size()
            for leaf in tree_leaves((args, kwargs, out))
            if isinstance(leaf, Tensor)
        }
        hidden = _scores(args) if "scaled_dot_product" in func.overloadpacket.__name__ else 0
        self.largest = max(self.largest, sum(sizes.values()) + hidden)
        return out


def _scores(args: tuple[Any, ...]) -> int:
    """Return the bytes of an attention's scores, before and after softmax, where one is made."""
    query, key = args[0], args[1]
    return int(2 * query.shape[:-1].numel() * key.shape[-2] * query.element_size())
