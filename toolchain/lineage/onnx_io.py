"""The I/O spec of an ONNX file: nodes before and behind the network.

Pixels go into the first convolution as they lie: (1, H, W, 3) read as one plane of 3 W columns, by
a kernel three times as wide. A border of the colour that becomes zero is put around them, as the
network's zeros would lie, scale and std go into the weights, and the mean into the bias. Where that
cannot be, as in int8 files, they are transposed, and operators scale and subtract: so too where the
colour that becomes zero is between whole pixels, such as torchvision's (123.7, 116.3, 103.5), for
then no border of pixels would be exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolchain.checking.pictures import board_view
from toolchain.deploy import detect
from toolchain.errors import ExportError, first_line
from toolchain.exporting.graph import Additions, attributes
from toolchain.exporting.io_spec import (
    blue_first,
    border_colour,
    border_is_exact,
    metadata_with_io,
)
from toolchain.exporting.onnx_file import set_metadata
from toolchain.lineage.onnx_boxes import FIRST_AXIS, PREFIX, give_boxes
from toolchain.recipe import Recipe

IMAGE = "image"
ROWS, COLUMNS = 2, 3


def onnx_with_io(data: bytes, recipe: Recipe) -> bytes:
    """Return a bare ONNX file with the recipe's I/O spec.

    Raises :class:`ExportError` if it cannot be had.
    """
    model: Any = onnx.load_from_string(data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        if recipe.input.dtype == "uint8":
            _take_pixels(model, recipe)
        if recipe.decode.postprocess != "none":
            give_boxes(model, recipe)
        set_metadata(model, metadata_with_io(metadata, recipe))
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = first_line(error)
        raise ExportError(f"the ONNX file cannot be given its I/O spec ({reason})") from error
    return bytes(model.SerializeToString(deterministic=True))


def _take_pixels(model: Any, recipe: Recipe) -> None:
    graph = Additions(model, PREFIX)
    first = _first_convolution(model) if border_is_exact(recipe.input) else None
    planes = _transposed(graph, recipe) if first is None else _as_one_plane(graph, first, recipe)
    for node in graph.proto.node:
        node.input[:] = [planes if name == IMAGE else name for name in node.input]
    rest = list(graph.proto.node)
    del graph.proto.node[:]
    graph.proto.node.extend([*graph.nodes, *rest])
    shape = [1, recipe.input.height, recipe.input.width, 3]
    pixels = helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape)
    graph.proto.input[0].CopyFrom(pixels)


def _transposed(graph: Additions, recipe: Recipe) -> str:
    """Return planes (1, 3, H, W) in the network's order, as the network is given them.

    A DequantizeLinear gives (pixel - zero) * factor, zero being a whole pixel; where none becomes
    zero it multiplies alone, and a Sub follows.
    """
    planes = graph.node("Transpose", [IMAGE], "transposed", perm=[0, 3, 1, 2])
    if recipe.input.color_order == "RGB":
        order = graph.constant("red_first", np.array([2, 1, 0]))
        planes = graph.node("Gather", [planes, order], "ordered", axis=FIRST_AXIS)
    factors, offsets = detect.affine(board_view(recipe))
    is_exact = border_is_exact(recipe.input)
    colour = blue_first(border_colour(recipe.input), recipe.input) if is_exact else np.zeros(3)
    inputs = [
        planes,
        graph.constant("factors", factors),
        graph.constant("mean", colour.astype(np.uint8)),
    ]
    scaled = graph.node("DequantizeLinear", inputs, "planes", axis=FIRST_AXIS)
    if is_exact:
        return scaled
    shift = graph.constant("offsets", offsets.reshape(1, 3, 1, 1))
    return graph.node("Sub", [scaled, shift], "shifted")


def _first_convolution(model: Any) -> Any | None:
    """Return the plain convolution that alone reads the image, None if there is none such."""
    readers = [node for node in model.graph.node if IMAGE in node.input]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(readers) != 1 or readers[0].op_type != "Conv":
        return None
    node = readers[0]
    given = attributes(node)
    plain = (
        given.get("group", 1) == 1
        and set(given.get("dilations", [1])) == {1}
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        and all(name in constants for name in node.input[1:])
        and len(constants[node.input[1]].dims) == 4
    )
    return node if plain else None


def _as_one_plane(graph: Additions, node: Any, recipe: Recipe) -> str:
    """Let a convolution read (1, 1, H, 3 W) with a border; return what it reads."""
    constants = {tensor.name: tensor for tensor in graph.proto.initializer}
    given = attributes(node)
    weight = numpy_helper.to_array(constants[node.input[1]])
    filters, _, rows, columns = weight.shape
    ordered = weight[:, ::-1] if recipe.input.color_order == "RGB" else weight
    factors = blue_first((recipe.input.scale / std for std in recipe.input.stds), recipe.input)
    scaled = (ordered * factors.reshape(1, 3, 1, 1)).astype(np.float32)
    flat = scaled.transpose(0, 2, 3, 1).reshape(filters, 1, rows, 3 * columns)
    colour = border_colour(recipe.input)
    shift = flat.astype(np.float64) @ np.tile(colour.astype(np.float64), columns)
    bias = np.zeros(filters)
    if len(node.input) > 2:
        bias = numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
    node.input[:] = [
        IMAGE,
        graph.constant("weight", flat),
        graph.constant("bias", (bias - shift.sum(axis=(1, 2))).astype(np.float32)),
    ]
    strides = given.get("strides", [1, 1])
    del node.attribute[:]
    node.attribute.extend(
        [
            helper.make_attribute("kernel_shape", [rows, 3 * columns]),
            helper.make_attribute("strides", [strides[0], 3 * strides[1]]),
        ]
    )
    _drop_unread(graph, set(constants))
    pixels = _bordered(graph, recipe, given.get("pads", [0, 0, 0, 0]), colour)
    one, zero = graph.scalar("one", 1.0), graph.constant("zero", np.uint8(0))
    return graph.node("DequantizeLinear", [pixels, one, zero], "plane")


def _drop_unread(graph: Additions, names: set[str]) -> None:
    """Remove those of some constants that no node reads any more."""
    read = {name for node in graph.proto.node for name in node.input}
    kept = [t for t in graph.proto.initializer if t.name in read or t.name not in names]
    del graph.proto.initializer[:]
    graph.proto.initializer.extend(kept)


def _bordered(graph: Additions, recipe: Recipe, pads: list[int], colour: NDArray[np.uint8]) -> str:
    """Return the pixels as one plane (1, 1, H, 3 W) with a border of one colour."""
    top, left, bottom, right = pads
    height, width = recipe.input.height, recipe.input.width
    plane = graph.constant("one_plane", np.array([1, 1, height, 3 * width]))
    pixels = graph.node("Reshape", [IMAGE, plane], "pixels")

    def border(name: str, rows: int, columns: int) -> list[str]:
        row = np.tile(colour, columns)
        return [graph.constant(name, np.tile(row, (1, 1, rows, 1)))] if row.size and rows else []

    sides = [*border("left", height, left), pixels, *border("right", height, right)]
    if len(sides) > 1:
        pixels = graph.node("Concat", sides, "wide", axis=COLUMNS)
    total = left + width + right
    ends = [*border("top", top, total), pixels, *border("bottom", bottom, total)]
    return graph.node("Concat", ends, "framed", axis=ROWS) if len(ends) > 1 else pixels
