"""Making the files of the chain, one after the other, each with its link.

A file whose link breaks is taken away again, and what would have been made of it is not made; the
other branches go on. What is missing then stands in the certificate, which is not complete.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import toolchain
from toolchain.certificate import (
    SCHEMA,
    CalibrationFacts,
    Certificate,
    Failure,
    FileFacts,
    Link,
    Precision,
)
from toolchain.chain import links
from toolchain.chain.calibration import Calibration
from toolchain.chain.links import Kind
from toolchain.check.parity import ProofInput, random_inputs
from toolchain.errors import ExportError, InputError, ParityError
from toolchain.export.extra import lacking
from toolchain.export.onnx_quantised import quantise_onnx
from toolchain.export.tflite import export_tflite, labelled
from toolchain.export.tflite_quantised import to_half, to_int8
from toolchain.files import sha256_of, write_bytes
from toolchain.pictures import Photo, board_view, photo_input, smooth_input
from toolchain.proofs import Pair
from toolchain.recipe import Recipe
from toolchain.records import MemberAccuracy, Source

FORMATS = ("onnx", "tflite", "fp16", "int8")
ALWAYS = (links.SOFT, links.SHRUNK, links.EXPORTED, links.ONNX)
"""Files that the pipeline has written before the chain is made."""
COMPARED_PHOTOS = 8
"""At most so many photos are inputs of an approximate link."""
NEW_SHAPES = 4
"""So many where there are no photos."""

MeasureAccuracy = Callable[[Path], MemberAccuracy]


def choose_formats(asked: Sequence[str] | None) -> tuple[tuple[str, ...], str | None]:
    """Return the formats to make, and a note if others could be had.

    None asks for all where the extra is installed, and for ONNX alone elsewhere. Raises
    :class:`InputError` for a format that is unknown or cannot be made here.
    """
    missing = lacking()
    if asked is None:
        return (FORMATS, None) if missing is None else (("onnx",), f"ONNX alone: {missing}.")
    unknown = [name for name in asked if name not in FORMATS]
    if unknown or not asked:
        raise InputError(
            f"--formats must be of {', '.join(FORMATS)} (got {', '.join(unknown) or 'nothing'})"
        )
    if missing is not None and {"tflite", "fp16"} & set(asked):
        raise InputError(f"--formats {','.join(asked)}: {missing}")
    chosen = {"onnx", *asked} | ({"tflite"} if "fp16" in asked else set())
    return tuple(name for name in FORMATS if name in chosen), None


def files_of(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the files of the whole chain for these formats, in order."""
    wanted = {*ALWAYS}
    if "int8" in formats:
        wanted.add(links.ONNX_INT8)
    if "tflite" in formats:
        wanted.add(links.TFLITE)
        wanted |= {links.TFLITE_HALF} if "fp16" in formats else set()
        wanted |= {links.TFLITE_INT8} if "int8" in formats else set()
    every = (links.SOFT, *(end for _, end, _ in links.PLAN))
    return tuple(name for name in every if name in wanted)


@dataclass
class Chain:
    """The chain while it is made."""

    folder: Path
    recipe: Recipe
    pair: Pair
    output_names: Sequence[str]
    metadata: Mapping[str, str]
    """Of ONNX files."""
    tflite_metadata: Mapping[str, str]
    calibration: Calibration | None
    accuracy_of: MeasureAccuracy | None = None
    links: list[Link] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _accuracy: dict[str, MemberAccuracy] = field(default_factory=dict)

    def extend(self, before: str, after: str, kind: Kind) -> None:
        """Make one file, if it is not there, and its link; note what goes wrong."""
        if not (self.folder / before).exists():
            self.failures.append(Failure(after, f"not made, for {before} is not there"))
            return
        try:
            if after not in ALWAYS:
                self._make(after)
            link = self._link(before, after, kind)
        except (ExportError, ParityError) as error:
            self.failures.append(Failure(after, str(error)))
            (self.folder / after).unlink(missing_ok=True)
            return
        self.links.append(link)
        if not link.passed:
            self.failures.append(Failure(after, "; ".join(link.problems)))
            (self.folder / after).unlink()

    def _make(self, name: str) -> None:
        target = self.folder / name
        if name == links.ONNX_INT8:
            quantise_onnx(self.folder / links.ONNX, target, self._pictures(), self.metadata)
        elif name == links.TFLITE:
            export_tflite(
                self.pair.shrunk,
                self.pair.example,
                target,
                output_names=self.output_names,
                metadata=self.tflite_metadata,
            )
        else:
            data = (self.folder / links.TFLITE).read_bytes()
            half = name == links.TFLITE_HALF
            made = to_half(data) if half else to_int8(data, self._pictures(last=True))
            write_bytes(target, labelled(made, self.output_names, self.tflite_metadata))

    def _pictures(self, *, last: bool = False) -> list[NDArray[np.float32]]:
        assert self.calibration is not None
        inputs = self.calibration.inputs
        return [
            (image.permute(0, 2, 3, 1).contiguous() if last else image).numpy() for image in inputs
        ]

    def _link(self, before: str, after: str, kind: Kind) -> Link:
        approximate = kind in ("half", "int8")
        inputs = self._like_photos() if approximate else self._any()
        link = links.measure_link(
            self.folder, before, after, kind, self.recipe, inputs, self._photos()
        )
        if not approximate or self.accuracy_of is None:
            return link
        found = [self._measured(name) for name in (before, after)]
        return dataclasses.replace(link, precision=self._precision(kind, *found))

    def _precision(self, kind: Kind, before: MemberAccuracy, after: MemberAccuracy) -> Precision:
        lost = links.limits_of(kind, self.recipe.proof).lost
        assert lost is not None
        levels = [(each["easy"], each["medium"], each["hard"]) for each in (before, after)]
        return Precision(before["protocol"], before["photos"], levels[0], levels[1], lost)

    def _measured(self, name: str) -> MemberAccuracy:
        if name not in self._accuracy:
            assert self.accuracy_of is not None
            self._accuracy[name] = self.accuracy_of(self.folder / name)
        return self._accuracy[name]

    def _photos(self) -> tuple[Photo, ...]:
        held_out = self.calibration.held_out if self.calibration else ()
        return (*held_out, *self.pair.photos)

    def _any(self) -> list[ProofInput]:
        shape = (1, *(int(side) for side in self.pair.example.shape[1:]))
        assert len(shape) == 4
        return [*random_inputs([shape], self.recipe.model.seed), *self._shapes(1), *self._shown()]

    def _shapes(self, count: int) -> list[ProofInput]:
        return new_shapes(self.pair, self.recipe.model.seed, count)

    def _shown(self) -> list[ProofInput]:
        if self.recipe.anchors is None:
            return []
        view = board_view(self.recipe)
        chosen = self._photos()[:COMPARED_PHOTOS]
        return [photo_input(photo, self.recipe, view) for photo in chosen]

    def _like_photos(self) -> list[ProofInput]:
        return self._shown() or self._shapes(NEW_SHAPES)


def new_shapes(pair: Pair, seed: int, count: int) -> list[ProofInput]:
    """Return smooth shapes at the recipe's size, none of which int8 is calibrated on."""
    return [smooth_input(pair.example, seed + index) for index in range(count)]


def make_chain(
    chain: Chain, formats: Sequence[str], source: Source, on_file: Callable[[str], None]
) -> Certificate:
    """Make every file of these formats and its link; return the certificate of them all."""
    wanted = files_of(formats)
    for before, after, kind in links.PLAN:
        if after in wanted:
            on_file(after)
            chain.extend(before, after, kind)
    return Certificate(
        SCHEMA,
        f"toolchain {toolchain.__version__}",
        source.path,
        source.sha256,
        chain.recipe,
        tuple(
            FileFacts(name, path.stat().st_size, sha256_of(path))
            for name in wanted
            if (path := chain.folder / name).exists()
        ),
        tuple(chain.links),
        _facts(chain.calibration, formats),
        tuple(chain.failures),
    )


def _facts(calibration: Calibration | None, formats: Sequence[str]) -> CalibrationFacts | None:
    return calibration.facts if calibration is not None and "int8" in formats else None
