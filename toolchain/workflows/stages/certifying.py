"""The stage that makes the other formats, and the certificate of all files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolchain.errors import ParityError
from toolchain.lineage.calibration import Calibration
from toolchain.lineage.exports import Lineage, make_lineage
from toolchain.records.certificate import Certificate
from toolchain.records.figures import MeasureAccuracy
from toolchain.records.run_folder import ONNX
from toolchain.records.stages import Rewritten
from toolchain.workflows.stages.measuring import Measured
from toolchain.workflows.stages.origin import ncnn_metadata, onnx_metadata, tflite_metadata


@dataclass(frozen=True)
class Certified:
    """All files, and how each hangs together with the weights."""

    measured: Measured
    certificate: Certificate
    rewritten: tuple[Rewritten, ...]
    """For the other formats' runtimes."""


def certify(
    measured: Measured,
    formats: tuple[str, ...],
    calibration: Calibration | None,
    accuracy_of: MeasureAccuracy | None,
    on_stage: Callable[[str], None],
) -> Certified:
    """Make the files of ``formats``, and a link for each; ``on_stage`` is told of each file.

    Raises :class:`ParityError` where the main file does not hold: the others are made of it.
    """
    exported = measured.exported
    loaded, pair = exported.shrunk.loaded, exported.shrunk.pair
    lineage = Lineage(
        exported.folder,
        loaded.recipe,
        pair,
        exported.folded[1],
        pair.outputs,
        onnx_metadata(loaded, dynamic=exported.dynamic),
        tflite_metadata(loaded),
        ncnn_metadata(loaded),
        calibration,
        accuracy_of,
        on_stage,
        loaded.reopen,
    )
    certificate = make_lineage(lineage, formats, loaded.source)
    for failure in certificate.failures:
        if failure.file == ONNX:
            raise ParityError(f"{ONNX}: {failure.reason}; nothing is exported")
    return Certified(measured, certificate, tuple(lineage.rewritten))
