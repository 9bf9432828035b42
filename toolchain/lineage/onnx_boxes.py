"""The end of an ONNX file that gives boxes in place of raw outputs.

Boxes are decoded plane by plane, (1, 4, P): runtimes split and join planes for nothing, rows of two
and four at ten times the cost.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from toolchain.checking.pictures import board_view
from toolchain.deploy import detect
from toolchain.exporting.graph import Additions
from toolchain.exporting.io_spec import (
    OUTPUTS,
)
from toolchain.recipe import Recipe

PREFIX = "io/"
"""Of all names that are added."""
FIRST_AXIS = 1
"""Of channels, and of planes."""


def give_boxes(model: Any, recipe: Recipe) -> None:
    """Let a bare model give boxes and probabilities, or faces, as the recipe says; in place."""
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
