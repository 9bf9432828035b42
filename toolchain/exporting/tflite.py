"""PyTorch -> TFLite by litert-torch: channels last, named, with the metadata inside the file.

The converter is an optional extra (``tflite``); it is imported only here, in
:mod:`toolchain.exporting.tflite_quantised`, and only when a file is asked for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import ExportError, first_line
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.rewriting.activations import rewrite_activations
from toolchain.records.stages import Artifact
from toolchain.system.files import sha256_of, write_bytes
from toolchain.system.quiet import silent

INPUT = "image"
"""The input's name, as in the ONNX file."""


def export_tflite(
    network: nn.Module,
    example: Tensor,
    path: Path,
    *,
    output_names: Sequence[str],
    metadata: Mapping[str, str],
) -> Artifact:
    """Write ``network`` as a float32 TFLite file for an input (1, H, W, C) named ``image``.

    ``example`` is (1, C, H, W) and fixes the size. Raises :class:`ExportError` when the converter
    refuses, naming the operator and the layer.
    """
    with silent():  # it warns of parts that are not needed here
        import litert_torch

    folded = fold_batch_norm(network, example)
    rewrite_activations(folded)
    last = litert_torch.to_channel_last_io(folded, args=[0])
    sample = example.permute(0, 2, 3, 1).contiguous()
    try:
        with silent():
            data = bytes(litert_torch.convert(last, (sample,)).model_content())
    except Exception as error:  # the converter raises errors of every kind
        raise ExportError(
            f"the network cannot be converted to TFLite ({_reason(error, folded, example)})"
        ) from error
    write_bytes(path, labelled(data, output_names, metadata))
    return Artifact(path.name, path.stat().st_size, sha256_of(path))


def labelled(data: bytes, output_names: Sequence[str], metadata: Mapping[str, str]) -> bytes:
    """Return a TFLite file with its metadata; input and outputs are named, all else numbered."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != len(output_names):
        raise ExportError(
            f"the TFLite file has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            f"expected 1 and {len(output_names)}"
        )
    names = dict(zip([*graph.inputs, *graph.outputs], [INPUT, *output_names], strict=True))
    for index, tensor in enumerate(graph.tensors):  # the converter's names take a third of a file
        tensor.name = names.get(index, f"t{index}")
    _mend_resizing(graph, schema.ResizeNearestNeighborOptionsT)
    for signature in model.signatureDefs or ():
        for item in (*signature.inputs, *signature.outputs):
            item.name = names.get(item.tensorIndex, item.name)
    model.metadata = [
        entry for entry in model.metadata or () if entry.name.decode() not in metadata
    ]
    for key, text in sorted(metadata.items()):
        buffer = schema.BufferT()
        buffer.data = list(text.encode())
        model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = key, len(model.buffers) - 1
        model.metadata.append(entry)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _mend_resizing(graph: Any, kind: Any) -> None:
    """Let nearest-neighbour resizing take pixel floor(i * n / m), as PyTorch's does.

    The converter asks for pixel centres, which differs where the scale is not whole.
    """
    for operator in graph.operators:
        if isinstance(operator.builtinOptions, kind):
            operator.builtinOptions.halfPixelCenters = False


def _reason(error: BaseException, network: nn.Module, example: Tensor) -> str:
    """Return what the converter said, with the layer that an unknown operator belongs to."""
    text = first_line(error, 10_000)
    unknown = re.search(r"aten\.([\w.]+)", text)
    if not unknown:
        return text[:200]
    operator = unknown[0]
    layer = _layer_of(operator, network, example)
    return f"it does not know the operator {operator}{f' of layer {layer}' if layer else ''}"


def _layer_of(operator: str, network: nn.Module, example: Tensor) -> str | None:
    """Return the innermost module that calls an operator, None if that cannot be told."""
    with contextlib.suppress(Exception):
        program = torch.export.export(network, (example,))
        base = ".".join(operator.split(".")[:2])
        for node in program.graph.nodes:
            if str(node.target).startswith(base):
                stack = list(node.meta.get("nn_module_stack", {}).values())
                return str(stack[-1][0]) or type(network).__name__ if stack else None
    return None
