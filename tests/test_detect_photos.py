"""Reading photos, odd and broken ones too, and drawing boxes on them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from board import NOISE, photo

from toolchain.deploy import detect
from toolchain.deploy.detect import DetectError
from toolchain.deploy.detector import pictures


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """A JPEG with a segment of EXIF data put in front."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def orientation(value: int) -> bytes:
    """EXIF data that says how the camera was held."""
    directory = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, value, 0, 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory


def test_colour_is_read_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(detect.read_image(photo(tmp_path / "a.png", NOISE)), NOISE)


def test_grey_becomes_three_channels(tmp_path: Path) -> None:
    found = detect.read_image(photo(tmp_path / "a.png", NOISE[:, :, 0]))
    np.testing.assert_array_equal(found, np.repeat(NOISE[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight_by_scaling(tmp_path: Path, suffix: str) -> None:
    found = detect.read_image(photo(tmp_path / f"a{suffix}", NOISE.astype(np.uint16) * 257))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, NOISE)
    grey = detect.read_image(photo(tmp_path / f"b{suffix}", NOISE[:, :, 0].astype(np.uint16) * 257))
    np.testing.assert_array_equal(grey, np.repeat(NOISE[:, :, :1], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    transparent = np.dstack([NOISE, np.zeros((20, 40), np.uint8)])
    found = detect.read_image(photo(tmp_path / "a.png", transparent))
    np.testing.assert_array_equal(found, NOISE)


def test_a_rotated_photo_is_turned_upright(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    flat = detect.read_image(path)
    path.write_bytes(with_segment(path.read_bytes(), orientation(6)))
    np.testing.assert_array_equal(detect.read_image(path), np.rot90(flat, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    large = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    path = photo(tmp_path / f"a{suffix}", large)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DetectError, match=r"cut off|no picture"):
        detect.read_image(path)


def test_a_thumbnail_s_end_does_not_hide_that_the_photo_was_cut_off(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    whole = with_segment(path.read_bytes(), b"Exif\0\0" + path.read_bytes())
    path.write_bytes(whole)
    assert detect.read_image(path).shape == (20, 40, 3)
    path.write_bytes(whole[:-2])
    with pytest.raises(DetectError, match="cut off"):
        detect.read_image(path)


def test_a_motion_photo_s_video_behind_the_picture_does_no_harm(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    path.write_bytes(path.read_bytes() + b"\xff\xda video \xff\xda")
    assert detect.read_image(path).shape == (20, 40, 3)


def test_fill_bytes_between_the_segments_of_a_jpeg_are_legal(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xff\xff" + data[2:])
    assert detect.read_image(path).shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff", "no picture"),
        (b"\xff\xd8", "cut off"),
        (b"\xff\xd8\xff", "cut off"),
        (b"hello world\n" * 50, "no picture"),
        (png(100_000, 100_000), "more than 100000000 pixels; shrink it"),
    ],
)
def test_files_that_are_no_pictures_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DetectError, match=message) as caught:
        detect.read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_too_large_for_a_picture_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.png", NOISE)
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(DetectError, match="too large"):
        detect.read_image(path)


@pytest.mark.parametrize("name", ["missing.jpg", ".", "a\0b"])
def test_a_path_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(DetectError, match="cannot be read"):
        detect.read_image(tmp_path / name)


# Drawing ----------------------------------------------------------------------------------------


def test_a_box_is_drawn_on_a_copy() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    boxes, scores = np.array([[10, 20, 30, 40.4]], np.float32), np.array([0.5], np.float32)
    drawn = detect.draw(image, boxes, scores)
    assert not image.any()
    for x, y in ((10, 20), (30, 40), (20, 20), (10, 30)):
        assert drawn[y, x].tolist() == [0, 255, 0]
    assert drawn[30, 20].tolist() == [0, 0, 0]


def test_a_box_is_drawn_in_a_single_pixel() -> None:
    one = np.zeros((1, 1, 3), np.uint8)
    drawn = detect.draw(one, np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32))
    assert drawn.tolist() == [[[0, 255, 0]]]


def jpeg(folder: Path) -> Path:
    """A photo of nothing in particular, of many blocks."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    return photo(folder / "a.jpg", image)


def with_a_hole(path: Path) -> Path:
    """The file without 100 bytes in its middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 100 :])
    return path


def test_a_jpeg_that_is_damaged_in_the_middle_is_refused_or_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = with_a_hole(jpeg(tmp_path))
    with pytest.raises(DetectError, match=r"a.jpg: is a damaged JPEG \(.+\); copy the file again"):
        detect.read_image(path)
    told: list[str] = []
    assert detect.read_image(path, on_damage=told.append).shape == (480, 640, 3)
    assert len(told) == 1
    assert capfd.readouterr().err == ""


def test_a_healthy_jpeg_is_not_called_damaged(tmp_path: Path) -> None:
    assert detect.read_image(jpeg(tmp_path), on_damage=pytest.fail).shape == (480, 640, 3)


@pytest.mark.slow
def test_photos_of_the_data_set_are_not_called_damaged(photos: list[Path]) -> None:
    for path in photos[:: max(1, len(photos) // 300)]:
        image = detect.read_image(path, on_damage=pytest.fail)
        assert image.shape[2] == 3
        assert image.any()


@pytest.mark.parametrize(
    ("words", "is_damage"),
    [
        ("Corrupt JPEG data: premature end of data segment", True),
        ("Corrupt JPEG data: bad Huffman code", True),
        ("Premature end of JPEG file", True),
        ("Corrupt JPEG data: 200 extraneous bytes before marker 0xd9", True),
        ("Corrupt JPEG data: 1 extraneous bytes before marker 0xd9", False),
        ("Corrupt JPEG data: 300 extraneous bytes before marker 0xdb", False),
    ],
)
def test_bytes_that_cameras_add_are_no_damage(words: str, is_damage: bool) -> None:
    assert pictures._is_damage(words) == is_damage


def test_what_others_write_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    decode = cv2.imdecode

    def beside_another(*arguments: object) -> object:
        os.write(2, b"of another thread\n")
        return decode(*arguments)  # type: ignore[call-overload]

    path = with_a_hole(jpeg(tmp_path))
    monkeypatch.setattr(cv2, "imdecode", beside_another)
    detect.read_image(path, on_damage=lambda _words: None)
    assert capfd.readouterr().err == "of another thread\n"
