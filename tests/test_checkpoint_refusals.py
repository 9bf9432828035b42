"""Weights from strangers: what cannot be used is refused in one line, unrun."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import (
    WEIGHT,
    State,
    assert_holds,
    five_files,
    native,
    random_state,
    refusal,
    saved,
    written,
)

from toolchain.errors import CheckpointError
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into

torch.set_num_threads(1)


# Not a checkpoint at all ------------------------------------------------------------------------

NO_CHECKPOINTS = {
    "text": (b"# My weights\nThey are elsewhere.\n", "found a text file"),
    "text that looks like a pickle": (b"hello world\n", "found a text file"),
    "a page instead of a download": (b"<!DOCTYPE html><html></html>\n", "found a text file"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "found a text file"),
    "JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)), "found a JPEG picture"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(200), "found a PNG picture"),
    "zeros": (bytes(1000), "not a file of PyTorch weights"),
    "noise": (random.Random(3).randbytes(1000), "not a file of PyTorch weights"),
    "nothing": (b"", "the file is empty"),
}


@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_another_file_is_told_for_what_it_is(tmp_path: Path, name: str) -> None:
    data, words = NO_CHECKPOINTS[name]
    assert words in refusal(written(tmp_path / "weights.pth", data))


def test_missing_file(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.pth")


def test_folder_without_weights(tmp_path: Path) -> None:
    assert "expected one NAME.base.pth with its four companions, found 0" in refusal(tmp_path)


def test_folder_with_two_checkpoints(tmp_path: Path) -> None:
    five_files(tmp_path, random_state(), "a.pth")
    five_files(tmp_path, random_state(), "b.pth")
    assert "found 2" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["loc", "act_conf"])
def test_one_of_five_files_is_missing(tmp_path: Path, part: str) -> None:
    folder = five_files(tmp_path / "face", random_state())
    (folder / f"face.pth.{part}.pth").unlink()
    with pytest.raises(CheckpointError, match=rf"lacks face\.pth\.{part}\.pth$"):
        read_checkpoint(folder)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as stream:
        stream.truncate(3 * 1024**3)  # sparse: takes no room
    assert "3,221,225,472 bytes of content; at most 2,147,483,648" in refusal(path)


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("zip_format", [True, False])
def test_truncated(tmp_path: Path, part: float, zip_format: bool) -> None:
    path = saved(tmp_path / "w.pth", random_state(), _use_new_zipfile_serialization=zip_format)
    data = path.read_bytes()
    message = refusal(written(path, data[: int(part * len(data))]))
    assert ("truncated or damaged" if zip_format else "damaged") in message


# Damaged and hostile archives -------------------------------------------------------------------


def test_archive_whose_directory_is_damaged(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", random_state())
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at : at + 4] = b"XXXX"
    assert "truncated or damaged" in refusal(written(path, bytes(data)))


def test_archive_that_claims_to_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"a": torch.ones(3)})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")  # uncompressed size
    assert "at most 2,147,483,648 are read" in refusal(written(path, bytes(data)))


def test_archive_that_really_unpacks_to_gigabytes_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.models.headers.MAX_BYTES", 10**6)
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2 * 10**6))
    assert path.stat().st_size < 10**4
    assert "2,000,000 bytes of content; at most 1,000,000 are read" in refusal(path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "archive" in refusal(path)


class Hostile:
    """Unpickling this makes a folder, if the unpickler runs code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"mkdir '{self.trace}'",)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare 2", "bare 4", "in a folder"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, form: str) -> None:
    trace = tmp_path / "it-ran"
    content = {WEIGHT: Hostile(trace)}
    path = tmp_path / "w.pth"
    if form.startswith("bare"):
        written(path, pickle.dumps(content, protocol=int(form[-1])))
    elif form == "in a folder":
        path = five_files(tmp_path / "face", random_state())
        saved(path / "face.pth.conf.pth", content)
    else:
        saved(path, content, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not trace.exists()
    assert "\n" not in str(caught.value)
    if form != "bare 4":  # that protocol is refused before any code is seen
        assert "run code when loaded" in str(caught.value)


def test_the_hostile_pickle_would_have_run(tmp_path: Path) -> None:
    """So that the test above means something."""
    trace = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Hostile(trace)))
    assert trace.is_dir()


def test_pickled_network_is_not_unpickled(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "w.pth", build("eresfd")))
    assert "toolchain.models.eresfd.EResFD" in message
    assert "write torch.save(network.state_dict(), FILE), and give that" in message


@pytest.mark.parametrize(
    ("content", "found"), [([torch.ones(1)], "list"), (torch.ones(1), "Tensor")]
)
def test_something_other_than_a_dictionary(tmp_path: Path, content: object, found: str) -> None:
    message = refusal(saved(tmp_path / "w.pth", content))
    assert f"expected a dictionary of tensors, found {found}" in message


# A state dict that does not fit -----------------------------------------------------------------


def without(state: State, key: str) -> State:
    return {name: tensor for name, tensor in state.items() if name != key}


def spoilt(value: float) -> State:
    state = random_state()
    state[WEIGHT] = state[WEIGHT].clone()
    state[WEIGHT][1, 2, 3, 4] = value
    return state


MISFITS: dict[str, tuple[Callable[[], dict[Any, Any]], str]] = {
    "wrong shape": (
        lambda: {**random_state(), WEIGHT: torch.ones(4, 3, 5, 5)},
        f"w.pth does not fit eresfd: {WEIGHT} must be of shape (8, 3, 5, 5) (got (4, 3, 5, 5))",
    ),
    "missing": (
        lambda: without(random_state(), WEIGHT),
        f"w.pth does not fit eresfd: 1 tensor missing ({WEIGHT})",
    ),
    "surplus": (
        lambda: {**random_state(), "more": torch.ones(1)},
        "w.pth does not fit eresfd: 1 tensor not known (more)",
    ),
    "both": (
        lambda: {**without(random_state(), WEIGHT), "more": torch.ones(1)},
        f"w.pth does not fit eresfd: 1 tensor missing ({WEIGHT}); 1 tensor not known (more)",
    ),
    "not a tensor": (
        lambda: {**random_state(), WEIGHT: "?"},
        f"entry '{WEIGHT}' must be a tensor (got str)",
    ),
    "no tensors": (lambda: {"epoch": 3, "lr": 0.1}, "no tensors in it, only 'epoch' (int)"),
    "NaN": (lambda: spoilt(float("nan")), f"{WEIGHT} is NaN or infinite in 1 of 600 values"),
    "infinite": (lambda: spoilt(float("inf")), f"{WEIGHT} is NaN or infinite in 1 of 600 values"),
    "sparse": (lambda: {**random_state(), WEIGHT: random_state()[WEIGHT].to_sparse()}, WEIGHT),
    "no data": (lambda: {**random_state(), WEIGHT: random_state()[WEIGHT].to("meta")}, WEIGHT),
    "complex": (
        lambda: {**random_state(), WEIGHT: random_state()[WEIGHT].to(torch.complex64)},
        WEIGHT,
    ),
    "nothing": (dict, "400 tensors missing ("),
    "numbers for names": (lambda: {1: torch.ones(1)}, "1 tensor not known (1)"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_told_by_tensor_expected_and_found(tmp_path: Path, name: str) -> None:
    make, words = MISFITS[name]
    assert words in refusal(saved(tmp_path / "w.pth", make()))


@pytest.mark.parametrize(("model", "other"), [("eresfd", "extd"), ("extd", "eresfd")])
def test_checkpoint_of_the_other_network(tmp_path: Path, model: str, other: str) -> None:
    path = saved(tmp_path / "w.pth", random_state(other))
    expected = f"w.pth is a checkpoint of {other}; expected one of {model}"
    assert refusal(path, model).startswith(expected)


@pytest.mark.parametrize("count", [3, 4])
def test_at_most_three_names_are_listed(tmp_path: Path, count: int) -> None:
    more = {f"more{i}": torch.ones(1) for i in range(count)}
    message = refusal(saved(tmp_path / "w.pth", {**random_state(), **more}))
    tail = " and 1 more)" if count == 4 else ")"
    assert message.endswith(f"{count} tensors not known (more0, more1, more2{tail}")


def test_a_refused_checkpoint_leaves_the_network_alone(tmp_path: Path) -> None:
    state = {**random_state(), "loc.0.bias": torch.ones(5)}
    network = build("eresfd", 2)
    with pytest.raises(CheckpointError):
        load_into(network, read_checkpoint(saved(tmp_path / "w.pth", state)), "eresfd")
    assert_holds(network, dict(build("eresfd", 2).state_dict()))


# Native files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.5, 0.9999])
def test_truncated_safetensors(tmp_path: Path, part: float) -> None:
    path = native(tmp_path / "n.safetensors", random_state(), {"model": "eresfd"})
    data = path.read_bytes()
    message = refusal(written(path, data[: int(part * len(data))]))
    assert ("not a valid safetensors file" if part else "the file is empty") in message


@pytest.mark.parametrize("head", [b"\xff" * 8, (10).to_bytes(8, "little"), b"not at all"])
def test_damaged_header(tmp_path: Path, head: bytes) -> None:
    path = native(tmp_path / "n.safetensors", random_state(), {"model": "eresfd"})
    data = path.read_bytes()
    assert "not a valid safetensors file" in refusal(written(path, head + data[len(head) :]))


DAMAGED_METADATA = {
    "no JSON": "{",
    "list": [1],
    "empty list": [],
    "null": None,
    "text": '"eresfd"',
    "number": 3,
    "nested": "[" * 100_000,
    "huge number": '{"model": "eresfd", "aspect_ratio": ' + "9" * 400 + "}",
    "huger number": '{"model": "eresfd", "aspect_ratio": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("name", DAMAGED_METADATA)
def test_damaged_metadata(tmp_path: Path, name: str) -> None:
    path = native(tmp_path / "n.safetensors", random_state(), DAMAGED_METADATA[name])
    assert "metadata is damaged" in refusal(path)


@pytest.mark.parametrize(
    "ratio",
    [-1.25, 0, 1e300, float("nan"), float("inf"), "1.25", "wide", True, [1.25], {"h": 1}],
    ids=repr,
)
def test_impossible_aspect_ratio(tmp_path: Path, ratio: object) -> None:
    metadata = {"model": "eresfd", "aspect_ratio": ratio}
    message = refusal(native(tmp_path / "n.safetensors", random_state(), metadata))
    assert "metadata" in message


@pytest.mark.parametrize("model", ["extd", "eresfd\nextd", ["eresfd"], {}, 3, None], ids=repr)
def test_name_of_another_model(tmp_path: Path, model: object) -> None:
    metadata = {"schema": 1, "model": model}
    refusal(native(tmp_path / "n.safetensors", random_state(), metadata))


def test_native_file_without_a_model(tmp_path: Path) -> None:
    refusal(native(tmp_path / "n.safetensors", random_state(), {"schema": 1}))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_native_weights_must_be_finite(tmp_path: Path, value: float) -> None:
    path = native(tmp_path / "n.safetensors", spoilt(value), {"model": "eresfd"})
    assert f"{WEIGHT} is NaN or infinite in 1 of 600 values" in refusal(path)


def cut(model: str, key: str, *index: slice) -> tuple[str, State]:
    state = random_state(model)
    return model, {**state, key: state[key][index].clone()}


INCONSISTENT = {
    "a convolution narrower than its batch norm": cut("eresfd", "base.conv2.0.weight", slice(5)),
    "no filter left": cut("eresfd", "base.conv2.0.weight", slice(0)),
    "a smaller kernel": cut(
        "eresfd", "base.conv2.0.weight", slice(None), slice(None), slice(1), slice(1)
    ),
    "fusion weights of fewer levels": cut("eresfd", "base.m0.fpn.w1", slice(None), slice(3)),
    "a head of three coordinates": cut("eresfd", "loc.0.weight", slice(3)),
    "a depthwise convolution without channels": cut("extd", "base.1.conv.0.weight", slice(0)),
    "a depthwise convolution of one channel": cut("extd", "base.1.conv.0.weight", slice(1)),
    "a shorter bias": cut("extd", "base.1.conv.0.bias", slice(3)),
}


@pytest.mark.parametrize("name", INCONSISTENT)
def test_widths_that_contradict_each_other(tmp_path: Path, name: str) -> None:
    model, state = INCONSISTENT[name]
    refusal(native(tmp_path / "n.safetensors", state, {"model": model}), model)
