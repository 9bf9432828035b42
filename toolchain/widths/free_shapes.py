"""Shapes that an exported file holds as numbers, freed from how many channels there are.

An exporter writes ``flatten`` as a reshape to 1x512, and a resizing with the channels it found: at
other widths neither fits. What stands for the same sizes is said by its place instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

SAME, REST = 0, -1
"""In the shape of ONNX's Reshape: as the input's at this place; all that is left."""


def without_fixed_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which resizing and reshaping say no number of channels, where they can."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    values = {tensor.name: tensor for tensor in copied.graph.initializer}
    shapes = _shapes(model)
    del copied.graph.value_info[:]  # shapes of the widths as they are
    for node in copied.graph.node:
        if node.op_type == "Resize":
            _free_resize(copied, node, values)
        elif node.op_type == "Reshape":
            _free_reshape(copied, node, values, shapes.get(node.input[0], ()))
    return copied


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """Give an operator an attribute, in place."""
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def free_shape(given: Sequence[int], wanted: Sequence[int]) -> list[int] | None:
    """Return the shape of a Reshape from ``given`` to ``wanted`` in which no channels are told.

    Sizes that stay at their place are ``SAME``, and one other is ``REST``; None where more change,
    as where channels are divided into heads.
    """
    kept = set(_kept(given, wanted))
    others = [place for place in range(len(wanted)) if place not in kept and wanted[place] != 1]
    if len(others) > 1:
        return None
    return [
        REST if place in others else SAME if place in kept else 1 for place in range(len(wanted))
    ]


def _kept(given: Sequence[int], wanted: Sequence[int]) -> Iterator[int]:
    """Yield places at which a size is the same and stands for the same: as much lies before it."""
    before, after = (list(accumulate(each, mul, initial=1)) for each in (given, wanted))
    for place, (one, other) in enumerate(zip(given, wanted, strict=False)):
        if one == other and before[place] == after[place]:
            yield place


def _free_resize(
    model: onnx.ModelProto, node: onnx.NodeProto, values: dict[str, onnx.TensorProto]
) -> None:
    """Let what is resized say height and width alone."""
    sizes = values.get(node.input[3]) if len(node.input) > 3 else None
    if sizes is not None and tuple(sizes.dims) == (4,):
        side = numpy_helper.to_array(sizes)[2:]
        _replace(model, node, 3, side, f"{node.output[0]} height and width")
        set_attribute(node, "axes", [2, 3])


def _free_reshape(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: dict[str, onnx.TensorProto],
    given: tuple[int, ...],
) -> None:
    told = values.get(node.input[1])
    wanted = [] if told is None else numpy_helper.to_array(told).tolist()
    if not given or not all(size > 0 for size in (*given, *wanted)):
        return  # unknown, or free already
    free = free_shape(given, wanted)
    if free is not None:
        _replace(model, node, 1, np.array(free, np.int64), f"{node.output[0]} shape")
        set_attribute(node, "allowzero", 0)


def _replace(
    model: onnx.ModelProto, node: onnx.NodeProto, place: int, value: np.ndarray, name: str
) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[place] = name


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every value, as far as it is known; 0 for a size that is not."""
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(each.dim_value for each in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
