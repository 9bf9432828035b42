"""From a path to what can be run on photos: which kind of file it is, and how it is opened.

what is given                                     how it is run
a checkpoint of a known layout, safetensors       PyTorch, batch norm folded, photos of any size
an output folder of the toolchain                 its model.safetensors
an ONNX file of ours                              onnxruntime, at its own size if it has one
a TFLite file of ours                             ai-edge-litert or tflite-runtime, at its size
an ncnn file of ours, or its folder               ncnn, at its size
a model for ``cv2.FaceDetectorYN`` (a peer)       OpenCV

A :class:`FinderPlan` holds only names and numbers, so that it can be handed to another process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from toolchain.detection.finders import (
    Finder,
    file_network,
    network_finder,
    opened,
    peer_finder,
    shown_support,
)
from toolchain.errors import InputError, ModelError
from toolchain.records.accuracy import OVERLAPS, Protocol, Subject
from toolchain.records.recommendation import ORIGINAL
from toolchain.records.run_folder import CERTIFICATE, MANIFEST, WEIGHTS, RunFolder, model_file
from toolchain.system.files import sha256_of

if TYPE_CHECKING:
    from toolchain.recipe import Recipe
    from toolchain.zoo.sources import Loaded

Kind = Literal["network", "onnx", "tflite", "ncnn", "peer"]
SUFFIXES: dict[str, Kind] = {".onnx": "onnx", ".tflite": "tflite", ".param": "ncnn"}
"""Of files that run by themselves."""


@dataclass(frozen=True)
class FinderPlan:
    """A detector that can be opened, here or in another process."""

    path: Path
    kind: Kind
    protocol: Protocol
    model: str | None = None
    """``eresfd``, ``extd``...: needed for weights only."""
    anchor_ratio: float | None = None
    """Anchor height over width, if the weights' layout does not tell the right one."""
    recipe: Recipe | None = None
    """The one that an output folder was made by; None: the one that ships for the model."""


@dataclass(frozen=True)
class Description:
    """What a plan leads to."""

    subject: Subject
    notes: tuple[str, ...]


def plan_for(
    path: Path,
    protocol: Protocol,
    *,
    peer: bool = False,
    model: str | None = None,
    anchor_ratio: float | None = None,
) -> FinderPlan:
    """Tell what kind of file ``path`` is; raise :class:`InputError` if it is none that is known."""
    path = model_file(path)
    if not path.exists() and not list(path.parent.glob(f"{path.name}.*")):
        hint = "; give weights, a folder that shrink wrote, or an ONNX, TFLite or ncnn file of ours"
        raise InputError(f"{path}: there is no such file or folder{'' if peer else hint}")
    if peer:
        return FinderPlan(path, "peer", _peer_protocol(protocol))
    from toolchain.models.layouts import known_model
    from toolchain.models.published_onnx import read_published

    if path.suffix in SUFFIXES and read_published(path) is None:
        return FinderPlan(path, SUFFIXES[path.suffix], protocol)

    recipe = None
    if (path / MANIFEST).is_file():
        path = path / WEIGHTS
    if path.name == WEIGHTS and (path.parent / CERTIFICATE).is_file():
        run = RunFolder.open(path.parent)
        run.demand_unchanged([WEIGHTS])
        recipe = run.certificate.recipe
    return FinderPlan(path, "network", protocol, known_model(path, model), anchor_ratio, recipe)


def _peer_protocol(protocol: Protocol) -> Protocol:
    """Let a peer suppress within a pass as its authors set it: YuNet's overlap is 0.45."""
    return dataclasses.replace(protocol, nms_iou=0.45)


def describe(plan: FinderPlan) -> Description:
    """Open the plan's file once and tell what it is; raises what opening raises."""
    if plan.kind == "peer":
        peer_finder(plan.path, plan.protocol)
        settings = {"runtime": "OpenCV FaceDetectorYN", "input": _input(plan.protocol)}
        subject = Subject(plan.path.name, "peer", None, sha256_of(plan.path), settings)
        return Description(subject, ())
    if plan.kind in SUFFIXES.values():
        return _describe_file(plan)
    loaded = _load(plan)
    anchors = loaded.recipe.anchors
    settings = {"runtime": "PyTorch", "colour order": loaded.recipe.input.color_order}
    if anchors is not None:
        settings["anchor height / width"] = f"{anchors.aspect_ratio:g}"
    settings |= {"input": _input(plan.protocol), "layout": loaded.source.layout}
    settings |= _overlaps(loaded.recipe.decode.board_support, plan.protocol)
    name = plan.path.parent.name if plan.path.name == WEIGHTS else plan.path.name
    subject = Subject(name, "network", plan.model, loaded.source.sha256, settings)
    return Description(subject, loaded.notes)


def _overlaps(support: float | None, protocol: Protocol) -> dict[str, str]:
    """Return what becomes of boxes that overlap, where it is not that the best stays alone."""
    shown = shown_support(support, protocol)
    return {} if shown is None else {OVERLAPS: f"their mean, support {shown:g}"}


def _input(protocol: Protocol) -> str:
    return f"{protocol.size[0]}x{protocol.size[1]}, letterboxed" if protocol.size else ORIGINAL


def _describe_file(plan: FinderPlan) -> Description:
    file = _open_file(plan.path, threads=1)
    notes: tuple[str, ...] = ()
    size = _input(plan.protocol)
    if file.size is not None:
        size = f"{file.size[0]}x{file.size[1]}, letterboxed"
        _demand_its_size(plan, file.size)
        notes = (
            f"{plan.path.name} takes {file.size[0]}x{file.size[1]} pixels only: photos are fitted "
            f"into it, as on the board, which costs small faces.",
        )
    if not file.trained:
        notes += (f"UNTRAINED: {plan.path.name} says that its weights are not trained.",)
    settings = {"runtime": file.runtime, "colour order": file.color_order}
    if file.aspect_ratio is not None:
        settings["anchor height / width"] = f"{file.aspect_ratio:g}"
    settings["input"] = size
    settings |= _overlaps(file.support, plan.protocol)
    name = plan.path.name
    if plan.kind == "ncnn":
        folder = plan.path.resolve().parent
        name = f"{folder.parent.name}/{folder.name}"
    elif plan.path.stem.startswith("model"):
        name = f"{plan.path.resolve().parent.name}/{name}"
    subject = Subject(name, plan.kind, file.model, sha256_of(plan.path), settings)
    return Description(subject, notes)


def _demand_its_size(plan: FinderPlan, size: tuple[int, int]) -> None:
    """Raise :class:`InputError` where a file of one size is asked to look at others."""
    only = f"{plan.path.name} takes {size[0]}x{size[1]} pixels only"
    if plan.protocol.size not in (None, size):
        raise InputError(f"--size: {only}; leave --size out, or give the weights")
    if plan.protocol.name == "paper":
        raise InputError(
            f"{only}, and the protocol 'paper' looks at several sizes; export it with --dynamic, "
            f"give the weights instead, or use --protocol single"
        )


@dataclass(frozen=True)
class _File:
    """An opened file, and what it says of itself."""

    model: str
    trained: bool
    runtime: str
    color_order: str
    aspect_ratio: float | None
    """Of anchors; None where there are none."""
    size: tuple[int, int] | None
    """None if it takes any."""
    support: float | None
    """What boxes that overlap add to the best; None: nothing."""
    finder: Callable[[Protocol], Finder]


def _open_file(path: Path, threads: int) -> _File:
    """Open an ONNX, TFLite or ncnn file of ours; raise :class:`ModelError` if it is not one."""
    from toolchain.detection.one_class import boxes_finder, is_of_boxes, of_file

    network = opened(path, threads)
    runtime = network.runtime.partition(" ")[0]
    if is_of_boxes(network.metadata):
        run_all, told = of_file(path, network)
        assert told.pictures is not None
        pictures = told.pictures
        return _File(
            told.model, told.trained, runtime, pictures.color_order, None,
            _size(pictures.height, pictures.width), told.support,
            partial(boxes_finder, run_all, told),
        )  # fmt: skip
    run, found = file_network(path, network)
    return _File(
        found.model, found.trained, runtime, found.color_order, found.aspect_ratio,
        _size(found.height, found.width), found.support, partial(network_finder, run, found),
    )  # fmt: skip


def _size(height: int | None, width: int | None) -> tuple[int, int] | None:
    return None if height is None or width is None else (height, width)


def open_finder(plan: FinderPlan, threads: int) -> Finder:
    """Open the plan's detector for so many threads."""
    import cv2

    cv2.setNumThreads(threads)
    if plan.kind == "peer":
        return peer_finder(plan.path, plan.protocol)
    if plan.kind in SUFFIXES.values():
        return _open_file(plan.path, threads).finder(plan.protocol)
    from toolchain.detection.network import torch_finder

    return torch_finder(_load(plan), threads, plan.protocol)


def _load(plan: FinderPlan) -> Loaded:
    from toolchain.recipe import default_recipe
    from toolchain.zoo.sources import load_network

    assert plan.model is not None
    recipe = plan.recipe or default_recipe(plan.model)
    loaded = load_network(recipe, plan.path, plan.anchor_ratio)
    if loaded.recipe.task_kind not in ("faces", "boxes"):
        raise ModelError(
            f"{plan.model} is no face detector that is known here (its recipe has no anchors, and "
            f"its task is {loaded.recipe.task_kind}), so it has no average precision on faces; "
            f"shrink it by a recipe with anchors, or a task of boxes, and give the output folder"
        )
    return loaded
