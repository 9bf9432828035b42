"""Batches of a user's own: a tensor, a list, a DataLoader; and what of each the network takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from toolchain.errors import InputError
from toolchain.models.arguments import Arguments as Example
from toolchain.recovery.course import Batch
from toolchain.recovery.hearing import Arguments

LOOKED, KEPT_OUT = 64, 64
"""Images that channels are looked at on, and that are kept out at most."""
SHARE_OUT = 0.1
"""Of images that can be counted, what is kept out."""
SPLIT = 32
"""Images in a batch that is made of one large tensor."""


class Feed(Protocol):
    """Where batches come from."""

    @property
    def looked(self) -> Sequence[Batch]:
        """Over which channels are looked at, layers solved, and batch norm averaged."""
        ...

    @property
    def kept_out(self) -> Sequence[Batch]:
        """On which agreement is told."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of them."""
        ...

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the batches of the steps from ``first`` to ``last`` (without it)."""
        ...


class LoaderFeed:
    """A user's own batches, again and again."""

    def __init__(
        self, images: Any, example: Example, device: torch.device, kept_out: Any = None
    ) -> None:
        self._take = Taker(example, device)
        self.notes: list[str] = []
        self._images = _in_batches(images)
        self.kept_out: Sequence[Batch]
        if kept_out is not None:
            self.kept_out = tuple(_some(map(self._take, _in_batches(kept_out)), KEPT_OUT))
        elif isinstance(self._images, list):
            out = _share(self._images)
            self.kept_out = tuple(map(self._take, self._images[:out]))
            self._images = self._images[out:]
        else:
            self.kept_out = tuple(_some(map(self._take, iter(self._images)), KEPT_OUT))
            self.notes.append("The agreement is told on photos that were learnt from, too.")
        self.looked: Sequence[Batch] = tuple(_some(map(self._take, iter(self._images)), LOOKED))
        if not (self.looked and self.kept_out):
            raise InputError(
                "images gives nothing to learn from; give batches of images, 50 images at least"
                if not self.looked or kept_out is None
                else "kept_out gives nothing to look at; give batches of images"
            )
        if sum(map(size_of, self.looked)) < 2:
            raise InputError(
                "images gives one image alone to learn from; give 50 at least, that differ"
            )
        self._going: Iterator[Any] | None = None

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the next batches; where they end they begin again."""
        for _ in range(first, last):
            yield self._take(self._next())

    def _next(self) -> Any:
        for _ in range(2):
            if self._going is None:
                self._going = iter(self._images)
            for found in self._going:
                return found
            self._going = None
        raise InputError("images can be gone through once alone; give a list, or a DataLoader")


def _in_batches(images: Any) -> Any:
    """Return what batches are iterated from; a list where they can be counted."""
    if isinstance(images, Tensor):
        return list(images.split(SPLIT)) if images.ndim > 3 else _refuse(images)
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        return list(images)
    if isinstance(images, Iterable) and not isinstance(images, str | bytes | Mapping):
        return images
    return _refuse(images)


def _refuse(images: Any) -> Any:
    shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
    raise InputError(
        f"images must be a DataLoader, batches of images, or a tensor (N, C, H, W) (got {shape})"
    )


def _share(batches: list[Any]) -> int:
    """Return how many batches are kept out: a tenth, at least one; of one batch none is left."""
    if len(batches) < 2:
        raise InputError(
            "images is a single batch, of which none can be kept out; give several, or kept_out="
        )
    return max(1, round(SHARE_OUT * len(batches)))


def _some(batches: Iterable[Batch], most: int) -> Iterator[Batch]:
    """Yield the first batches, until there are enough images."""
    count = 0
    for batch in batches:
        yield batch
        count += size_of(batch)
        if count >= most:
            return


def size_of(batch: Batch) -> int:
    """Return how many images there are in a batch."""
    tensors = [leaf for leaf in tree_leaves(batch.inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    return len(tensors[0]) if tensors else 0


class Taker:
    """Takes of a user's batch what the network is called with, as its example is."""

    def __init__(self, example: Example, device: torch.device) -> None:
        self.example, self.device = example, device

    def __call__(self, batch: Any) -> Batch:
        """Return a batch on the device, in float32."""
        inputs: Arguments = tree_map(self._placed, self._inputs(batch))
        return Batch(inputs, tree_map(self._placed, batch))

    def _placed(self, leaf: Any) -> Any:
        return leaf.to(self.device) if isinstance(leaf, Tensor) else leaf

    def _inputs(self, batch: Any) -> Arguments:
        places, names = self.example.by_place, self.example.by_name
        if names:
            if not isinstance(batch, Mapping) or not set(names) <= set(batch):
                raise InputError(
                    f"a batch of images must be a dict with {', '.join(names)}, as the example is "
                    f"(got {_words(batch)})"
                )
            return (), {name: batch[name] for name in names}
        if isinstance(batch, Tensor):
            batch = (batch,)
        if isinstance(batch, Mapping):
            batch = [value for value in batch.values() if isinstance(value, Tensor)]
        if not isinstance(batch, list | tuple) or len(batch) < len(places):
            raise InputError(
                f"a batch of images must be a tensor, or begin with the {len(places)} that the "
                f"network takes (got {_words(batch)})"
                + ("; torch.as_tensor makes one of it" if hasattr(batch, "__array__") else "")
            )
        found = tuple(batch[: len(places)])
        for ours, wanted in zip(found, places, strict=True):
            if isinstance(wanted, Tensor):
                _demand_alike(ours, wanted)
        return found, {}


def _demand_alike(ours: Any, wanted: Tensor) -> None:
    if not isinstance(ours, Tensor):
        raise InputError(f"a batch of images must hold tensors (got {type(ours).__name__})")
    if ours.ndim == wanted.ndim - 1:
        raise InputError(
            f"images must give batches (got a single image {tuple(ours.shape)}); stack them, or "
            f"give a DataLoader"
        )
    if ours.ndim != wanted.ndim or (ours.ndim > 1 and ours.shape[1] != wanted.shape[1]):
        raise InputError(
            f"a batch of images has shape {tuple(ours.shape)}; the example has "
            f"{tuple(wanted.shape)}, and dimension 1, the channels, must be the same"
        )
    if ours.is_floating_point() != wanted.is_floating_point():
        raise InputError(
            f"a batch of images is of {ours.dtype}, the example of {wanted.dtype}; give what the "
            f"network is trained on, after its preprocessing"
        )


def _words(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dict with {', '.join(map(str, batch))}"
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if hasattr(batch, "__len__") else "")


Figures = Callable[[Any], Mapping[str, float]]
"""A user's own evaluation: the network -> figures by name, of which the first is to be high."""
