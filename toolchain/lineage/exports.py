"""Making the files of the lineage, one after the other, each with its link.

A file whose link breaks is taken away again, and what would have been made of it is not made; the
other branches go on. What is missing then stands in the certificate, which is not complete.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from torch import nn

import toolchain
from toolchain.checking.proofs import Pair
from toolchain.errors import ExportError, ParityError
from toolchain.exporting.ncnn.ncnn_file import write_ncnn
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.onnx_quantised import OnnxQuantiser, weights_of, with_metadata
from toolchain.exporting.rewriting import ONNXRUNTIME_ALONE, Rewrites
from toolchain.exporting.tflite import export_tflite, labelled
from toolchain.exporting.tflite_quantised import TfliteQuantiser, to_half
from toolchain.exporting.units import Quantiser
from toolchain.lineage import links
from toolchain.lineage.calibration import Calibration
from toolchain.lineage.link_inputs import LinkInputs
from toolchain.lineage.links import Kind, Reopen
from toolchain.lineage.mixing import layer_noises, mixed_link
from toolchain.lineage.onnx_io import onnx_with_io
from toolchain.lineage.scoring import scored_link
from toolchain.lineage.tflite_io import tflite_with_io
from toolchain.recipe import Recipe
from toolchain.records.certificate import (
    SCHEMA,
    CalibrationFacts,
    Certificate,
    Failure,
    FileFacts,
    LayerNoise,
    Link,
    companions_of,
)
from toolchain.records.figures import Accuracy, MeasureAccuracy
from toolchain.records.run_folder import NCNN, ONNX
from toolchain.records.stages import Rewritten, Source
from toolchain.system.files import disk_is_full, sha256_of, write_bytes

ALWAYS = (links.SOFT, links.SHRUNK, links.EXPORTED, ONNX)
"""Files that the pipeline has written before the lineage is made."""
SHAPES = 4
"""Smooth shapes on which a link is run besides what it is judged on."""
NOISE_INPUTS = 2
"""Calibration inputs on which each layer alone is put into int8."""


def files_of(formats: Sequence[str], recipe: Recipe, steps: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the files of the recipe's whole lineage for these formats, in order.

    ``steps`` are the ONNX files between the exported and the finished one.
    """
    wanted = {*ALWAYS, *steps}
    if "int8" in formats:
        wanted.add(links.ONNX_INT8)
    if "tflite" in formats:
        wanted.add(links.TFLITE)
        wanted |= {links.TFLITE_HALF} if "fp16" in formats else set()
        wanted |= {links.TFLITE_INT8} if "int8" in formats else set()
    wanted |= {NCNN} if "ncnn" in formats else set()
    wanted |= {links.bare_of(name, recipe) for name in wanted}
    every = (links.SOFT, *(end for _, end, _ in links.plan_of(recipe, steps)))
    return tuple(name for name in every if name in wanted)


@dataclass
class Lineage:
    """The lineage while it is made."""

    folder: Path
    recipe: Recipe
    pair: Pair
    folded: nn.Module
    """The smaller network with batch norm folded into its layers, which exporters are given."""
    output_names: Sequence[str]
    metadata: Mapping[str, str]
    """What every ONNX file says of itself."""
    tflite_metadata: Mapping[str, str]
    ncnn_metadata: Mapping[str, str]
    calibration: Calibration | None
    accuracy_of: MeasureAccuracy | None = None
    on_stage: Callable[[str], None] = lambda _name: None
    reopen: Reopen | None = None
    """Takes weights of the lineage; None: the recipe's model is built by its name."""
    links: list[Link] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rewritten: list[Rewritten] = field(default_factory=list)
    """What was changed for a runtime's kernels, beyond what the ONNX files have."""
    _accuracy: dict[str, Accuracy] = field(default_factory=dict)

    @property
    def inputs(self) -> LinkInputs:
        """What both ends of each link are given."""
        return LinkInputs(self.pair, self.recipe, self.calibration)

    def extend(self, before: str, after: str, kind: Kind) -> None:
        """Make one file, if it is not there, and its link; note what goes wrong.

        Raises :class:`ParityError` when the surgery, of which all else is made, or a rewrite does
        not keep what the network gives.
        """
        if not (self.folder / before).exists():
            self.failures.append(Failure(after, f"not made, for {before} is not there"))
            return
        try:
            link = self._make(before, after, kind)
        except (ExportError, ParityError) as error:
            if disk_is_full(error):  # the next file would fail as well
                raise
            self.failures.append(Failure(after, str(error)))
            self._take_away(after)
            return
        self.links.append(link)
        if kind == "surgery" and not link.passed:
            raise ParityError(f"{link.name}: {_reason(link)}; nothing is exported")
        if kind == "rewrite" and not link.passed:
            raise ParityError(
                f"{link.name}: {_reason(link)}; choose the rewrites that are done with --rewrites"
            )
        if not link.passed:
            self.failures.append(Failure(after, _reason(link)))
            self._take_away(after)

    def _take_away(self, name: str) -> None:
        """Remove a file, with those that belong to it."""
        if companions_of(name):
            shutil.rmtree((self.folder / name).parent, ignore_errors=True)
        (self.folder / name).unlink(missing_ok=True)

    def _make(self, before: str, after: str, kind: Kind) -> Link:
        target = self.folder / after
        if kind == "int8":
            return self._make_int8(before, after)
        if kind == "io_spec":
            write_bytes(target, self._with_io((self.folder / before).read_bytes(), after))
        elif kind == "export" and after.endswith(".tflite"):
            export_tflite(
                self.folded,
                self.pair.example[0],
                target,
                output_names=self.output_names,
                metadata=self.tflite_metadata,
            )
        elif after == NCNN:
            self._write_ncnn()
        elif kind == "half":
            write_bytes(target, self._finished(to_half((self.folder / before).read_bytes()), after))
        return self._link(before, after, kind)

    def _write_ncnn(self) -> None:
        """Write the file from the graph as it is before it is rewritten for onnxruntime alone."""
        model = onnx.load(links.common_graph(self.folder, self.recipe))
        if any(not dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim):
            with tempfile.TemporaryDirectory(prefix="ncnn.") as room:
                path = Path(room) / ONNX
                names = set(self.recipe.export.rewrites) - set(ONNXRUNTIME_ALONE)
                export_onnx(
                    self.folded,
                    self.pair.example,
                    path,
                    output_names=self.output_names,
                    metadata={},
                    rewrites=Rewrites(names),
                )
                model = onnx.load(path)
        write_ncnn(
            model,
            self.folder,
            texts=self.ncnn_metadata,
            for_detect=self.recipe.leaves_maps,
            on_done=self.rewritten.append,
        )

    def _make_int8(self, before: str, after: str) -> Link:
        with tempfile.TemporaryDirectory(prefix="int8.") as room:
            return self._mix_int8(before, after, Path(room))

    def _mix_int8(self, before: str, after: str, room: Path) -> Link:
        assert self.calibration is not None
        source, inputs = self.folder / before, self.calibration.inputs
        quantiser = self._quantiser(source, room)

        def make(data: bytes, what: str) -> Link:
            if what:
                self.on_stage(f"{after}: {what}")
            self._accuracy.pop(after, None)
            write_bytes(self.folder / after, self._finished(data, after))
            return self._link(before, after, "int8")

        def noises() -> tuple[LayerNoise, ...]:
            self.on_stage(f"{after}: what each of {len(quantiser.units)} layers costs")
            shown = inputs[:: max(1, len(inputs) // NOISE_INPUTS)][:NOISE_INPUTS]
            return layer_noises(quantiser, source, self.recipe, shown, room)

        return mixed_link(quantiser, make, noises)

    def _quantiser(self, source: Path, room: Path) -> Quantiser:
        assert self.calibration is not None
        inputs = self.calibration.inputs
        if source.suffix == ".onnx":
            return OnnxQuantiser(source, [image.numpy() for image in inputs], room)
        last = [image.permute(0, 2, 3, 1).contiguous().numpy() for image in inputs]
        return TfliteQuantiser(source.read_bytes(), last, weights_of(self.folder / links.EXPORTED))

    def _finished(self, data: bytes, name: str) -> bytes:
        if name.endswith(".onnx"):
            return with_metadata(data, self.metadata)
        return labelled(data, self.output_names, self.tflite_metadata)

    def _with_io(self, data: bytes, name: str) -> bytes:
        give = onnx_with_io if name.endswith(".onnx") else tflite_with_io
        return give(data, self.recipe)

    def _link(self, before: str, after: str, kind: Kind) -> Link:
        approximate = kind in ("half", "int8")
        given = self.inputs
        link = links.measure_link(
            self.folder,
            before,
            after,
            kind,
            self.recipe,
            given.of_approximate() if approximate else given.of_exact(),
            given.photos,
            given.deciding() if approximate else (),
            self.output_names,
            self.reopen,
        )
        if approximate and link.passed and given.is_judged_on_own:
            shapes = links.measure_link(
                self.folder, before, after, kind, self.recipe, given.shapes(SHAPES)
            )
            link = dataclasses.replace(link, on_shapes=shapes.mean)
        if not approximate or self.accuracy_of is None or not link.passed:
            return link  # how good both are is the costliest to measure, so the last
        found = [self._measured(name) for name in (before, after)]
        return scored_link(link, kind, self.recipe, found[0], found[1])

    def _measured(self, name: str) -> Accuracy:
        if name not in self._accuracy:
            assert self.accuracy_of is not None
            self._accuracy[name] = self.accuracy_of(self.folder / name, self.recipe)
        return self._accuracy[name]


def _reason(link: Link) -> str:
    """Say what breaks a link, and of int8 that float for the worst layers does not mend it."""
    found = "; ".join(link.problems)
    if link.mixed_precision is None:
        return found
    last = link.mixed_precision.attempts[-1]
    return f"{found}, with {last.in_float} of {len(link.mixed_precision.layers)} layers in float"


def make_lineage(lineage: Lineage, formats: Sequence[str], source: Source) -> Certificate:
    """Make every file of these formats and its link; return the certificate of them all."""
    steps = links.steps_in(lineage.folder)
    wanted = files_of(formats, lineage.recipe, steps)
    for before, after, kind in links.plan_of(lineage.recipe, steps):
        if after in wanted:
            lineage.on_stage(after)
            lineage.extend(before, after, kind)
    return Certificate(
        SCHEMA,
        f"toolchain {toolchain.__version__}",
        source.path,
        source.sha256,
        lineage.recipe,
        tuple(
            FileFacts(name, path.stat().st_size, sha256_of(path))
            for each in wanted
            for name in (each, *companions_of(each))
            if (path := lineage.folder / name).exists()
        ),
        tuple(lineage.links),
        _facts(lineage.calibration, formats),
        tuple(lineage.failures),
    )


def _facts(calibration: Calibration | None, formats: Sequence[str]) -> CalibrationFacts | None:
    return calibration.facts if calibration is not None and "int8" in formats else None
