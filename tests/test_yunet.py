"""YuNet: read from its published ONNX file, it gives and finds the same as there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from toolchain.detection.opening import describe, open_finder, plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.errors import InputError
from toolchain.models.detector import find
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.yunet import DETECTOR, OUTPUTS, YuNet
from toolchain.recipe import default_recipe, override
from toolchain.zoo.sources import load_network

SINGLE = PROTOCOLS["single"]


def published(path: Path, *, seed: int = 0, made_here: bool = False) -> YuNet:
    """Write a file with the convolutions of a published one, and return the network of them."""
    torch.manual_seed(seed)
    network = YuNet().eval()
    nodes, held = [], []
    for index, name in enumerate(DETECTOR.convolutions):
        layer = network.get_submodule(name)
        for end, tensor in (("w", layer.weight), ("b", layer.bias)):
            held.append(numpy_helper.from_array(tensor.detach().numpy(), f"{index}{end}"))
        nodes.append(helper.make_node("Conv", ["x", f"{index}w", f"{index}b"], [f"y{index}"]))
    graph = helper.make_graph(
        nodes, "published",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])], [], held,
    )  # fmt: skip
    model = helper.make_model(graph)
    if made_here:
        helper.set_model_props(model, {"detector": "{}"})
    onnx.save(model, path)
    return network


def test_weights_of_a_published_file_go_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    network = published(path)
    loaded = load_network(default_recipe("yunet"), path)
    assert loaded.source.layout == "yunet/onnx"
    assert loaded.outputs == OUTPUTS
    image = 255 * torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        pairs = zip(network(image), loaded.network(image), strict=True)
        assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in pairs)


def test_a_file_made_here_is_run_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    published(path, made_here=True)
    assert plan_for(path, SINGLE).kind == "onnx"
    published(path)
    assert plan_for(path, SINGLE).kind == "network"


def test_a_file_of_other_widths_is_no_published_one(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    published(path)
    model: Any = onnx.load(path)
    narrow = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "0w")
    model.graph.initializer[0].CopyFrom(narrow)
    onnx.save(model, path)
    assert plan_for(path, SINGLE).kind == "onnx"


def test_an_image_is_one_face_or_none_in_each_cell() -> None:
    with torch.no_grad():
        outputs = dict(zip(OUTPUTS, build("yunet")(torch.zeros(2, 3, 64, 96)), strict=True))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        f"{kind}_{stride}": (2, 64 * 96 // stride**2, numbers)
        for kind, numbers in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    }
    scores = [outputs[f"{kind}_{stride}"] for kind in ("cls", "obj") for stride in (8, 16, 32)]
    assert all(bool(((each > 0) & (each < 1)).all()) for each in scores)


@pytest.fixture(scope="module")
def theirs(shared: Path) -> Path:
    """The file as OpenCV publishes it, for any size."""
    path = shared / "peers" / "yunet_n_dynamic.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


def test_the_network_gives_what_the_published_file_gives(theirs: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(theirs))
    image = (255 * np.random.default_rng(0).random((1, 3, 96, 160))).astype(np.float32)
    expected = session.run(list(OUTPUTS), {session.get_inputs()[0].name: image})
    network = load_network(default_recipe("yunet"), theirs).network
    with torch.no_grad():
        found = network(torch.from_numpy(image))
    for name, ours, truth in zip(OUTPUTS, found, expected, strict=True):
        assert np.abs(ours.numpy() - truth).max() < 1e-5 * max(1.0, np.abs(truth).max()), name


def test_the_board_finds_the_boxes_that_opencv_finds(theirs: Path) -> None:
    import cv2

    from toolchain.deploy import detect

    photo = detect.read_image(Path(detect.__file__).parent / "bundle/photo.jpg")
    height, width = (side // 32 * 32 for side in photo.shape[:2])
    photo = np.ascontiguousarray(photo[:height, :width])
    same = dataclasses.replace(SINGLE, score_threshold=0.5)
    plan = plan_for(theirs, same)
    alone = override(default_recipe("yunet"), {"decode.support": None})  # as OpenCV has it
    ours = open_finder(dataclasses.replace(plan, recipe=alone), 1)(photo, 1.0)
    peer = cv2.FaceDetectorYN.create(str(theirs), "", (width, height), 0.5, 0.3, 5000)
    _, rows = peer.detect(photo)
    rows = rows[np.argsort(-rows[:, -1])]
    assert len(rows) == len(ours[1]) > 0
    corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    assert np.abs(ours[1] - rows[:, -1]).max() < 1e-4
    assert np.abs(ours[0] - np.clip(corners, 0, [width, height, width, height])).max() < 0.05


def test_a_photo_of_any_size_is_padded_and_boxes_stay_inside(theirs: Path) -> None:
    from toolchain.deploy import detect

    photo = detect.read_image(Path(detect.__file__).parent / "bundle/photo.jpg")[:333, :217]
    boxes, scores = open_finder(plan_for(theirs, SINGLE), 1)(np.ascontiguousarray(photo), 0.7)
    assert len(scores) > 0
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [217, 333]).all()


def test_average_precision_of_faces_is_of_one_class(tmp_path: Path) -> None:
    from toolchain.detection.one_class import of_network

    path = tmp_path / "yunet.onnx"
    published(path)
    loaded = load_network(default_recipe("yunet"), path)
    task = dataclasses.replace(loaded.recipe.task, labels=("face", "cat"))
    loaded = dataclasses.replace(loaded, recipe=dataclasses.replace(loaded.recipe, task=task))
    with pytest.raises(InputError, match="its task is 2 classes; evaluate it by --function coco"):
        of_network(loaded, lambda tensor: [tensor])


def test_it_is_told_as_a_network_that_pytorch_runs(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    published(path)
    subject = describe(plan_for(path, SINGLE)).subject
    assert (subject.model, subject.settings["colour order"]) == ("yunet", "BGR")
    assert "anchor height / width" not in subject.settings
    assert read_checkpoint(path).model == "yunet"
    assert find("yunet") is DETECTOR
