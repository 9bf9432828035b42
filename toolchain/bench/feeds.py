"""What a model file on its own is fed: an array for each of its inputs, of the shape it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.bench.entries import Entry, entries_of, fixed_shapes, is_channels_last
from toolchain.bench.external import external_files
from toolchain.bench.runs import Fed, Given, input_of, run_once
from toolchain.errors import InputError

SCALES = (64.0, 1.0)
"""Of the noise that pictures are made of: about that of pixels less their mean, or of scaled ones,
for a network that gives no number on the former."""


@dataclass(frozen=True)
class Told:
    """What somebody says of a file's inputs, beside what it says itself."""

    size: tuple[int, int] | None = None
    """Height and width of pictures, where the file takes any."""
    shapes: tuple[str, ...] = ()
    """``NAME=1x16``, where an input is of any length."""
    arrays: Path | None = None
    """An ``.npz`` that holds all inputs by name."""

    @property
    def says_nothing(self) -> bool:
        """True if all is taken from the file."""
        return self == Told()


NOTHING = Told()


@dataclass(frozen=True)
class Feed:
    """What a file is fed, and how that is told."""

    name: str
    arrays: Fed
    words: str
    """Names, shapes and types of all inputs; empty for one picture, whose size tells all."""


def feed_of(path: Path, told: Told) -> Feed:
    """Return what an ONNX or TFLite file is fed: what is told, else noise by a fixed seed.

    Raises :class:`InputError` where the file cannot be run on it, or gives what is no number.
    """
    external_files(path)  # what is lacking is told before a runtime says it in its own way
    entries = entries_of(path)
    if not entries:
        raise InputError(f"{path.name}: takes no input, so there is nothing to run")
    if told.arrays is not None:
        arrays = _read(path, entries, told.arrays)
        _demand_numbers(path, run_once(path, arrays))
        return _feed(f"inputs {told.arrays.name}", entries, arrays)
    shapes = fixed_shapes(path, entries, told.size, told.shapes)
    for scale in SCALES:
        arrays = tuple(_noise(entries, shapes, scale))
        outputs = run_once(path, arrays)
        if scale == SCALES[-1] or all(map(_is_finite, outputs)):
            break
    _demand_numbers(path, outputs)
    sides = ", ".join("x".join(map(str, shape)) for shape in shapes)
    name = f"random {sides}" if scale == SCALES[0] else f"random {sides} of scale {scale:g}"
    return _feed(name, entries, arrays)


def given_alone(path: Path, told: Told) -> tuple[str, Given, str]:
    """Return what a file of any origin is fed: its name, itself, and words of all inputs or none.

    Raises as :func:`feed_of` does.
    """
    if path.suffix in (".onnx", ".tflite"):
        feed = feed_of(path, told)
        return feed.name, feed.arrays, feed.words
    if not told.says_nothing:
        raise InputError(f"{path}: takes what it was made for; leave out what says its inputs")
    shape, _ = input_of(path)
    from toolchain.checking.parity import random_inputs

    (noise,) = random_inputs([(1, *shape)], seed=0)
    return noise.name, np.ascontiguousarray(noise.image.numpy()), ""


def _feed(name: str, entries: Sequence[Entry], arrays: Fed) -> Feed:
    is_picture = len(arrays) == 1 and arrays[0].ndim == 4 and len(arrays[0]) == 1
    words = [
        Entry(entry.name, array.shape, entry.dtype).words
        for entry, array in zip(entries, arrays, strict=True)
    ]
    return Feed(name, arrays, "" if is_picture else ", ".join(words))


def _noise(
    entries: Sequence[Entry], shapes: Sequence[tuple[int, ...]], scale: float
) -> Iterator[NDArray[Any]]:
    """Yield an array for each input: noise, of whole numbers other than pixels zeros and ones."""
    import torch  # wrong words are told without it

    generator = torch.Generator().manual_seed(0)
    for entry, shape in zip(entries, shapes, strict=True):
        dtype = np.dtype(entry.dtype)
        values = torch.randn(shape, generator=generator).numpy()
        if dtype.kind == "f":
            yield np.asarray(values * (scale if len(shape) == 4 else 1.0), dtype)
        elif dtype == np.uint8:
            yield np.asarray(np.clip(values * 64 + 128, 0, 255), dtype)
        elif dtype == np.int8:
            yield np.asarray(np.clip(values * 64, -128, 127), dtype)
        else:
            yield np.asarray(values > 0, dtype)


def _read(path: Path, entries: Sequence[Entry], place: Path) -> Fed:
    """Return all inputs from an ``.npz``."""
    try:
        with np.load(place, allow_pickle=False) as stored:
            arrays: Mapping[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{place}: is no .npz of arrays by input name, as numpy.savez writes it"
        ) from error
    if arrays.keys() != {entry.name for entry in entries}:
        raise InputError(
            f"{place}: holds {', '.join(sorted(arrays)) or 'nothing'}; {path.name} takes "
            f"{', '.join(entry.words for entry in entries)}"
        )
    return tuple(_fitting(place, entry, arrays[entry.name]) for entry in entries)


def _fitting(place: Path, entry: Entry, array: NDArray[Any]) -> NDArray[Any]:
    sides = zip(array.shape, entry.shape, strict=False)
    fits = array.ndim == len(entry.shape) and all(own in (None, side) for side, own in sides)
    if not fits or array.dtype != np.dtype(entry.dtype):
        found = Entry(entry.name, array.shape, str(array.dtype)).words
        raise InputError(f"{place}: holds {found}; the file takes {entry.words}")
    return np.ascontiguousarray(array)


def _is_finite(output: NDArray[Any]) -> bool:
    return output.dtype.kind != "f" or bool(np.isfinite(output).all())


def _demand_numbers(path: Path, outputs: Sequence[NDArray[Any]]) -> None:
    """Raise :class:`InputError` unless every output is an array of finite numbers."""
    for index, output in enumerate(outputs):
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
            raise InputError(
                f"{path.name}: its output {index} is no array of numbers; export the network "
                f"without what comes after it"
            )
        if not _is_finite(output):
            bad = int(np.count_nonzero(~np.isfinite(output)))
            raise InputError(
                f"{path.name}: its output {index} is NaN or infinite in {bad:,} of "
                f"{output.size:,} values already here; are its weights whole, or does it overflow? "
                f"If it needs inputs of its own, give them by --inputs FILE.npz"
            )


def picture_size(given: Given) -> tuple[int, int]:
    """Return height and width of the first picture; of no picture its last two lengths."""
    if not isinstance(given, tuple):
        return int(given.shape[2]), int(given.shape[3])
    picture = next((array for array in given if array.ndim == 4), None)
    if picture is None:
        return (1, 1, *given[0].shape)[-2], (1, 1, *given[0].shape)[-1]
    first = 1 if is_channels_last(picture.shape) else 2
    return int(picture.shape[first]), int(picture.shape[first + 1])
