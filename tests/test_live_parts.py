"""The smaller parts of the live page: board, command, metrics, watcher, hub."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from board import metadata, picture, write_model
from serving import grey

from toolchain.deploy.detect import Detector
from toolchain.deploy.detector import stopping
from toolchain.deploy.detector.live import board, hub, notify, service
from toolchain.deploy.detector.live.board import FIRMWARE, Health, health
from toolchain.deploy.detector.live.cameras import EndedError
from toolchain.deploy.detector.live.capture import Capture
from toolchain.deploy.detector.live.hub import BACKLOG, Hub, View
from toolchain.deploy.detector.live.metrics import family
from toolchain.deploy.detector.live.notify import FaceCommand
from toolchain.deploy.detector.live.watching import LONGEST_SIDE, Watcher, encoded


def system(folder: Path, temperatures: list[str], throttled: str | None = None) -> Path:
    for number, text in enumerate(temperatures):
        zone = folder / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    if throttled is not None:
        (folder / FIRMWARE).parent.mkdir(parents=True)
        (folder / FIRMWARE).write_text(throttled)
    return folder


def test_the_hottest_zone_and_a_pis_flags(tmp_path: Path) -> None:
    found = health(system(tmp_path, ["48312\n", "71000\n", "broken"], "50005\n"))
    assert found == Health(71.0, 0x50005)
    facts = found.facts()
    assert facts["now"] == ["low voltage", "throttled"]
    assert facts["before"] == ["low voltage", "throttled"]


def test_a_board_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert health(tmp_path) == Health(None, None)
    assert Health().facts() == {"celsius": None, "throttled": None, "now": [], "before": []}


@pytest.mark.parametrize(
    ("said", "bits"),
    [("throttled=0x50000", 0x50000), ("throttled=0x0", 0), ("error=1", None)],
)
def test_vcgencmd_is_asked_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, bits: int | None
) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && echo {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert board.health(tmp_path).throttled == bits


def seen(*faces: float) -> dict[str, Any]:
    return {"faces": [{"box": [0, 0, 1, 1], "score": score} for score in faces]}


class Runs:
    """Stands for subprocess.Popen: counts, and ends when the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.count, self.is_killed = 0.0, 0, False
        self.code: int | None = None
        monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(notify.subprocess, "Popen", self._open)

    def _open(self, words: list[str], **_: Any) -> Any:
        self.count += 1
        self.code = None
        self.stdin = io.BytesIO()
        return self

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.is_killed, self.code = True, -9

    def wait(self) -> None:
        pass


def test_a_face_is_news_after_quiet_and_one_command_runs_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(monkeypatch)
    command = FaceCommand("true")
    for now, faces, count in [
        (0.0, (), 0),
        (0.1, (0.9,), 1),
        (0.2, (0.9,), 1),  # still there
        (1.0, (), 1),
        (1.5, (0.9,), 1),  # flickered
        (9.0, (0.9,), 1),  # news, but the command still runs
    ]:
        runs.now = now
        command.see(seen(*faces))
        assert runs.count == count, now
    runs.code, runs.now = 0, 20.0
    command.see(seen(0.9))
    assert runs.count == 2
    runs.now = 20.0 + notify.LONGEST_SECONDS + 0.1
    command.see(seen())
    assert runs.is_killed
    assert capsys.readouterr().err == "detect.py: --on-face: true ran over 30 s and was ended\n"


def test_the_service_manager_hears_what_is_sent_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where nobody listens, nothing is sent and nothing breaks."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        for silent in ("", "relative", "/no/such/socket", "@no-such-socket"):
            monkeypatch.setenv("NOTIFY_SOCKET", silent)
            notify.notify("READY=1")
            with pytest.raises(BlockingIOError):
                manager.recv(100)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify.notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"


def test_metrics_are_escaped() -> None:
    text = family("a_total", "counter", "Help.", [({"b": 'x"\\\n'}, 1.5), ({}, 2)])
    assert text == (
        '# HELP a_total Help.\n# TYPE a_total counter\na_total{b="x\\"\\\\\\n"} 1.5\na_total 2\n'
    )


def test_a_picture_is_sent_no_larger_than_needed() -> None:
    large = np.full((2000, 500, 3), 90, np.uint8)
    sent = cv2.imdecode(np.frombuffer(encoded(large), np.uint8), cv2.IMREAD_COLOR)
    assert sent is not None
    assert sent.shape == (LONGEST_SIDE, 320, 3)
    small = cv2.imdecode(np.frombuffer(encoded(grey()), np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert small.shape == (64, 64, 3)


class Once:
    """A camera that gives one picture."""

    description, is_live = "once", True

    def __init__(self, image: Any) -> None:
        self.images = [image]

    def read(self) -> Any:
        if not self.images:
            raise EndedError("is over")
        return self.images.pop()

    def close(self) -> None:
        pass


def test_viewers_may_go_below_the_threshold_that_counts(tmp_path: Path) -> None:
    """Greedy suppression goes from the best down: what is above a threshold does not hang on it."""
    detector = Detector(
        write_model(tmp_path / "model.onnx", metadata(decode__score_threshold=0.99))
    )
    half_red = picture(64, 64, (104, 117, 175))  # a score of about 0.9
    capture = Capture(lambda: Once(half_red))
    published: list[View] = []
    hub = Hub()
    hub.publish = published.append  # type: ignore[method-assign]
    watcher = Watcher(detector, capture, hub, "once")
    capture.start()
    facts = watcher.step(10)
    assert facts is not None
    assert facts["faces"] == []
    assert watcher.totals.faces == 0
    (view,) = published
    assert len(view.facts["faces"]) == 1
    assert 0.1 < view.facts["faces"][0]["score"] < 0.99
    assert view.jpeg is None  # nobody watches
    capture.stop()


def test_a_viewer_that_is_behind_gets_the_last_messages() -> None:
    async def story() -> None:
        board_hub = Hub()
        board_hub.attach(asyncio.get_running_loop())
        place, greeting = board_hub.greeting()
        assert b"event: hello\n" in greeting
        board_hub.tell("camera", {"status": "running"})
        for number in range(1, BACKLOG + 3):
            board_hub.publish(View(number, {"frame": number}, grey(), None, 0.0))
        await asyncio.sleep(0)
        place, messages = board_hub.messages(place)
        frames = [json.loads(line[6:])["frame"] for line in messages.decode().split("\n\n")[:-1]]
        assert frames == list(range(3, BACKLOG + 3))
        assert board_hub.messages(place) == (place, b"")
        assert b'"running"' in board_hub.greeting()[1]  # a newcomer hears how the camera is

    asyncio.run(story())


def test_a_picture_is_waited_for_and_asked_to_be_encoded() -> None:
    async def story() -> None:
        shared = Hub()
        shared.attach(asyncio.get_running_loop())
        assert not shared.is_watched
        assert await shared.picture(0, 0.01) is None
        assert shared.is_watched
        waiting = asyncio.gather(*(shared.picture(1, 5) for _ in range(5)))
        await asyncio.sleep(0)
        for number in (1, 2):
            shared.publish(View(number, {}, grey(), b"jpeg", 0.0))
        assert [view and view.number for view in await waiting] == [2] * 5

    asyncio.run(story())


def test_nobody_watches_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(hub, "time", SimpleNamespace(monotonic=lambda: now[0]))
    shared = Hub()
    shared._wanted = 100.0
    assert shared.is_watched
    now[0] += hub.WATCHED_SECONDS
    assert not shared.is_watched


def test_a_request_to_stop_that_was_lost_is_heeded_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_ASKED", threading.Event())

    class Losing:
        """Ignores the exception, as Python does in a finaliser."""

        totals = SimpleNamespace(frames=0)

        def step(self) -> None:
            assert not stopping._ASKED.is_set(), "a picture was begun after the request"
            with contextlib.suppress(KeyboardInterrupt):
                stopping.ask(signal.SIGTERM, None)

    capture = SimpleNamespace(state=SimpleNamespace(attempts=0, status="running"))
    with pytest.raises(KeyboardInterrupt):
        service._watch(Losing(), capture, None, as_json=False, limit=None)
