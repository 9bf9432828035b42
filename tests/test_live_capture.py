"""The thread that reads the camera: the newest wins, and what is lost comes back."""

from __future__ import annotations

import functools
import queue
from typing import Any

import numpy as np
import pytest
from board import picture
from serving import grey, until

from toolchain.deploy.detector.live import capture
from toolchain.deploy.detector.live.cameras import CameraError, EndedError
from toolchain.deploy.detector.live.capture import CameraState, Capture, is_black, is_torn, turned


class Script:
    """A camera that gives what the test puts in; an exception is raised."""

    description = "scripted"

    def __init__(self, *, is_live: bool = True) -> None:
        self.is_live = is_live
        self.given: queue.Queue[Any] = queue.Queue()
        self.opened = 0
        self.closed = 0
        self.refuses: list[Exception] = []

    def __call__(self) -> Script:
        self.opened += 1
        if self.refuses:
            raise self.refuses.pop(0)
        return self

    def give(self, *pictures: Any) -> None:
        for each in pictures:
            self.given.put(each)

    def read(self) -> Any:
        each = self.given.get()
        if isinstance(each, Exception):
            raise each
        return each

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[CameraState]:
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.01)
    return []


def started(camera: Script, told: list[CameraState], **options: Any) -> Capture:
    made = Capture(camera, changed=told.append, **options)
    made.start()
    return made


def test_the_newest_wins_and_the_others_are_counted(told: list[CameraState]) -> None:
    camera = Script()
    made = started(camera, told)
    camera.give(*[grey(value) for value in (10, 20, 30)])
    until(lambda: made.state.read == 3)
    shot = made.take(0, 1)
    assert shot is not None
    assert (shot.number, int(shot.image[0, 0, 0])) == (3, 30)
    assert made.state.skipped == 2
    assert made.take(3, 0.01) is None
    camera.give(grey(40))
    shot = made.take(3, 5)
    assert shot is not None
    assert (shot.number, made.state.skipped) == (4, 2)
    assert [state.status for state in told] == ["running"]


def test_a_lost_camera_is_said_once_and_comes_back(told: list[CameraState]) -> None:
    camera = Script()
    made = started(camera, told)
    camera.give(grey(), CameraError("pulled"))
    camera.refuses = []
    until(lambda: len(told) == 2)
    camera.give(grey())
    until(lambda: len(told) == 3)
    expected = [("running", ""), ("lost", "pulled"), ("running", "")]
    assert [(state.status, state.message) for state in told] == expected
    shot = made.take(1, 5)
    assert shot is not None
    assert shot.number == 2  # numbers go on
    assert (camera.opened, camera.closed) == (2, 1)


def test_a_camera_that_is_not_there_is_tried_again(told: list[CameraState]) -> None:
    camera = Script()
    camera.refuses = [CameraError("not there")] * 3 + [OSError("broken")]  # type: ignore[list-item]
    made = started(camera, told)
    camera.give(grey())
    assert made.take(0, 20) is not None
    until(lambda: len(told) == 3)
    assert [state.message for state in told] == ["not there", "broken", ""]
    assert made.state.attempts == 5


def test_the_end_is_the_end(told: list[CameraState]) -> None:
    camera = Script()
    made = started(camera, told)
    camera.give(grey(), EndedError("is over"))
    until(lambda: made.state.status == "ended")
    assert camera.closed == 1
    assert made.take(0, 1) is not None


def test_torn_pictures_are_left_out_and_too_many_open_it_anew(told: list[CameraState]) -> None:
    torn = grey(50)
    torn[-8:] = 128
    camera = Script()
    made = started(camera, told)
    camera.give(grey(1 + 50), torn, torn, grey(52))
    until(lambda: made.state.read == 2)
    assert made.state.torn == 2
    camera.give(*[torn] * capture.TORN_LIMIT)
    until(lambda: camera.opened == 2)
    assert "gives torn pictures; try another cable" in told[-1].message
    shot = made.take(0, 1)
    assert shot is not None
    assert int(shot.image[-1, 0, 0]) == 52


def test_black_pictures_are_said_and_still_shown(told: list[CameraState]) -> None:
    camera = Script()
    made = started(camera, told)
    camera.give(*[grey(3)] * capture.BLACK_COUNT)
    until(lambda: len(told) == 2)
    assert told[-1].status == "running"
    assert "gives black pictures; is its cover off" in told[-1].message
    assert made.take(0, 1) is not None
    camera.give(grey(200))
    until(lambda: len(told) == 3)
    assert told[-1].message == ""
    assert made.state.black == capture.BLACK_COUNT


def test_a_file_may_be_black_or_grey(told: list[CameraState]) -> None:
    camera = Script(is_live=False)
    made = started(camera, told)
    camera.give(*[grey(0)] * 12, *[grey(128)] * 3)
    until(lambda: made.state.read == 15)
    assert (made.state.black, made.state.torn, len(told)) == (0, 0, 1)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (0, 4, 3)])
def test_what_is_no_picture_opens_it_anew(told: list[CameraState], shape: tuple[int, ...]) -> None:
    camera = Script()
    started(camera, told)
    camera.give(np.zeros(shape, np.uint8))
    until(lambda: camera.opened == 2)
    assert told[0].message.startswith("gives what is no picture")


def test_a_camera_that_hangs_makes_no_attempts(told: list[CameraState]) -> None:
    made = started(Script(), told)
    assert made.take(0, 0.2) is None
    assert (made.state.attempts, made.state.status) == (1, "starting")


def test_stopping_lets_go_of_the_camera(
    told: list[CameraState], monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Script()
    made = started(camera, told)
    camera.give(grey())
    assert made.take(0, 5)
    monkeypatch.setattr(capture, "LAST_PICTURE_S", 0.05)
    assert not made.stop()  # it is still waiting for a picture
    camera.give(grey())
    until(lambda: camera.closed == 1)
    assert made.stop()
    assert camera.opened == 1


def test_pictures_are_turned_before_they_are_looked_at(told: list[CameraState]) -> None:
    camera = Script()
    made = started(camera, told, turn=functools.partial(turned, rotate=90, mirror=False))
    camera.give(picture(40, 20))
    shot = made.take(0, 5)
    assert shot is not None
    assert shot.image.shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("rotate", "mirror", "expected"),
    [
        (0, False, [[1, 2], [3, 4]]),
        (90, False, [[3, 1], [4, 2]]),
        (180, False, [[4, 3], [2, 1]]),
        (270, False, [[2, 4], [1, 3]]),
        (0, True, [[2, 1], [4, 3]]),
        (90, True, [[1, 3], [2, 4]]),
    ],
)
def test_turning_is_clockwise_and_mirroring_comes_after(
    rotate: int, mirror: bool, expected: list[list[int]]
) -> None:
    image = np.repeat(np.array([[1, 2], [3, 4]], np.uint8)[..., None], 3, axis=2)
    assert turned(image, rotate, mirror=mirror)[..., 0].tolist() == expected


def test_what_is_torn_and_black() -> None:
    torn = picture(64, 64)
    assert not is_torn(torn)
    torn[-8:] = 128
    assert is_torn(torn)
    assert is_black(grey(16))
    assert not is_black(grey(17))
    spot = grey(0)
    spot[20:30, 20:30] = 255
    assert not is_black(spot)
