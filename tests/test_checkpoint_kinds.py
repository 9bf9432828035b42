"""What lies beside weights, and files that hold none."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from strangers import PLAIN_WEIGHTS, Small, assert_same, load, refusal, saved, under
from torch import nn

# What lies among the tensors ----------------------------------------------------------------------


def test_counters_of_thop_are_ignored_and_told(tmp_path: Path) -> None:
    counters = {
        f"{module}{name}": torch.zeros(1, dtype=torch.float64)
        for module in ("", "body.", "body.0.", "head.")
        for name in ("total_ops", "total_params")
    }
    found, notes = load(saved(tmp_path, under("module.", PLAIN_WEIGHTS | counters)))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes[1:] == ("Left out of w.pth: 8 counters of thop (total_ops, total_params).",)


def test_numbers_among_the_tensors_are_left_out(tmp_path: Path) -> None:
    found, _ = load(saved(tmp_path, {**PLAIN_WEIGHTS, "epoch": 3, "lr": 0.1}))
    assert_same(found, PLAIN_WEIGHTS)


BESIDE: dict[str, object] = {
    "a scalar of NumPy": np.float64(3.5),
    "an integer of NumPy": np.int64(3),
    "a truth of NumPy": np.bool_(True),
    "a text of NumPy": np.str_("best"),
    "an array of NumPy": np.arange(6.0).reshape(2, 3),
    "a type of NumPy": np.dtype("float32"),
    "arguments": argparse.Namespace(lr=0.1, data=pathlib.Path("data"), scale=np.float32(2)),
    "a path": pathlib.Path("runs") / "train",
    "a date": datetime.datetime(2024, 5, 6, 7, 8),
    "a dictionary with a default": collections.defaultdict(list, {"loss": [0.5, np.float64(0.1)]}),
    "a queue": collections.deque([1.0, 2.0], maxlen=5),
    "a counter": collections.Counter("aab"),
    "a set": {1, 2},
}


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("name", BESIDE)
def test_what_is_harmless_may_lie_beside_weights(
    tmp_path: Path, name: str, zip_format: bool
) -> None:
    content = {"before": BESIDE[name], "state_dict": PLAIN_WEIGHTS, "after": [BESIDE[name]]}
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    found, _ = load(path)
    assert_same(found, PLAIN_WEIGHTS)


def test_arrays_in_place_of_tensors_are_told(tmp_path: Path) -> None:
    content = {**PLAIN_WEIGHTS, "head.bias": np.ones(4)}
    assert "entry 'head.bias' must be a tensor (got numpy.ndarray)" in refusal(
        saved(tmp_path, content)
    )


class Meter:
    """A class of a training script."""


def test_an_object_beside_weights_is_refused_by_its_class(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"state_dict": PLAIN_WEIGHTS, "meter": Meter()}))
    assert f"it holds more than tensors ({Meter.__module__}.Meter)" in message
    assert "write torch.save(network.state_dict(), FILE)" in message


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 3}])
def test_a_whole_network_is_refused_by_its_class(
    tmp_path: Path, wrap: Callable[[nn.Module], object], zip_format: bool
) -> None:
    path = tmp_path / "w.pth"
    torch.save(wrap(Small()), path, _use_new_zipfile_serialization=zip_format)
    message = refusal(path)
    assert f"a whole network in a pickle ({Small.__module__}.Small)" in message
    assert "write torch.save(network.state_dict(), FILE), and give that" in message


def test_a_file_without_tensors_tells_what_it_holds(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"epoch": 3, "args": {"lr": 0.1}, "a": 1, "b": 2}))
    assert "no tensors in it, only 'epoch' (int), 'args' (dict), 'a' (int) and 1 more" in message


# Other files --------------------------------------------------------------------------------------


def scripted(path: Path) -> None:
    torch.jit.trace(Small().eval(), torch.zeros(1, 3, 8, 8)).save(path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(Small().eval(), (torch.zeros(1, 3, 8, 8),)), path)


def arrays(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **{name: tensor.numpy() for name, tensor in PLAIN_WEIGHTS.items()})


def array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


def onnx_file(path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([], "empty", [value], [value])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


def tflite_file(path: Path) -> None:
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))


OTHER_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "TorchScript": (scripted, "a TorchScript file (torch.jit), which is a network"),
    "exported program": (exported, "an exported program (torch.export), which is a network"),
    "arrays": (arrays, "arrays of NumPy (.npz); save them as tensors"),
    "array": (array, "found an array of NumPy; save the weights by their names"),
    "ONNX": (onnx_file, "found an ONNX file: that is what a network is exported to"),
    "TFLite": (tflite_file, "found a TFLite file: that is what a network is exported to"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_that_holds_no_weights_is_told_for_what_it_is(tmp_path: Path, name: str) -> None:
    write, words = OTHER_FILES[name]
    write(tmp_path / "w.pth")
    assert words in refusal(tmp_path / "w.pth")
