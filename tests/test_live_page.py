"""The live page in a real browser, a headless Chromium; skipped where there is none.

Those marked long take seconds each; together they are too much for every change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from serving import Service, red_clip, red_model, until
from tasks import planted
from test_task_program import MASK, YOLO

pytestmark = pytest.mark.slow

STATUS = "document.getElementById('status-text').textContent"
DRAWN = "document.documentElement?.dataset.drawn"
"""The number of the picture that was drawn last."""
PALE_RED = (104, 117, 176)
"""What the network calls a face with a score of about 0.9."""
GREEN = """(() => {
  const canvas = document.getElementById('picture');
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const isGreen = (x, y) => {
    const [red, green, blue] = context.getImageData(x, y, 1, 1).data;
    return green > 150 && red < 120 && blue < 180;
  };
  return [[128, 96], [192, 96], [160, 56], [160, 136], [160, 100], [40, 40], [110, 96]]
    .map(([x, y]) => isGreen(x, y));
})()"""
"""Four edges of the box [128, 56, 192, 136], its middle, and two places outside."""
BOX = [True, True, True, True, False, False, False]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page")
    red_clip(made / "clip.mp4", frames=6, per_second=10, color=PALE_RED)
    red_model(made)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with Service(folder / "model.onnx", "--camera", folder / "clip.mp4", "--loop",
                 "--out", folder / "kept") as running:  # fmt: skip
        yield running


def opened(browser: Browser, port: int, path: str = "/") -> None:
    browser.events.clear()
    browser.look(1280, 800)
    browser.open(f"http://127.0.0.1:{port}{path}")
    browser.until("document.readyState === 'complete'")


def complaints(browser: Browser) -> list[str]:
    """What the browser wrote into its console."""
    names = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    return [str(event["params"]) for event in browser.events if event.get("method") in names]


def test_boxes_stand_where_the_faces_are(browser: Browser, service: Service) -> None:
    opened(browser, service.port)
    browser.until(f"{STATUS} === 'Live'")
    browser.until(DRAWN)
    assert browser.run(GREEN) == BOX
    assert browser.run("document.getElementById('picture').ariaLabel") == "Live picture, 1 face"
    browser.until("document.getElementById('faces').textContent === '1'")
    browser.until("Number(document.getElementById('rate').textContent) > 1")
    parts = browser.until(
        "document.getElementById('ms-total').textContent.endsWith('ms') && "
        "[...document.querySelectorAll('.legend td')].map(cell => parseFloat(cell.textContent))"
    )
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.4)
    assert complaints(browser) == []
    hosts = {
        event["params"]["request"]["url"].split("/")[2]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
        and event["params"]["request"]["url"].startswith("http")
    }
    assert hosts == {f"127.0.0.1:{service.port}"}  # nothing from elsewhere


@pytest.mark.long
def test_a_picture_and_its_boxes_have_one_number(browser: Browser, service: Service) -> None:
    opened(browser, service.port)
    first = int(browser.until(DRAWN))
    browser.until(f"Number(document.documentElement.dataset.drawn) > {first + 3}")
    assert browser.run(GREEN) == BOX


def test_the_slider_hides_faces_by_keyboard_too(browser: Browser, service: Service) -> None:
    opened(browser, service.port)
    browser.until(DRAWN)
    assert browser.run("document.getElementById('threshold').value") == "0.4"  # the file's own
    browser.run("document.getElementById('threshold').focus()")
    for kind in ("keyDown", "keyUp"):
        browser(
            "Input.dispatchKeyEvent", type=kind, key="End", code="End", windowsVirtualKeyCode=35
        )
    browser.until("document.getElementById('threshold-value').textContent === '1.00'")
    browser.until("document.getElementById('picture').dataset.faces === '0'")
    assert True not in browser.run(GREEN)
    for kind in ("keyDown", "keyUp"):
        browser("Input.dispatchKeyEvent", type=kind, key="Home", code="Home",
                windowsVirtualKeyCode=36)  # fmt: skip
    browser.until("document.getElementById('picture').dataset.faces === '1'")
    assert browser.run(GREEN) == BOX


@pytest.mark.long
def test_pause_holds_the_picture(browser: Browser, service: Service) -> None:
    opened(browser, service.port)
    browser.until(DRAWN)
    browser.run("document.getElementById('pause').click()")
    browser.until(f"{STATUS} === 'Paused'")
    held = browser.run("new Promise(done => setTimeout(() => "
                       "done(document.documentElement.dataset.drawn), 400))")  # fmt: skip
    done = service.figure("detect_frames_total")
    until(lambda: service.figure("detect_frames_total") > done + 5)
    assert browser.run(DRAWN) == held
    browser.run("document.getElementById('pause').click()")
    browser.until(f"Number(document.documentElement.dataset.drawn) > {held}")


@pytest.mark.long
def test_a_snapshot_is_saved_here_and_on_the_board(
    browser: Browser, service: Service, folder: Path, tmp_path: Path
) -> None:
    browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    opened(browser, service.port)
    browser.until(DRAWN)
    browser.run("document.getElementById('snapshot').click()")
    said = browser.until("document.getElementById('said').textContent")
    assert said == "Snapshot saved by this browser. The board keeps snapshot-0001.jpg."
    until(lambda: list(tmp_path.glob("faces-*.jpg")))
    assert (folder / "kept" / "snapshot-0001.jpg").exists()


def test_a_camera_that_is_pulled_is_said_and_comes_back(
    browser: Browser, service: Service, folder: Path
) -> None:
    opened(browser, service.port)
    browser.until(f"{STATUS} === 'Live'")
    clip, away = folder / "clip.mp4", folder / "away.mp4"
    clip.rename(away)
    try:
        browser.until(f"{STATUS} === 'Camera lost'")
        notice = browser.run("document.getElementById('notice').innerText")
        assert notice.endswith(". Trying again.")
    finally:
        away.rename(clip)
    browser.until(f"{STATUS} === 'Live'")
    drawn = browser.run(DRAWN)
    browser.until(f"document.documentElement.dataset.drawn !== '{drawn}'")


@pytest.mark.long
def test_a_board_that_is_switched_off_is_said_and_comes_back(
    browser: Browser, folder: Path
) -> None:
    options = (folder / "model.onnx", "--camera", folder / "clip.mp4", "--loop")
    with Service(*options) as first:
        opened(browser, first.port)
        browser.until(DRAWN)
        port = first.port
    browser.until(f"{STATUS} === 'Connection lost'")
    assert "Trying again" in browser.run("document.getElementById('notice').innerText")
    with Service(*options, "--port", port):
        browser.until(f"{STATUS} === 'Live'")
        browser.until("Number(document.documentElement.dataset.drawn) >= 3")
        assert browser.run(GREEN) == BOX


@pytest.mark.long
def test_the_token_is_asked_for_and_leaves_the_address(browser: Browser, folder: Path) -> None:
    options = (folder / "model.onnx", "--camera", folder / "clip.mp4", "--loop")
    with Service(*options, "--token", folder / "token") as service:
        opened(browser, service.port)
        assert browser.run("document.title") == "Live faces: token"
        rounded = "getComputedStyle(document.querySelector('section')).borderRadius"
        assert browser.run(rounded) == "8px"
        browser.look(390, 844, "dark")
        browser.screenshot(Path(os.environ.get("LIVE_SHOTS", folder)) / "live-token.png")
        token = (folder / "token").read_text().strip()
        browser.run(f"document.getElementById('token').value = '{token}';"
                    "document.querySelector('form').requestSubmit()")  # fmt: skip
        browser.until(DRAWN)
        assert browser.run("location.href") == f"http://127.0.0.1:{service.port}/"
        assert token not in browser.run("document.cookie")


@pytest.mark.long
def test_every_control_has_a_name_for_screen_readers(browser: Browser, service: Service) -> None:
    opened(browser, service.port)
    browser.until(DRAWN)
    nodes = browser("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
    }
    assert ("button", "Pause") in named
    assert ("button", "Snapshot") in named
    assert ("heading", "Live faces") in named
    assert any(role == "slider" and name.startswith("Show faces from") for role, name in named)
    controls = {"button", "slider", "link", "image", "textbox", "table", "region"}
    assert not [role for role, name in named if role in controls and not name]
    assert {role for role, _ in named} >= {"main", "banner", "status", "table"}


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_it_fits_phone_and_desk_light_and_dark(
    browser: Browser, service: Service, tmp_path: Path, width: int, height: int, scheme: str
) -> None:
    opened(browser, service.port)
    browser.look(width, height, scheme)
    browser.until(DRAWN)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(245, 246, 248)" if scheme == "light" else "rgb(17, 21, 27)")
    heights = browser.run(
        "[...document.querySelectorAll('button, input')]"
        ".map(each => each.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44  # for fingers
    target = Path(os.environ.get("LIVE_SHOTS", tmp_path)) / f"live-{width}-{scheme}.png"
    browser.screenshot(target)
    assert target.stat().st_size > 5000


@pytest.mark.long
@pytest.mark.parametrize("kind", ["boxes", "classes", "mask"])
def test_other_tasks_are_told_beside_the_picture(
    kind: str, browser: Browser, folder: Path, tmp_path: Path
) -> None:
    outputs, layout, words = {
        "boxes": (YOLO, "yolov8", ""),
        "classes": (np.array([[1.0, 2.0]]), "", "dog 2.00, cat 1.00"),
        "mask": (MASK, "", "cat 75.0%, dog 25.0%"),
    }[kind]
    names = ["cat", "dog"]
    path = planted(tmp_path / "m.onnx", kind, {"out": outputs}, layout=layout, labels=names)
    with Service(path, "--camera", folder / "clip.mp4", "--loop") as service:
        opened(browser, service.port)
        browser.until(DRAWN)
        assert browser.run("document.getElementById('words').innerText") == words
        noun = {"mask": "areas"}.get(kind, kind)
        assert browser.run("document.querySelector('h1').innerText") == f"Live {noun}"
        shown = browser.run("document.getElementById('slider').checkVisibility()")
        assert shown == (kind == "boxes")
        left = "getComputedStyle(document.getElementById('words')).paddingLeft"
        assert browser.run(left) == ("16px" if words else "0px")
