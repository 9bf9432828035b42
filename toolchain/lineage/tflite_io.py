"""The I/O spec of a TFLite file: small networks before and behind it, joined to it in one file.

They are converted by themselves and joined to a finished file, so that all around an int8 network
stays in float. The converter has no non-maximum suppression.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.checking.pictures import board_view
from toolchain.deploy import detect
from toolchain.errors import ExportError, first_line
from toolchain.exporting.io_spec import OUTPUTS, metadata_with_io
from toolchain.exporting.metadata import KEY
from toolchain.exporting.tflite import labelled
from toolchain.recipe import Recipe
from toolchain.system.quiet import silent

NO_SUPPRESSION = (
    "the converter to TFLite has no non-maximum suppression; ask for --postprocess decode"
)


def tflite_with_io(data: bytes, recipe: Recipe) -> bytes:
    """Return a bare TFLite file with the recipe's I/O spec.

    Raises :class:`ExportError` if it cannot be had.
    """
    kind = recipe.decode.postprocess
    if kind == "nms":
        raise ExportError(NO_SUPPRESSION)
    text = detect.tflite_metadata(data, KEY)
    assert text is not None
    parts = [data]
    height, width = recipe.input.height, recipe.input.width
    if recipe.input.dtype == "uint8":
        pixels = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        parts.insert(0, _converted(_Normalising(recipe), (pixels,)))
    if kind == "decode":
        every = detect.anchors(board_view(recipe), height, width)
        loc, logits = torch.zeros(1, len(every), 4), torch.zeros(1, len(every), 2)
        parts.append(_converted(_Decoding(board_view(recipe), every), (loc, logits)))
    return labelled(joined(parts), OUTPUTS[kind], metadata_with_io({KEY: text}, recipe))


class _Normalising(nn.Module):
    """Pixels uint8 (1, H, W, 3), blue first -> floats as the network is given them.

    A matrix puts the colours in order and scales them, and its bias subtracts: the same to the last
    bit where nothing is scaled, and the runtime is quicker at it.
    """

    order: Tensor
    bias: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        factors, offsets = map(torch.from_numpy, detect.affine(board_view(recipe)))
        scaled = torch.diag(factors)
        self.register_buffer(
            "order", scaled.flip(1) if recipe.input.color_order == "RGB" else scaled
        )
        self.register_buffer("bias", -offsets)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (1, H, W, 3)."""
        return functional.linear(pixels.to(torch.float32), self.order, self.bias)


class _Decoding(nn.Module):
    """``loc`` (1, P, 4) and ``logits`` (1, P, 2) -> boxes (1, P, 4), probabilities (1, P, 2).

    Matrices of zeros and ones take apart what slices would: those take the runtime far longer.
    """

    scale: Tensor
    centres: Tensor
    half_sides: Tensor
    offsets: Tensor
    log_sizes: Tensor
    evidence: Tensor

    def __init__(self, view: detect.Specification, every: detect.Floats) -> None:
        super().__init__()
        anchors = torch.from_numpy(every.astype(np.float64))[None]
        centres, sides = anchors[..., :2], anchors[..., 2:]
        twice, nothing = torch.eye(2).repeat(2, 1), torch.zeros(4, 2)
        constants = {
            "scale": torch.cat([sides, sides], 2) * view.variances[0],
            "centres": torch.cat([centres, centres], 2),
            "half_sides": torch.cat([-sides, sides], 2) / 2,
            "offsets": torch.cat([twice, nothing], 1),
            "log_sizes": torch.cat([nothing, twice * view.variances[1]], 1),
            "evidence": torch.tensor([[1.0, -1.0], [-1.0, 1.0]]),
        }
        for name, values in constants.items():
            self.register_buffer(name, values.float())

    def forward(self, loc: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes in pixels of the input, and probabilities of background and face."""
        centre = functional.linear(loc, self.offsets) * self.scale + self.centres
        log_size = functional.linear(loc, self.log_sizes).clamp(
            -detect.LARGEST_LOG, detect.LARGEST_LOG
        )
        boxes = centre + torch.exp(log_size) * self.half_sides
        return boxes, torch.sigmoid(functional.linear(logits, self.evidence))


def _converted(network: nn.Module, samples: tuple[Tensor, ...]) -> bytes:
    with silent():
        import litert_torch
    try:
        with silent():
            return bytes(litert_torch.convert(network.eval(), samples).model_content())
    except Exception as error:  # the converter raises errors of every kind
        reason = first_line(error)
        raise ExportError(f"the TFLite file cannot be given its I/O spec ({reason})") from error


def joined(parts: Sequence[bytes]) -> bytes:
    """Return one TFLite file in which each part's inputs are the outputs of the part before."""
    from ai_edge_litert.tools import flatbuffer_utils

    models = [flatbuffer_utils.read_model_from_bytearray(bytearray(part)) for part in parts]
    for first, second in itertools.pairwise(models):
        if len(first.subgraphs[0].outputs) != len(second.subgraphs[0].inputs):
            raise ExportError("the parts of the TFLite file do not fit each other")
    whole = models[0]
    for model in models[1:]:
        _append(whole, model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


def _append(whole: Any, model: Any) -> None:
    """Put a model behind another, in place."""
    first, second = whole.subgraphs[0], model.subgraphs[0]
    buffers, codes = len(whole.buffers), len(whole.operatorCodes)
    place = dict(zip(second.inputs, first.outputs, strict=True))
    for index, tensor in enumerate(second.tensors):
        if index in place:
            continue
        place[index] = len(first.tensors)
        tensor.buffer += buffers
        first.tensors.append(tensor)
    for operator in second.operators:
        operator.opcodeIndex += codes
        operator.inputs = [place.get(index, index) for index in operator.inputs]  # -1: left out
        operator.outputs = [place[index] for index in operator.outputs]
        first.operators.append(operator)
    whole.buffers += model.buffers
    whole.operatorCodes += model.operatorCodes
    first.outputs = [place[index] for index in second.outputs]
    (signature,), (ending,) = whole.signatureDefs, model.signatureDefs
    for entry in ending.outputs:
        entry.tensorIndex = place[entry.tensorIndex]
    signature.outputs = ending.outputs
