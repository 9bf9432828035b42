"""Videos, cameras and windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board import IN_PICTURE, metadata, photo, picture, run, write_model

from toolchain.deploy import detect
from toolchain.deploy.detect import DetectError, Detector
from toolchain.deploy.detector import command_line
from toolchain.deploy.detector.tasks import faces


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", metadata())


def clip(path: Path, frames: int = 6, size: tuple[int, int] = (128, 128)) -> Path:
    """A video of the picture with the red block."""
    video = detect.VideoFile(path)
    for _ in range(frames):
        video.write(picture(*size), 10.0)
    video.close()
    video.check()
    return path


def frames_of(path: Path) -> list[Any]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1])
    capture.release()
    return found


def test_a_video_gives_a_line_per_frame(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "clip.MP4")
    code, out, err = run(capfd, model, path, "--json")
    assert (code, err) == (0, [])
    facts = [json.loads(line) for line in out]
    assert [fact["frame"] for fact in facts] == [0, 1, 2, 3, 4, 5]
    for fact in facts:
        assert [face["box"] for face in fact["faces"]] == [IN_PICTURE]
    assert len(run(capfd, model, path, "--json", "--limit", "2")[1]) == 2


@pytest.mark.parametrize("size", [(128, 128), (97, 131)])
def test_a_video_is_written_whole(
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    monkeypatch.setattr(faces, "draw", lambda image, boxes, scores: np.full_like(image, 255))
    path = clip(tmp_path / "clip.mp4", size=size)
    code, _, err = run(capfd, model, path, "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    written = frames_of(tmp_path / "out" / "clip.mp4")
    assert len(written) == 6
    even = tuple(side + side % 2 for side in size)
    assert written[0].shape == (*even, 3)
    assert min(frame.min() for frame in written) > 240


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> None:
    """Let the detector raise after so many pictures."""
    real, seen = Detector.measure, []

    def measure(self: Detector, image: Any, threshold: float | None = None) -> detect.Detection:
        seen.append(image)
        if len(seen) > count:
            raise error
        return real(self, image, threshold)

    monkeypatch.setattr(Detector, "measure", measure)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DetectError("broken"), BrokenPipeError()])
def test_a_video_that_is_stopped_leaves_no_half_file(
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    path = clip(tmp_path / "clip.mp4")
    stop_after(monkeypatch, 3, error)
    code, _, err = run(capfd, model, path, "--out", tmp_path / "out")
    assert code == {KeyboardInterrupt: 130, DetectError: 2, BrokenPipeError: 141}[type(error)]
    assert len(err) == (0 if isinstance(error, BrokenPipeError) else 1)
    assert list((tmp_path / "out").iterdir()) == []


class FakeCamera:
    """A camera that gives four frames and is then unplugged; files open as they do."""

    real = cv2.VideoCapture

    def __new__(cls, source: int | str) -> Any:
        return super().__new__(cls) if isinstance(source, int) else cls.real(source)

    def __init__(self, source: int | str) -> None:
        self.left = 4

    def isOpened(self) -> bool:
        return True

    def get(self, which: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, picture()

    def release(self) -> None:
        pass


def test_what_a_camera_saw_is_kept_when_it_is_stopped(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    stop_after(monkeypatch, 3, KeyboardInterrupt())
    code, _, err = run(capfd, model, "0", "--out", tmp_path / "out")
    assert (code, err) == (130, ["detect.py: stopped"])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["camera-0.mp4"]
    assert len(frames_of(tmp_path / "out" / "camera-0.mp4")) == 3


def test_a_camera_that_is_unplugged_is_an_error_and_a_limit_is_none(
    model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    code, out, err = run(capfd, model, "/dev/video7", "--json")
    assert (code, len(out), err) == (2, 5, [])
    assert json.loads(out[4])["error"] == "/dev/video7: gave 4 frames and then no more"
    assert run(capfd, model, "7", "--limit", "2")[0] == 0


def test_a_video_that_did_not_arrive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    video = detect.VideoFile(path)
    video.write(picture(), 10.0)
    video.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match="0 of 1 frames arrived; is the disk full"):
        video.check()


def test_headless_opencv_says_what_to_install(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    code, out, err = run(capsys, model, photo(tmp_path / "a.png"), "--show")
    assert (code, out, len(err)) == (2, [], 1)
    assert "pip install opencv-python" in err[0]


def test_q_closes_the_window_and_ends_the_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    keys = iter([ord(" "), ord("q")])
    monkeypatch.setattr(command_line, "require_window", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: next(keys))
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    code, out, _ = run(capsys, model, *paths, "--show")
    assert (code, len(out), len(shown)) == (0, 2, 2)
    assert shown[0][48, 64].tolist() == [0, 255, 0]
