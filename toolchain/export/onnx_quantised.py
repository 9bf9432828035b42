"""A float32 ONNX file -> int8 by onnxruntime's static quantisation (QDQ).

Weights per channel, activations per tensor, both signed: unsigned activations with signed weights
overflow on x86 processors without VNNI, so that a proof there would say nothing about the board.
The heads, from the last convolution on each way to an output, stay in float: they are small, and
their rounding is that of boxes and scores. Input and outputs are float32.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from toolchain.errors import ExportError
from toolchain.export.onnx_file import set_metadata
from toolchain.files import sha256_of, write_bytes
from toolchain.records import Artifact

Floats = NDArray[np.float32]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives the pictures one by one, as the quantiser asks for them."""

    def __init__(self, name: str, pictures: Sequence[Floats]) -> None:
        self.name, self.rest = name, iter(pictures)

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next input, None at the end."""
        picture = next(self.rest, None)
        return None if picture is None else {self.name: picture}


def quantise_onnx(
    source: Path, target: Path, pictures: Sequence[Floats], metadata: Mapping[str, str]
) -> Artifact:
    """Write ``target``, calibrated on inputs (1, C, H, W) by their smallest and largest values."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".int8.") as folder, _quiet():
        made = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                str(source),
                str(made),
                _Reader("image", pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=_heads(onnx.load(source)),
            )
        except Exception as error:  # errors of every kind
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"the ONNX file cannot be quantised ({reason[:200]})") from error
        model: Any = onnx.load(made)
    set_metadata(model, metadata)
    write_bytes(target, model.SerializeToString(deterministic=True))
    return Artifact(target.name, target.stat().st_size, sha256_of(target))


def _heads(model: Any) -> list[str]:
    """Return the nodes from the last convolution on each way to the outputs."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    todo = [output.name for output in model.graph.output]
    while todo:
        node = makers.get(todo.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type != "Conv":
            todo += node.input
    return sorted(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises a pass that PyTorch's exporter and onnxsim have done already."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
