"""Patches of a picture, laid out as ncnn keeps numbers.

A first layer without overlap to speak of (5x5 at every fourth pixel, say) multiplies each patch by
its filters. Patches are laid out here, LANES numbers side by side, so that the layer is one product
of matrices.

A patch's row of ``kernel * C`` numbers, filled up to whole vectors, is cut into vectors of LANES
numbers. Row of the patch and vector make the first axis: (kernel * vectors, rows, columns * LANES).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats
from .ncnn_facts import LANES, Patches


class Frame:
    """A picture with the zeros around it, and its patches; both are written over by the next."""

    def __init__(self, height: int, width: int, channels: int, cut: Patches) -> None:
        rows, columns = (
            (side + 2 * cut.padding - cut.kernel) // cut.stride + 1 for side in (height, width)
        )
        vectors = -(-cut.kernel * channels // LANES)
        pitch = cut.stride * channels
        length = max((columns - 1) * pitch + vectors * LANES, (cut.padding + width) * channels)
        length = -(-length // LANES) * LANES
        below = max((rows - 1) * cut.stride + cut.kernel, cut.padding + height)
        self._all = np.zeros((below, length), np.float32)
        self._corner = cut.padding, cut.padding * channels
        self._channels, self._cut = channels, cut
        self._shown = 0, 0
        down, right = self._all.strides
        shape = (cut.kernel, vectors, rows, columns, LANES)
        steps = (down, LANES * right, cut.stride * down, pitch * right, right)
        self._source = np.lib.stride_tricks.as_strided(self._all, shape, steps, writeable=False)
        self._patches = np.zeros((cut.kernel * vectors, rows, columns * LANES), np.float32)
        self._target = self._patches.reshape(shape)
        self._per_step, rest = divmod(pitch, LANES)
        self._wide: tuple[NDArray[np.complex128], NDArray[np.complex128]] | None = None
        if not rest:  # vectors begin at vectors: 16 bytes at a time
            wide = self._all.view(np.complex128)
            source = np.lib.stride_tricks.as_strided(wide, shape[:4], steps[:4], writeable=False)
            target = self._patches.view(np.complex128).reshape(shape[:4])
            self._wide = source, target

    def place(self, rows: int, columns: int) -> Floats:
        """Return where such a picture goes, float32 (rows, columns * C); around it is zero."""
        if (rows, columns) != self._shown:
            self._all[:] = 0
            self._shown = rows, columns
        down, right = self._corner
        return self._all[down : down + rows, right : right + columns * self._channels]

    def patches(self) -> Floats:
        """Return the patches of what lies there now; the array is the frame's own."""
        if self._wide is None:
            self._target[:] = self._source
        else:
            _copy(*self._wide, self._cut.stride, self._per_step)
        return self._patches


def _copy(
    source: NDArray[np.complex128], target: NDArray[np.complex128], stride: int, per_step: int
) -> None:
    """Copy vectors (kernel, vectors, rows, columns), each from afar once.

    What patches share is copied from the neighbour's: a row of theirs from the patch below, a
    vector from the patch to the right. That lies side by side.
    """
    target[:stride, :per_step] = source[:stride, :per_step]
    for vector in range(per_step, source.shape[1]):
        target[:stride, vector, :, :-1] = target[:stride, vector - per_step, :, 1:]
        target[:stride, vector, :, -1] = source[:stride, vector, :, -1]
    for row in range(stride, source.shape[0]):
        target[row, :, :-1] = target[row - stride, :, 1:]
        target[row, :, -1] = source[row, :, -1]


def patches_of(image: Floats, cut: Patches) -> Floats:
    """Return the patches of a picture float32 (1, C, H, W)."""
    _, channels, height, width = image.shape
    frame = Frame(height, width, channels, cut)
    frame.place(height, width)[:] = image[0].transpose(1, 2, 0).reshape(height, -1)
    return frame.patches()
