"""The network that finds red cells (see :mod:`board`) as a TFLite file, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

SIZE, CELL = 64, 16
CELLS = (SIZE // CELL) ** 2


def write_tflite(path: Path, table: dict[str, Any] | None) -> Path:
    """Write the file; ``table`` is its metadata, None for a file without any."""
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(_model(table))))
    return path


def _model(table: dict[str, Any] | None) -> Any:
    model: Any = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes = [
        _code(schema.BuiltinOperator.CONV_2D),
        _code(schema.BuiltinOperator.RESHAPE),
    ]
    graph: Any = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    red = np.array([1.0, -0.5, -0.5], np.float32) / 256
    weight = np.zeros((2, CELL, CELL, 3), np.float32)
    weight[1] = red
    image = _tensor(model, graph, "image", (1, SIZE, SIZE, 3))
    outputs = []
    for name, filters, bias in (
        ("loc", np.zeros((4, CELL, CELL, 3), np.float32), np.zeros(4, np.float32)),
        ("logits", weight, np.array([0.0, -50.0], np.float32)),
    ):
        count = len(filters)
        sides = [
            _tensor(model, graph, f"{name}/weight", filters.shape, filters),
            _tensor(model, graph, f"{name}/bias", bias.shape, bias),
        ]
        cells = _tensor(model, graph, f"{name}/map", (1, SIZE // CELL, SIZE // CELL, count))
        out = _tensor(model, graph, name, (1, CELLS, count))
        graph.operators += [_convolution([image, *sides], cells), _reshape(cells, out, count)]
        outputs.append(out)
    graph.inputs, graph.outputs = [image], outputs
    model.subgraphs, model.metadata = [graph], []
    if table is not None:
        for key, text in (("other", "{}"), ("detector", json.dumps(table))):
            entry: Any = schema.MetadataT()
            entry.name, entry.buffer = key, len(model.buffers)
            model.metadata.append(entry)
            model.buffers.append(_buffer(np.frombuffer(text.encode(), np.uint8)))
    return model


def _code(kind: int) -> Any:
    code: Any = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 1
    return code


def _buffer(values: Any) -> Any:
    buffer: Any = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def _tensor(model: Any, graph: Any, name: str, shape: Any, values: Any = None) -> int:
    tensor: Any = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), schema.TensorType.FLOAT32
    tensor.buffer = 0
    if values is not None:
        tensor.buffer = len(model.buffers)
        model.buffers.append(_buffer(values))
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _convolution(inputs: list[int], output: int) -> Any:
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
    options: Any = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, CELL, CELL
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = options
    return operator


def _reshape(source: int, target: int, count: int) -> Any:
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 1, [source], [target]
    options: Any = schema.ReshapeOptionsT()
    options.newShape = [1, CELLS, count]
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = options
    return operator
