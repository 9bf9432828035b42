"""A network as ncnn has it: ``model.ncnn.param``, ``model.ncnn.bin`` and ``metadata.json``.

The metadata say what the runtime takes and gives, and how that becomes what the network takes and
gives. It knows no axis of pictures; a network may be given *patches* of its picture, and leave
*maps* for this module to read:

patches   A first layer without overlap to speak of (5x5 at every fourth pixel, say) multiplies each
          patch by its filters. The patches are laid out here, ``lanes`` numbers side by side as the
          runtime keeps them, so that the layer is one product of matrices.
maps      A detector's last layers give a map a level: four offsets, scores of the background, the
          score of a face. What else the network does is order: rows of all levels, one after the
          other, and the largest of some scores. That is done here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Floats
from .errors import DetectError, one_line, reason_of

PARAM, BIN, METADATA = "model.ncnn.param", "model.ncnn.bin", "metadata.json"
FORMAT = 1
LANES = 4
"""Numbers that the runtime keeps side by side."""
MAGIC = b"7767517"
"""How every param file begins."""


@dataclass(frozen=True)
class Patches:
    """How a picture is cut: squares of ``kernel`` pixels at every ``stride``-th, zeros around."""

    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Level:
    """What the channels of one map are; further channels are nothing."""

    boxes: tuple[int, ...]
    """Channels of the four offsets."""
    background: tuple[int, ...]
    """Of the scores of which the largest is that of the background."""
    face: int


@dataclass(frozen=True)
class NcnnFacts:
    """What ``metadata.json`` says of the two other files."""

    runtime: str
    """Name and version of what the file was proved with."""
    param_sha256: str
    bin_sha256: str
    shape: tuple[int, ...]
    """Of the network's input (1, C, H, W)."""
    patches: Patches | None
    blobs: tuple[str, ...]
    """The runtime's outputs, in order."""
    names: tuple[str, ...]
    """The network's outputs."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the network's outputs."""
    levels: tuple[Level, ...] | None
    """None: each blob is an output, as it is."""
    half: bool
    """True: half precision where the board computes in it; its accuracy was measured."""
    texts: dict[str, str]
    """What other files carry as their metadata."""


def folder_of(path: Path) -> Path:
    """Return the folder of the three files, given it or the param file."""
    return path if path.is_dir() else path.parent


def is_ncnn(path: Path) -> bool:
    """Tell whether a path is a param file, or a folder that holds one."""
    return path.name.endswith(".param") or (path / PARAM).is_file()


def read_facts(path: Path) -> NcnnFacts:
    """Read the metadata and compare the other files with it; raise :class:`DetectError`."""
    folder = folder_of(path)
    try:
        content = json.loads((folder / METADATA).read_bytes())
        found = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (PARAM, BIN)]
    except OSError as error:
        name = Path(str(error.filename)).name
        raise DetectError(
            f"has no {name} that can be read ({reason_of(error)}); copy the whole folder, with "
            f"{PARAM}, {BIN} and {METADATA}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DetectError(f"{METADATA} is not JSON ({one_line(error)}); copy it again") from error
    facts = _facts(content)
    for name, now, stated in zip(
        (PARAM, BIN), found, (facts.param_sha256, facts.bin_sha256), strict=True
    ):
        if now != stated:
            raise DetectError(
                f"{name} is not the one that {METADATA} tells of: it was cut short or changed, or "
                f"is of another network; copy the whole folder again"
            )
    return facts


def _facts(content: Any) -> NcnnFacts:
    try:
        if content["format"] != FORMAT:
            raise DetectError(
                f"{METADATA} has format {content['format']!r}, and {FORMAT} is known here; use the "
                f"detect.py that came with the file"
            )
        levels, patches = content["levels"], content["input"]["patches"]
        facts = NcnnFacts(
            str(content["runtime"]),
            str(content["param_sha256"]),
            str(content["bin_sha256"]),
            _numbers(content["input"]["shape"]),
            None
            if patches is None
            else Patches(*_numbers([patches[key] for key in ("kernel", "stride", "padding")])),
            tuple(map(str, content["blobs"])),
            tuple(str(output["name"]) for output in content["outputs"]),
            tuple(_numbers(output["shape"]) for output in content["outputs"]),
            None if levels is None else tuple(_level(level) for level in levels),
            bool(content["half"]),
            {str(key): str(text) for key, text in content["texts"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DetectError(
            f"{METADATA} is not as the toolchain writes it ({one_line(error)}); export it again"
        ) from error
    _check(facts)
    return facts


def _check(facts: NcnnFacts) -> None:
    """Raise :class:`DetectError` for what does not go together."""
    count = len(facts.blobs)
    if facts.levels is None:
        good = count == len(facts.names) > 0
    else:
        good = count == len(facts.levels) > 0 and len(facts.names) == 2
        good = good and all(len(level.boxes) == 4 and level.background for level in facts.levels)
    if facts.patches is not None:
        cut = facts.patches
        good = good and cut.kernel > 0 and cut.stride > 0 and cut.padding >= 0
    if not good or len(facts.shape) != 4 or facts.shape[0] != 1:
        raise DetectError(f"{METADATA} contradicts itself; export the file again")


def _numbers(values: Sequence[Any]) -> tuple[int, ...]:
    if not all(type(value) is int and 0 <= value < 2**31 for value in values):
        raise ValueError(f"{values!r} must be whole numbers")
    return tuple(values)


def _level(entry: Any) -> Level:
    (face,) = _numbers([entry["face"]])
    return Level(_numbers(entry["boxes"]), _numbers(entry["background"]), face)


def patches_of(image: Floats, cut: Patches) -> Floats:
    """Return a picture float32 (1, C, H, W) as patches, as :func:`patches_of_rows` does."""
    return patches_of_rows(np.ascontiguousarray(image[0].transpose(1, 2, 0)), cut)


def patches_of_rows(pixels: Floats, cut: Patches) -> Floats:
    """Return a picture float32 (H, W, C) as patches (vectors, rows, columns * LANES).

    A patch's row of ``kernel * C`` numbers, filled up to whole vectors, is cut into vectors of
    LANES numbers; (row of the patch, vector) makes the first axis.
    """
    height, width, channels = pixels.shape
    rows, columns = (
        (side + 2 * cut.padding - cut.kernel) // cut.stride + 1 for side in (height, width)
    )
    vectors = -(-cut.kernel * channels // LANES)
    pitch = cut.stride * channels
    length = max((columns - 1) * pitch + vectors * LANES, (cut.padding + width) * channels)
    length = -(-length // LANES) * LANES
    framed = np.zeros(((rows - 1) * cut.stride + cut.kernel, length), np.float32)
    shown = framed[cut.padding : cut.padding + height]
    start = cut.padding * channels
    shown[:, start : start + width * channels] = pixels.reshape(height, -1)[: len(shown)]
    down, right = framed.strides
    view = np.lib.stride_tricks.as_strided(
        framed,
        (cut.kernel, vectors, rows, columns, LANES),
        (down, LANES * right, cut.stride * down, pitch * right, right),
        writeable=False,
    )
    laid_out = np.empty((cut.kernel * vectors, rows, columns * LANES), np.float32)
    if pitch % LANES:
        laid_out.reshape(view.shape)[:] = view
    else:  # 16 bytes at a time
        wide = np.lib.stride_tricks.as_strided(
            framed.view(np.complex128),
            view.shape[:4],
            view.strides[:4],
            writeable=False,
        )
        laid_out.view(np.complex128).reshape(view.shape[:4])[:] = wide
    return laid_out


def joined(maps: Sequence[Floats], levels: Sequence[Level]) -> tuple[Floats, Floats]:
    """Return ``loc`` (1, P, 4) and ``logits`` (1, P, 2) of maps (C, rows, columns), one a level."""
    cells = [each.shape[1] * each.shape[2] for each in maps]
    loc, logits = np.empty((1, sum(cells), 4), np.float32), np.empty((1, sum(cells), 2), np.float32)
    start = 0
    for each, level, count in zip(maps, levels, cells, strict=True):
        flat, end = each.reshape(len(each), -1), start + count
        loc[0, start:end] = _channels(flat, level.boxes).T
        logits[0, start:end, 0] = _channels(flat, level.background).max(axis=0)
        logits[0, start:end, 1] = flat[level.face]
        start = end
    return loc, logits


def _channels(flat: Floats, which: tuple[int, ...]) -> Floats:
    """Return some channels of (C, cells), without a copy where they lie side by side."""
    if which == tuple(range(which[0], which[0] + len(which))):
        return flat[which[0] : which[0] + len(which)]
    return flat[list(which)]


class NcnnRunner:
    """An opened file; ``threads`` is how many compute, ``half`` overrules the metadata."""

    def __init__(self, path: Path, threads: int, half: bool | None = None) -> None:
        import ncnn

        folder = folder_of(path)
        self.facts = read_facts(path)
        self._ncnn = ncnn
        self.runtime = f"ncnn {version_of(ncnn)}"
        self._net = ncnn.Net()
        options = self._net.opt
        use_half = self.facts.half if half is None else half
        options.num_threads = threads
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = use_half
        options.use_fp16_arithmetic = options.use_bf16_storage = False
        options.use_fp16_arithmetic = use_half
        if self._net.load_param(str(folder / PARAM)) or self._net.load_model(str(folder / BIN)):
            raise DetectError(
                f"is no file that {self.runtime} can open (it was proved with "
                f"{self.facts.runtime}); run: pip install --upgrade ncnn, or export it again"
            )
        self._input = self._net.input_names()[0]

    def fed(self, image: Floats) -> Floats:
        """Return an input (1, C, H, W) as :meth:`run` takes it."""
        cut = self.facts.patches
        return np.ascontiguousarray(image[0]) if cut is None else patches_of(image, cut)

    def run(self, fed: Floats) -> tuple[Floats, ...]:
        """Return the network's outputs for what :meth:`fed` gives."""
        extractor = self._net.create_extractor()
        given = self._ncnn.Mat(fed)
        if self.facts.patches is not None:
            _pack(given)
        extractor.input(self._input, given)
        found = []
        for blob in self.facts.blobs:
            code, value = extractor.extract(blob)
            if code:
                raise DetectError(f"{self.runtime} cannot run it (code {code} at {blob})")
            found.append(np.array(value))
        return self.outputs_of(found)

    def outputs_of(self, found: Sequence[Floats]) -> tuple[Floats, ...]:
        """Return the network's outputs, given the runtime's."""
        if self.facts.levels is not None:
            return joined(found, self.facts.levels)
        return tuple(
            value.reshape(shape) for value, shape in zip(found, self.facts.shapes, strict=True)
        )


def _pack(mat: Any) -> None:
    """Let the runtime take an array (vectors, rows, columns * LANES) for what it is."""
    mat.w = mat.w // LANES
    mat.cstep = mat.w * mat.h
    mat.elempack, mat.elemsize = LANES, LANES * 4


def version_of(module: Any) -> str:
    """Return the runtime's version: its own, or that of the package."""
    own = getattr(module, "__version__", None)
    if own:
        return str(own)
    from importlib import metadata

    return metadata.version("ncnn")
