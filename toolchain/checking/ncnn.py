"""Running an ncnn file as the parity check wants it: channels first in, every output out."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from toolchain.checking.parity import Outputs, Runner
from toolchain.deploy import detect
from toolchain.errors import ExportError


def run_ncnn(path: Path) -> Runner:
    """Return a function from an input (1, C, H, W) to all outputs, by ncnn, one thread.

    Raises :class:`ExportError` if the file, or one beside it, cannot be opened; so does the
    function if it cannot be run.
    """
    try:
        runner = detect.NcnnRunner(path, 1)
    except detect.DetectError as error:
        raise ExportError(f"{path.parent.name}: {error}") from error

    def run(image: Tensor) -> Outputs:
        try:
            return list(runner.run(runner.fed(image.numpy())))
        except (detect.DetectError, ValueError) as error:
            raise ExportError(f"{path.parent.name} does not run: {error}") from error

    return run
