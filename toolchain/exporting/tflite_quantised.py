"""A float32 TFLite file -> half precision and int8, by ai-edge-quantizer.

*Half precision* stores the weights of convolutions as float16 and computes in float32. *int8*
computes in integers: per channel for weights, per tensor for activations, whose ranges are the
smallest and largest values over the calibration pictures. Input and outputs stay float32.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import ExportError, first_line
from toolchain.exporting.units import Operator, units_of, weights_digest
from toolchain.system.quiet import silent

Floats = NDArray[np.float32]
Ranges = dict[str, dict[str, Any]]
SMALLEST_RANGE = 1e-3
"""Of the widest tensor's range."""


def to_half(data: bytes) -> bytes:
    """Return the file with the convolutions' weights as float16."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    quantizer = Quantizer(bytearray(data))
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE"):
        quantizer.update_quantization_recipe(
            ".*", qtyping.TFLOperationName[kind], config, AlgorithmName.FLOAT_CASTING
        )
    return _quantised(quantizer, None)


class TfliteQuantiser:
    """A TFLite file, calibrated on its inputs' smallest and largest values."""

    def __init__(self, data: bytes, pictures: Sequence[Floats], names: Mapping[str, str]) -> None:
        """Calibrate a file on inputs (1, H, W, C); ``names`` are layers by the digest of weights.

        A layer that is not among them goes by its weights' tensor.
        """
        operators = _operators(data, names)
        self.operators = tuple(operator.name for operator in operators)
        self.units = units_of(operators)
        self._data = data
        self._ranges = _ranges(self._quantizer(self.operators), data, pictures)

    def quantised(self, operators: Collection[str]) -> bytes:
        """Return the file with these operators in int8, and the others in float."""
        return _quantised(self._quantizer(operators), self._ranges)

    def _quantizer(self, operators: Collection[str]) -> Any:
        from ai_edge_quantizer import qtyping
        from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

        quantizer = Quantizer(bytearray(self._data))
        scope = "|".join(re.escape(name) for name in sorted(operators))
        quantizer.add_static_config(f"^(?:{scope})$", qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
        for end in ("INPUT", "OUTPUT"):  # an output has the name of the operator that makes it
            kind = qtyping.TFLOperationName[end]
            quantizer.update_quantization_recipe(
                ".*", kind, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
        return quantizer


def _operators(data: bytes, names: Mapping[str, str]) -> list[Operator]:
    """Return a file's operators; each is named as the quantiser names its scope."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = model.subgraphs[0]
    codes = schema.BuiltinOperator
    multiplying = {
        codes.CONV_2D, codes.DEPTHWISE_CONV_2D, codes.FULLY_CONNECTED, codes.TRANSPOSE_CONV,
    }  # fmt: skip
    found = []
    for operator in graph.operators:
        outputs = tuple(graph.tensors[index].name.decode() for index in operator.outputs)
        inputs = tuple(graph.tensors[index] for index in operator.inputs if index >= 0)
        constants = [tensor for tensor in inputs if model.buffers[tensor.buffer].data is not None]
        weight = None
        if model.operatorCodes[operator.opcodeIndex].builtinCode in multiplying and constants:
            buffer = max((t.buffer for t in constants), key=lambda b: len(model.buffers[b].data))
            values = np.frombuffer(bytes(model.buffers[buffer].data), np.float32)
            weight = names.get(weights_digest(values), f"buffer {buffer}")
        scope = "".join(f"{name};" for name in outputs)
        found.append(Operator(scope, tuple(t.name.decode() for t in inputs), outputs, weight))
    return found


def _ranges(quantizer: Any, data: bytes, pictures: Sequence[Floats]) -> Ranges:
    """Return each tensor's smallest and largest value over all pictures.

    The quantiser's own way over several is a moving average, which clips what few pictures show.
    """
    key, name = _signature(data)
    merged: Ranges = {}
    for picture in pictures:
        with silent():
            found = quantizer.calibrate({key: [{name: picture}]}, num_threads=1)
        for tensor, values in found.items():
            known = merged.setdefault(tensor, values)
            if values and known:
                merged[tensor] = {
                    **known,
                    "min": np.minimum(known["min"], values["min"]),
                    "max": np.maximum(known["max"], values["max"]),
                }
    return _widened(merged)


def _widened(ranges: Ranges) -> Ranges:
    """Return ranges none of which is next to nothing: XNNPACK refuses to make a step so small.

    Such tensors hold what never left zero in any picture, as behind a ReLU that stays closed.
    """
    spans = {name: float(np.max(r["max"] - r["min"])) for name, r in ranges.items() if r}
    least = SMALLEST_RANGE * max(spans.values(), default=0.0)
    return {
        name: {**known, "max": known["max"] + least} if spans.get(name, least) < least else known
        for name, known in ranges.items()
    }


def _signature(data: bytes) -> tuple[str, str]:
    """Return the name of the file's signature and of its input."""
    from ai_edge_litert.interpreter import Interpreter

    with silent():
        ((key, names),) = Interpreter(model_content=data).get_signature_list().items()
    return str(key), str(names["inputs"][0])


def _quantised(quantizer: Any, ranges: Ranges | None) -> bytes:
    try:
        with silent():
            done = quantizer.quantize(ranges, enable_progress_report=False)
    except Exception as error:  # errors of every kind
        reason = first_line(error)
        raise ExportError(f"the TFLite file cannot be quantised ({reason})") from error
    return bytes(done.quantized_model)
