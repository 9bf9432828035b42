"""The form of an ONNX file: nodes before and behind the network.

Pixels go into the first convolution as they lie: (1, H, W, 3) read as one plane of 3 W columns, by
a kernel three times as wide. A border of the colour that becomes zero is put around them, as the
network's zeros would lie, scale and std go into the weights, and the mean into the bias. Where that
cannot be, as in int8 files, they are transposed, and operators scale and subtract: so too where the
colour that becomes zero is between whole pixels, such as torchvision's (123.7, 116.3, 103.5), for
then no border of pixels would be exact.

Boxes are decoded plane by plane, (1, 4, P): runtimes split and join planes for nothing, rows of two
and four at ten times the cost.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolchain.check.pictures import board_view
from toolchain.deploy import detect
from toolchain.errors import ExportError, first_line
from toolchain.export.form import (
    OUTPUTS,
    blue_first,
    border_colour,
    border_is_exact,
    formed_metadata,
)
from toolchain.export.graph import Additions, attributes
from toolchain.export.onnx_file import set_metadata
from toolchain.recipe import Recipe

PREFIX = "form/"
"""Of all names that are added."""
IMAGE = "image"
FIRST_AXIS, ROWS, COLUMNS = 1, 2, 3


def formed_onnx(data: bytes, recipe: Recipe) -> bytes:
    """Return a bare ONNX file in the recipe's form.

    Raises :class:`ExportError` if it cannot be had.
    """
    model: Any = onnx.load_from_string(data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        if recipe.input.dtype == "uint8":
            _take_pixels(model, recipe)
        if recipe.decode.postprocess != "none":
            _give_boxes(model, recipe)
        set_metadata(model, formed_metadata(metadata, recipe))
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = first_line(error)
        raise ExportError(f"the ONNX file cannot be given its form ({reason})") from error
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


def _give_boxes(model: Any, recipe: Recipe) -> None:
    graph = Additions(model, PREFIX)
    kind = recipe.decode.postprocess
    view = board_view(recipe)
    every = detect.anchors(view, recipe.input.height, recipe.input.width)
    if kind == "nms":
        made = _faces(graph, view, every)
        shapes: list[list[int | str]] = [[1, "faces", 4], [1, "faces"]]
    else:
        made = _every_box(graph, view, every), _probabilities(graph)
        shapes = [[1, len(every), 4], [1, len(every), 2]]
    graph.proto.node.extend(graph.nodes)
    graph.proto.value_info.extend(graph.proto.output)  # by which a proof cuts this end off
    del graph.proto.output[:]
    for value, name, shape in zip(made, OUTPUTS[kind], shapes, strict=True):
        graph.proto.node.append(
            helper.make_node("Identity", [value], [name], name=f"{PREFIX}{name}_Identity")
        )
        graph.proto.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _every_box(graph: Additions, view: detect.Specification, every: detect.Floats) -> str:
    """Return boxes (1, P, 4), left, top, right, bottom in pixels of the input."""
    planes = graph.node("Transpose", ["loc"], "loc_planes", perm=[0, 2, 1])
    offset, log_size = graph.halves(planes, FIRST_AXIS, ("offset", "log_size"))
    sides = every[None, :, 2:].transpose(0, 2, 1)
    scale = (sides.astype(np.float64) * view.variances[0]).astype(np.float32)
    moved = graph.node("Mul", [offset, graph.constant("scale", scale)], "moved")
    centres = graph.constant("centres", every[None, :, :2].transpose(0, 2, 1))
    centre = graph.node("Add", [moved, centres], "centre")
    half = graph.node(
        "Mul",
        [_growth(graph, log_size, view), graph.constant("half_sides", 0.5 * sides)],
        "half",
    )
    corners = _corners(graph, centre, half, FIRST_AXIS)
    return graph.node("Transpose", [corners], "boxes", perm=[0, 2, 1])


def _growth(graph: Additions, log_size: str, view: detect.Specification) -> str:
    """Return a box's sides over those of its anchor."""
    scaled = graph.node("Mul", [log_size, graph.scalar("log_scale", view.variances[1])], "scaled")
    ends = [
        graph.scalar("least_log", -detect.LARGEST_LOG),
        graph.scalar("largest_log", detect.LARGEST_LOG),
    ]
    return graph.node("Exp", [graph.node("Clip", [scaled, *ends], "clipped")], "growth")


def _corners(graph: Additions, centre: str, half: str, axis: int) -> str:
    low = graph.node("Sub", [centre, half], "low")
    high = graph.node("Add", [centre, half], "high")
    return graph.node("Concat", [low, high], "corners", axis=axis)


def _probabilities(graph: Additions) -> str:
    """Return (1, P, 2), background and face: the sigmoids of both differences of the logits.

    By exponentials: near 0 onnxruntime's own sigmoid is rounded to steps of 6e-8, and by what is
    left to the background sure faces are told apart.
    """
    planes = graph.node("Transpose", ["logits"], "logit_planes", perm=[0, 2, 1])
    background, face = graph.halves(planes, FIRST_AXIS, ("background", "face"))
    against = graph.node("Sub", [background, face], "against")
    evidence = graph.node("Sub", [face, background], "evidence")
    both = graph.node("Concat", [evidence, against], "both", axis=FIRST_AXIS)
    grown = graph.node(
        "Add", [graph.node("Exp", [both], "odds"), graph.scalar("one_more", 1)], "sum"
    )
    sigmoids = graph.node("Reciprocal", [grown], "sigmoids")
    return graph.node("Transpose", [sigmoids], "probabilities", perm=[0, 2, 1])


def _faces(graph: Additions, view: detect.Specification, every: detect.Floats) -> tuple[str, str]:
    """Return boxes (1, K, 4) and scores (1, K), best first; only what passes is decoded."""
    background, face = graph.halves("logits", 2, ("background", "face"))
    flat = graph.constant("flat", np.array([-1]))
    difference = graph.node("Sub", [face, background], "difference")
    evidence = graph.node("Reshape", [difference, flat], "evidence")
    rows = _passing_rows(graph, evidence, view, flat)
    loc = graph.node("Reshape", ["loc", graph.constant("four", np.array([-1, 4]))], "loc_rows")
    own = graph.node("Gather", [loc, rows], "own_loc", axis=0)
    boxes = _boxes_of_rows(graph, own, rows, view, every)
    strength = _finite_strength(graph, own, graph.node("Gather", [evidence, rows], "found", axis=0))
    picture = graph.constant("picture", np.array([0]))
    candidates = graph.node("Unsqueeze", [boxes, picture], "candidates")
    ranked = graph.node(
        "Unsqueeze", [strength, graph.constant("one_class", np.array([0, 1]))], "ranked"
    )
    limits = [
        graph.constant("most", np.array([view.max_detections])),
        graph.constant("overlap", np.array([view.nms_iou], np.float32)),
        graph.constant("nothing", np.array([-math.inf], np.float32)),
    ]
    chosen = graph.node("NonMaxSuppression", [candidates, ranked, *limits], "chosen")
    kept = graph.node("Gather", [chosen, graph.constant("row", np.array(2))], "kept", axis=1)
    faces = graph.node("Gather", [candidates, kept], "faces", axis=1)
    best = graph.node("Gather", [strength, kept], "best", axis=0)
    sigmoid = graph.node("Sigmoid", [best], "sigmoid")
    return faces, graph.node("Unsqueeze", [sigmoid, picture], "scores")


def _passing_rows(graph: Additions, evidence: str, view: detect.Specification, flat: str) -> str:
    """Return the rows that pass the threshold and are finite."""
    above = graph.scalar("threshold", largest_below(view.score_threshold))
    passing = graph.node("Greater", [evidence, above], "passing")
    finite = graph.node("Less", [evidence, graph.scalar("infinity", math.inf)], "finite")
    both = graph.node("And", [passing, finite], "faces_or_doubles")
    return graph.node("Reshape", [graph.node("NonZero", [both], "places"), flat], "rows")


def _finite_strength(graph: Additions, own: str, strength: str) -> str:
    """Return the evidence (K,) of some rows, minus infinity where ``loc`` is not finite."""
    axis = graph.constant("of_a_row", np.array([1]))
    total = graph.node("ReduceL1", [own, axis], "total", keepdims=0)
    finite = graph.node("Less", [total, PREFIX + "infinity"], "finite_box")
    least = graph.scalar("minus_infinity", -math.inf)
    return graph.node("Where", [finite, strength, least], "strength")


def largest_below(score_threshold: float) -> float:
    """Return the largest float32 whose sigmoid is below a threshold; infinite at 0 and 1."""
    exact = detect.logit(score_threshold)
    rounded = np.float32(exact)
    if math.isinf(exact) or float(rounded) < exact:
        return float(rounded)
    return float(np.nextafter(rounded, np.float32(-np.inf)))


def _boxes_of_rows(
    graph: Additions, own: str, rows: str, view: detect.Specification, every: detect.Floats
) -> str:
    """Return the boxes (K, 4) of the anchors in some rows, ``own`` being those of ``loc``."""
    anchor = graph.node("Gather", [graph.constant("anchors", every), rows], "own", axis=0)
    offset, log_size = graph.halves(own, 1, ("offset", "log_size"))
    middle, sides = graph.halves(anchor, 1, ("middle", "sides"))
    scale = graph.node("Mul", [sides, graph.scalar("scale", view.variances[0])], "scale_own")
    moved = graph.node("Mul", [offset, scale], "moved")
    centre = graph.node("Add", [moved, middle], "centre")
    halved = graph.node("Mul", [sides, graph.scalar("one_half", 0.5)], "half_sides")
    half = graph.node("Mul", [_growth(graph, log_size, view), halved], "half")
    return _corners(graph, centre, half, 1)
