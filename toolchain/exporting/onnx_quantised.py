"""A float32 ONNX file -> int8 by onnxruntime's static quantisation (QDQ).

Weights per channel, activations per tensor, both signed: unsigned activations with signed weights
overflow on x86 processors without VNNI, so that a proof there would say nothing about the board.
The heads, from the last weights on each way to an output, stay in float: they are small, and
their rounding is that of boxes and scores. Input and outputs are float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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

from toolchain.errors import ExportError, first_line
from toolchain.exporting.onnx_file import set_metadata
from toolchain.exporting.units import Operator, units_of, weights_digest
from toolchain.system.quiet import without_warnings

Floats = NDArray[np.float32]
MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that multiply by weights."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives the pictures one by one, as the quantiser asks for them."""

    def __init__(self, name: str, pictures: Sequence[Floats]) -> None:
        self.name, self.rest = name, iter(pictures)

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next input, None at the end."""
        picture = next(self.rest, None)
        return None if picture is None else {self.name: picture}


class OnnxQuantiser:
    """An ONNX file, calibrated on its inputs' smallest and largest values."""

    def __init__(self, source: Path, pictures: Sequence[Floats], folder: Path) -> None:
        """Take ``source`` and inputs (1, C, H, W); ``folder`` is for what lies between."""
        self._source, self._pictures, self._folder = source, pictures, folder
        model: Any = onnx.load(source)
        heads = set(_heads(model))
        rest = [node for node in model.graph.node if node.name not in heads]
        self.operators = tuple(node.name for node in rest)
        self.units = units_of(_operators(rest, model))

    def quantised(self, operators: Collection[str]) -> bytes:
        """Return the file with these operators in int8, and the others in float.

        Raises :class:`ExportError` if it cannot be quantised.
        """
        folder = self._folder
        try:
            with without_warnings(""):
                quantize_static(
                    str(self._source),
                    str(folder / "int8.onnx"),
                    _Reader("image", self._pictures),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_quantize=sorted(operators),
                    calibrate_method=CalibrationMethod.MinMax,
                    calibration_cache_path=folder / "ranges.json",
                )
        except Exception as error:  # errors of every kind
            reason = first_line(error)
            raise ExportError(f"the ONNX file cannot be quantised ({reason})") from error
        return (folder / "int8.onnx").read_bytes()


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return an ONNX file with its metadata."""
    model: Any = onnx.load_from_string(data)
    set_metadata(model, metadata)
    return bytes(model.SerializeToString(deterministic=True))


def weights_of(path: Path) -> dict[str, str]:
    """Return the layers of an ONNX file by the digest of their weights."""
    model: Any = onnx.load(path)
    names = {operator.weight for operator in _operators(model.graph.node, model)}
    return {
        weights_digest(onnx.numpy_helper.to_array(tensor)): tensor.name
        for tensor in model.graph.initializer
        if tensor.name in names
    }


def _operators(nodes: Sequence[Any], model: Any) -> list[Operator]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        Operator(
            node.name,
            tuple(node.input),
            tuple(node.output),
            next((name for name in node.input if name in constants), None)
            if node.op_type in MULTIPLYING
            else None,
        )
        for node in nodes
    ]


def _heads(model: Any) -> list[str]:
    """Return the nodes from the last weights on each way to the outputs."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    todo = [output.name for output in model.graph.output]
    while todo:
        node = makers.get(todo.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in MULTIPLYING:
            todo += node.input
    return sorted(found)
