"""ONNX files that the toolchain did not make: what they are fed, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import files_alone as files
import numpy as np
import onnx
import pytest

from toolchain.bench.external import whole_sha256, whole_size
from toolchain.bench.feeds import Told, feed_of, picture_size
from toolchain.errors import InputError


def test_a_picture_is_fed_as_the_file_lays_it_out(tmp_path: Path) -> None:
    for save, shape, kind in (
        (files.convolution, (1, 3, 16, 16), np.float32),
        (files.pixels, (1, 16, 16, 3), np.uint8),
    ):
        feed = feed_of(save(tmp_path / "a.onnx"), Told())
        (array,) = feed.arrays
        assert (array.shape, array.dtype) == (shape, kind)
        assert picture_size(feed.arrays) == (16, 16)
        assert feed.words == ""  # its size tells all
        assert array.std() > 40


def test_a_free_size_is_told(tmp_path: Path) -> None:
    path = files.convolution(tmp_path / "a.onnx", ("batch", 3, "height", "width"))
    with pytest.raises(InputError, match=r"any size \(image \?x3x\?x\? float32\).*by --size HEI"):
        feed_of(path, Told())
    (array,) = feed_of(path, Told(size=(24, 32))).arrays
    assert array.shape == (1, 3, 24, 32)
    fixed = files.convolution(tmp_path / "b.onnx")
    assert feed_of(fixed, Told(size=(16, 16))).arrays[0].shape == (1, 3, 16, 16)
    with pytest.raises(InputError, match=r"is fixed to 16x16.*leave out --size"):
        feed_of(fixed, Told(size=(24, 32)))
    with pytest.raises(InputError, match=r"takes no picture.*leave out --size"):
        feed_of(files.two_inputs(tmp_path / "c.onnx"), Told(size=(24, 32)))


def test_one_channel_and_batches_are_fed(tmp_path: Path) -> None:
    for shape in ((1, 1, 16, 16), (4, 3, 16, 16), (1, 12, 16, 16)):
        feed = feed_of(files.convolution(tmp_path / "a.onnx", shape), Told())
        assert feed.arrays[0].shape == shape
        assert bool(feed.words) == (shape[0] != 1)


def test_free_lengths_of_several_inputs_are_told_by_name(tmp_path: Path) -> None:
    path = files.two_inputs(tmp_path / "a.onnx")
    with pytest.raises(InputError, match="--input-shape tokens=1xN --input-shape mask=1xN"):
        feed_of(path, Told())
    feed = feed_of(path, Told(shapes=("tokens=1x5", "mask=1x5")))
    assert feed.words == "tokens 1x5 int64, mask 1x5 float32"
    assert set(np.unique(feed.arrays[0])) <= {0, 1}  # so they are good as indices
    for shape in ("other=1x5", "1x5", "tokens=5", "tokens=5,5"):
        with pytest.raises(InputError, match=r"must be NAME=|does not fit it"):
            feed_of(path, Told(shapes=(shape, "mask=1x5")))


def test_own_inputs_are_read(tmp_path: Path) -> None:
    path, place = files.two_inputs(tmp_path / "a.onnx"), tmp_path / "in.npz"
    tokens, mask = np.ones((2, 3), np.int64), np.ones((2, 3), np.float32)
    np.savez(place, tokens=tokens, mask=mask)
    feed = feed_of(path, Told(arrays=place))
    assert feed.arrays[0].shape == (2, 3)
    for bad in ({"tokens": tokens}, {"tokens": tokens, "mask": mask[0]},
                {"tokens": tokens.astype(np.int32), "mask": mask}):  # fmt: skip
        np.savez(place, **bad)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"in\.npz: holds"):
            feed_of(path, Told(arrays=place))
    np.savez(place, tokens=np.full((2, 3), 9), mask=mask)
    with pytest.raises(InputError, match="does not run here"):
        feed_of(path, Told(arrays=place))
    place.write_bytes(b"none")
    with pytest.raises(InputError, match=r"is no \.npz of arrays"):
        feed_of(path, Told(arrays=place))


def test_a_network_of_small_numbers_is_fed_small_ones(tmp_path: Path) -> None:
    feed = feed_of(files.logarithm(tmp_path / "a.onnx", shift=1.0), Told())
    assert feed.name.endswith("of scale 1")
    assert np.abs(feed.arrays[0]).max() < 10


def flawed(tmp_path: Path, flaw: str) -> Path:
    path = tmp_path / f"{flaw}.onnx"
    if flaw == "nan":
        return files.logarithm(path, shift=-100.0)
    if flaw == "custom":
        return files.convolution(path, operator="Fancy", domain="my.ops")
    if flaw == "unknown":
        return files.convolution(path, operator="Fancy")
    if flaw == "opset":
        return files.convolution(path, opset=99)
    files.convolution(path)
    if flaw == "cut":
        path.write_bytes(path.read_bytes()[:60])
    if flaw == "empty":
        path.write_bytes(b"")
    if flaw in ("lost", "outside"):
        model = onnx.load(path)
        onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
        (tmp_path / "w.data").unlink()
    if flaw == "outside":
        path.write_bytes(path.read_bytes().replace(b"w.data", b"../w.d"))
    return path


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ("nan", "output 0 is NaN or infinite in 192 of 192 values.*--inputs FILE.npz"),
        ("custom", "has the operator my.ops:Fancy, which onnxruntime .* does not know"),
        ("unknown", "has the operator Fancy, which onnxruntime .* does not know"),
        ("opset", "needs a newer onnxruntime: the file has opset 99"),
        ("cut", "is no whole ONNX file"),
        ("empty", "is no ONNX file that can be run"),
        ("lost", "its weights lie in w.data, which is not beside it"),
        ("outside", "its weights lie outside its folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, flaw: str, words: str) -> None:
    path = flawed(tmp_path, flaw)
    with pytest.raises(InputError, match=rf"^{path.name}: .*{words}") as told:
        feed_of(path, Told())
    assert "\n" not in str(told.value)


def test_weights_beside_a_file_belong_to_it(tmp_path: Path) -> None:
    path, beside = files.convolution(tmp_path / "a.onnx"), tmp_path / "w.data"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    assert feed_of(path, Told()).arrays
    assert whole_size(path) == path.stat().st_size + beside.stat().st_size
    first = whole_sha256(path)
    beside.write_bytes(bytes(beside.stat().st_size))
    assert whole_sha256(path) != first
