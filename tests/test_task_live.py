"""The live page of other tasks than faces: boxes are the browser's, all else is painted here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board import run
from serving import Service, grey
from tasks import planted
from test_live_parts import Once
from test_task_program import MASK, YOLO

from toolchain.deploy.detector.live.capture import Capture
from toolchain.deploy.detector.live.hub import Hub, View
from toolchain.deploy.detector.live.notify import FaceCommand
from toolchain.deploy.detector.live.snapshots import Snapshots
from toolchain.deploy.detector.live.watching import Watcher
from toolchain.deploy.detector.opening import open_worker
from toolchain.deploy.detector.tasks.colours import colour

PICTURE = np.full((128, 192, 3), 120, np.uint8)


def yolo(folder: Path, score: float = 0.9) -> Path:
    rows = YOLO.copy()
    rows[0, 5, 4] = score
    return planted(folder / "m.onnx", "boxes", {"out": rows}, layout="yolov8", labels=["a", "dog"])


def watched(path: Path) -> tuple[Watcher, View, dict[str, Any]]:
    """Look at one picture as the page does."""
    capture, hub, published = Capture(lambda: Once(PICTURE)), Hub(), list[View]()
    hub.publish = published.append  # type: ignore[method-assign]
    watcher = Watcher(open_worker(path), capture, hub, "once")
    capture.start()
    facts = watcher.step(10)
    capture.stop()
    assert facts is not None
    return watcher, published[0], facts


def test_boxes_are_counted_and_sent_below_the_threshold_too(tmp_path: Path) -> None:
    watcher, view, facts = watched(yolo(tmp_path, 0.3))
    assert (watcher.noun, watcher.counts, watcher.totals.faces) == ("boxes", True, 0)
    assert facts["boxes"] == []
    assert [each["label"] for each in view.facts["boxes"]] == ["dog"]
    assert view.image is not None
    assert (view.image == 120).all()  # the browser draws


def test_a_mask_is_painted_into_the_picture_that_is_sent(tmp_path: Path) -> None:
    path = planted(tmp_path / "m.onnx", "mask", {"out": MASK}, labels=["background", "road"])
    watcher, view, facts = watched(path)
    assert not watcher.counts
    assert view.facts["words"] == "background 50.0%, road 50.0%"
    assert facts["areas"][0]["share"] == 0.5
    assert (view.image[:, 96:] == np.add(120, colour(1)) // 2).all()


@pytest.mark.parametrize(("score", "count"), [(0.9, 1), (0.3, 0)])
def test_snapshots_hold_what_is_above_the_threshold(
    score: float, count: int, tmp_path: Path
) -> None:
    _, view, _ = watched(yolo(tmp_path, score))
    name = Snapshots(tmp_path, 0.4).keep(view)
    facts = json.loads((tmp_path / name).with_suffix(".json").read_text())
    assert len(facts["boxes"]) == count
    assert (cv2.imread(str(tmp_path / name)).std() > 1) == bool(count)


def test_a_command_runs_when_a_box_comes(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    command = FaceCommand(f"cp /dev/stdin {seen}")
    command.see({"boxes": []})
    assert not seen.exists()
    command.see({"boxes": [{"score": 0.9}]})
    end = time.monotonic() + 10
    while time.monotonic() < end and not (seen.exists() and seen.read_text()):
        time.sleep(0.02)
    command.stop()
    assert json.loads(seen.read_text())["boxes"]


def test_what_cannot_be_shown_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"out": np.array([[1.0, 2.0]])}
    classes = planted(tmp_path / "c.onnx", "classes", scores)
    code, _, err = run(capsys, classes, "--serve", "--on-face", "true")
    assert (code, err) == (2, ["detect.py: --on-face is for faces and boxes, and it gives classes"])
    table = [{"name": "x", "shape": [1, 12], "dtype": "float32"}]
    arrays = planted(tmp_path / "a.onnx", "raw", scores, inputs=table, input=None)
    code, _, err = run(capsys, arrays, "--serve")
    assert (code, len(err)) == (2, 1)
    assert "--serve shows pictures, and it takes arrays (x 1x12 float32)" in err[0]


@pytest.mark.slow
def test_a_page_serves_a_classifier(tmp_path: Path) -> None:
    scores = {"out": np.array([[1.0, 2.0]])}
    path = planted(tmp_path / "m.onnx", "classes", scores, labels=["cat", "dog"])
    cv2.imwrite(str(tmp_path / "a.png"), grey())
    with Service(path, "--camera", tmp_path / "a.png", "--loop", "--json") as service:
        events = service.events()
        facts = next(facts for name, facts in events if not name)
        assert facts["words"] == "dog 2.00, cat 1.00"
        status, _, picture = service.get("/frame.jpg")
        assert status == 200
        shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert shown.max() > 200  # letters, white on grey
        settings = json.loads(service.get("/settings")[2])
        assert (settings["noun"], settings["counts"]) == ("classes", False)
