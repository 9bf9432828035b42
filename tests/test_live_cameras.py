"""What the live page can look at."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from board import RED, photo, picture
from rtsp import RtspServer
from serving import grey, red_clip

from toolchain.deploy.detector.live import cameras
from toolchain.deploy.detector.live.cameras import (
    CameraError,
    EndedError,
    PacedCamera,
    opener,
    shown_name,
)

SIZE = (480, 640)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let sleeping move the clock and take no time; return the sleeps."""
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(cameras, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return slept


def test_a_video_runs_at_its_own_speed(tmp_path: Path, no_waiting: list[float]) -> None:
    camera = PacedCamera(str(red_clip(tmp_path / "a.mp4", 4, 20.0)), loop=False)
    assert camera.description == "256x256"
    images = [camera.read() for _ in range(4)]
    assert no_waiting == pytest.approx([0, 0.05, 0.05, 0.05])
    assert all(image.shape == (256, 256, 3) for image in images)
    with pytest.raises(EndedError, match="is over; --loop begins it again"):
        camera.read()


def test_a_loop_begins_again(tmp_path: Path, no_waiting: list[float]) -> None:
    path = red_clip(tmp_path / "a.mp4", 3)
    camera = PacedCamera(str(path), loop=True)
    for _ in range(8):
        camera.read()
    path.unlink()  # it is opened anew each time, so it is missed at its end
    camera.read()
    with pytest.raises(CameraError, match="cannot be read"):
        camera.read()


def test_a_video_that_was_held_up_does_not_hurry(tmp_path: Path, no_waiting: list[float]) -> None:
    camera = PacedCamera(str(red_clip(tmp_path / "a.mp4", 6, 20.0)), loop=False)
    camera.read()
    cameras.time.sleep(100)
    del no_waiting[:]
    for _ in range(3):
        camera.read()
    assert no_waiting == pytest.approx([0, 0.05, 0.05])


def test_photos_of_a_folder_stay_a_second(tmp_path: Path, no_waiting: list[float]) -> None:
    photo(tmp_path / "b.png", grey(200))
    photo(tmp_path / "a.png", grey(100))
    (tmp_path / "ab.jpg").write_text("no picture")
    camera = PacedCamera(str(tmp_path), loop=True)
    assert [int(camera.read()[0, 0, 0]) for _ in range(4)] == [100, 200, 100, 200]
    assert no_waiting == pytest.approx([0, 1, 1, 1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "cannot be read (No such file or directory)"),
        ("missing", "cannot be read (No such file or directory)"),
        ("text.mp4", "is no video that OpenCV reads; give an MP4 or AVI"),
        ("empty", "holds no pictures"),
        ("bad", "is no picture that OpenCV reads"),
    ],
)
def test_what_is_no_camera_is_said(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("no picture")
    with pytest.raises(CameraError) as error:
        opener(str(tmp_path / name), SIZE, loop=True)()
    assert message in str(error.value)
    assert not str(error.value).startswith(f"{tmp_path / name}: ")  # who says it puts that before


class FakeDevice:
    """A V4L2 device that has 800x600 at least, and MJPEG."""

    made: list[FakeDevice] = []
    is_there = True

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.values: dict[int, float] = {}
        self.order: list[int] = []
        self.left = 2
        self.is_released = False
        FakeDevice.made.append(self)

    def isOpened(self) -> bool:
        return self.is_there

    def set(self, which: int, value: float) -> bool:
        self.values[which] = max(value, {3: 800, 4: 600}.get(which, 0))
        self.order.append(which)
        return True

    def get(self, which: int) -> float:
        return self.values.get(which, 0)

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, grey()) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeDevice]]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeDevice)
    monkeypatch.setattr(cameras, "_picamera2", lambda: None)
    FakeDevice.made, FakeDevice.is_there = [], True
    yield FakeDevice
    FakeDevice.made, FakeDevice.is_there = [], True


@pytest.mark.parametrize("name", ["2", "/dev/video2"])
def test_a_device_is_asked_for_mjpeg_and_the_networks_size(
    device: type[FakeDevice], name: str
) -> None:
    camera = opener(name, SIZE, loop=False)()
    (made,) = device.made
    assert made.arguments == (2, cv2.CAP_V4L2)
    assert made.order[0] == cv2.CAP_PROP_FOURCC  # a driver resets the size with the format
    assert made.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert camera.description == "800x600 MJPG"
    camera.read()
    camera.read()
    with pytest.raises(CameraError, match="is it still plugged in"):
        camera.read()
    camera.close()
    assert made.is_released


def test_a_device_that_is_not_there_is_said_and_let_go(device: type[FakeDevice]) -> None:
    device.is_there = False
    with pytest.raises(CameraError, match="no such camera, or it is in use"):
        opener("0", SIZE, loop=False)()
    assert device.made[0].is_released


def picamera2(numbers: list[int], fails: bool = False) -> Any:
    """A module like picamera2 with cameras of these numbers."""

    class Picamera2:
        made: list[Picamera2] = []

        def __init__(self, index: int) -> None:
            if fails:
                raise RuntimeError("Camera __init__ sequence did not complete.")
            self.index, self.state = index, "made"
            Picamera2.made.append(self)

        @staticmethod
        def global_camera_info() -> list[dict[str, Any]]:
            return [{"Num": number, "Model": "imx708"} for number in numbers]

        def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
            return main

        def configure(self, main: dict[str, Any]) -> None:
            self.main = main

        def start(self) -> None:
            self.state = "started"

        def capture_array(self, name: str) -> Any:
            assert (name, self.state) == ("main", "started")
            width, height = self.main["size"]
            return np.full((height, width, 3), 7, np.uint8)

        def close(self) -> None:
            self.state = "closed"

    return SimpleNamespace(Picamera2=Picamera2)


def with_module(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    real = importlib.import_module

    def load(name: str) -> Any:
        if name != "picamera2":
            return real(name)
        if module is None:
            raise ImportError
        return module

    monkeypatch.setattr(cameras.importlib, "import_module", load)


def test_a_ribbon_camera_gives_the_networks_size(monkeypatch: pytest.MonkeyPatch) -> None:
    module = picamera2([0])
    with_module(monkeypatch, module)
    camera = opener("0", (321, 640), loop=False)()
    assert camera.description == "640x322 by picamera2"
    assert camera.read().shape == (322, 640, 3)
    (made,) = module.Picamera2.made
    assert made.main == {"size": (640, 322), "format": "RGB888"}
    camera.close()
    assert made.state == "closed"


def test_without_a_ribbon_camera_of_that_number_v4l2_is_asked(
    monkeypatch: pytest.MonkeyPatch, device: type[FakeDevice]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cv2, "VideoCapture", FakeDevice)
    for module, name in ((picamera2([0]), "1"), (picamera2([0]), "/dev/video0"), (None, "0")):
        with_module(monkeypatch, module)
        opener(name, SIZE, loop=False)()
    assert [made.arguments[0] for made in device.made] == [1, 0, 0]


def test_a_ribbon_camera_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_module(monkeypatch, picamera2([0], fails=True))
    with pytest.raises(CameraError, match="picamera2 cannot open it \\(Camera __init__"):
        opener("0", SIZE, loop=False)()


class Mjpeg(BaseHTTPRequestHandler):
    """Three pictures as a network camera sends them."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        data = cv2.imencode(".jpg", picture(96, 128))[1].tobytes()
        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        for _ in range(3):
            self.wfile.write(head.encode() + data + b"\r\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_a_network_camera_is_read_until_it_ends() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        camera = opener(f"http://127.0.0.1:{server.server_port}/a.mjpg", SIZE, loop=False)()
        assert camera.description == "128x96 MJPG"
        assert camera.is_live
        assert camera.read().shape == (96, 128, 3)
        camera.read()
        camera.read()
        with pytest.raises(CameraError, match="is it still plugged in"):
            camera.read()
        camera.close()
        server.shutdown()


def test_an_rtsp_camera_is_read_until_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stream.ts"
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 20, (128, 96))
    for _ in range(30):
        writer.write(picture(96, 128))
    writer.release()
    with RtspServer(path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        camera = opener(server.address, SIZE, loop=False)()
        assert camera.description.startswith("128x96")
        images = []
        with contextlib.suppress(CameraError):
            while True:
                images.append(camera.read())
        camera.close()
        server.shutdown()
    assert 20 <= len(images) <= 30
    assert images[-1][30, 70].tolist() == pytest.approx(RED, abs=12)


def test_a_stream_that_does_not_open_is_said_soon() -> None:
    start = time.monotonic()
    with pytest.raises(CameraError, match="does not open; is its address right"):
        opener("rtsp://127.0.0.1:9/a", SIZE, loop=False)()
    assert time.monotonic() - start < 2 * cameras.STREAM_TIMEOUT_MS / 1000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rtsp://user:secret@cam/1", "rtsp://***@cam/1"),
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("0", "0"),
    ],
)
def test_a_password_is_not_shown(name: str, shown: str) -> None:
    assert shown_name(name) == shown
