"""The live page as a service: ``detect.py --serve`` in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board import photo, run
from conftest import ROOT
from serving import Service, grey, raw, red_clip, red_model, until

from toolchain.deploy import detect
from toolchain.deploy.detector import live

BOX = [128.0, 56.0, 192.0, 136.0]
"""The red block's, in the clip of 256 x 256 pixels."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return red_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Service]:
    """A page with a looped video, snapshots and JSON lines."""
    clip = red_clip(model.parent / "clip.mp4")
    out = model.parent / "kept"
    with Service(model, "--camera", clip, "--loop", "--out", out, "--json") as running:
        yield running


def test_events_tell_where_faces_are(service: Service) -> None:
    events = service.events()
    names = [next(events)[0] for _ in range(3)]
    assert names[0] == "hello"
    assert set(names[1:]) <= {"camera", "board", ""}
    pictures = [facts for name, facts in (next(events) for _ in range(8)) if not name]
    numbers = [facts["frame"] for facts in pictures]
    assert numbers == sorted(set(numbers))
    for facts in pictures:
        (face,) = facts["faces"]
        assert face["box"] == pytest.approx(BOX, abs=0.01)
        assert set(facts["times"]) == {"waiting", "detecting", "encoding"}
        assert (facts["width"], facts["height"]) == (256, 256)


def test_a_picture_has_the_number_of_its_message(service: Service) -> None:
    status, headers, body = service.get("/frame.jpg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (256, 256, 3)
    known = headers["X-Frame"]
    _, headers, _ = service.get(f"/frame.jpg?after={known}")
    assert int(headers["X-Frame"]) > int(known)
    for wrong in ("x", "-1", "", "1" * 16, "%C2%B2"):
        assert service.get(f"/frame.jpg?after={wrong}")[0] == 400


def test_who_comes_after_the_end_sees_the_last_picture(model: Path, tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4", 10)
    with Service(model, "--camera", clip) as running:
        running.until_said("is over")
        status, _, body = running.get("/frame.jpg")  # nobody had watched, so none was encoded
        assert (status, body[:2]) == (200, b"\xff\xd8")
        assert running.get("/healthz")[0] == 200


def test_five_viewers_cost_one_inference(service: Service) -> None:
    viewers = [service.events() for _ in range(5)]
    for viewer in viewers:
        assert next(viewer)[0] == "hello"
    assert service.figure("detect_viewers") == 5
    seen: list[dict[int, Any]] = []
    for viewer in viewers:
        facts = [each for name, each in (next(viewer) for _ in range(12)) if not name]
        seen.append({each["frame"]: each for each in facts})
    shared = set.intersection(*(set(each) for each in seen))
    assert shared
    for number in shared:
        assert all(each[number] == seen[0][number] for each in seen)  # the very same measurement
    frames, camera = service.figure("detect_frames_total"), service.figure("detect_camera_frames")
    assert frames <= camera
    for viewer in viewers:
        viewer.close()  # type: ignore[attr-defined]
    until(lambda: service.figure("detect_viewers") == 0)


def test_json_lines_go_to_standard_output(service: Service) -> None:
    until(lambda: len(service.printed) > 3)
    for line in service.printed[:3]:
        facts = json.loads(line)
        assert [face["box"] for face in facts["faces"]] == [pytest.approx(BOX, abs=0.01)]
        assert facts["ms"] > 0


def test_health_and_metrics(service: Service) -> None:
    until(lambda: service.get("/healthz")[:1] == (200,))
    status, headers, body = service.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    typed: dict[str, str] = {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            typed[name] = kind
        elif not line.startswith("#"):
            name, value = line.split(" ")
            assert typed[name.partition("{")[0]] in ("counter", "gauge")
            assert float(value) >= 0
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in typed.items())
    assert service.figure("detect_camera_up") == 1
    assert service.figure("detect_resident_bytes") > 1e7


@pytest.mark.parametrize(
    "target",
    [
        "/../detect.py", "/page/../service.py", "/..%2f..%2fdetect.py", "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd", "/page/page.js", "/token.html", "/index.html", "/./page.js",
        "/page.js/", "/page.js%00", "/\\..\\detect.py", "/live-token", "/__init__.py",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_pages_files(service: Service, target: str) -> None:
    asked = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(service.port, asked.encode()).startswith(b"HTTP/1.1 404 ")


def test_the_page_loads_nothing_from_elsewhere(service: Service) -> None:
    names = ("/", "/page.css", "/page.js", "/link.js", "/picture.js", "/plot.js", "/icon.svg")
    for name in names:
        status, headers, body = service.get(name)
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        text = body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert " style=" not in text
        assert "onclick" not in text


def test_another_site_gets_nothing(service: Service) -> None:
    assert service.get("/frame.jpg", Host="evil.example")[0] == 403
    assert service.get("/events", Origin="http://evil.example")[0] == 403
    assert service.get("/snapshot", "POST", Origin="http://evil.example")[0] == 403
    assert service.get("/frame.jpg", Sec_Fetch_Site="cross-site")[0] == 403
    assert service.figure('detect_refused_requests_total{status="403"}') >= 4


def test_snapshots_are_kept_with_boxes(service: Service, model: Path) -> None:
    out = model.parent / "kept"
    assert service.get("/snapshot")[0] == 405
    assert service.get("/page.js", "POST")[0] == 405

    def kept() -> Any:
        status, _, body = service.get("/snapshot", "POST")
        return json.loads(body) if status == 200 else None

    first, second = until(kept), until(kept)
    assert (first["name"], second["name"]) == ("snapshot-0001.jpg", "snapshot-0002.jpg")
    assert service.get("/snapshot", "POST")[0] == 429  # one a second
    names = ["snapshot-0001.jpg", "snapshot-0001.json", "snapshot-0002.jpg", "snapshot-0002.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    image = cv2.imread(str(out / "snapshot-0001.jpg"))
    assert image is not None
    assert image[96, 128, 1] > 150  # a green line
    facts = json.loads((out / "snapshot-0001.json").read_text())
    assert facts["faces"][0]["box"] == pytest.approx(BOX, abs=0.01)


def test_a_full_disk_is_said_and_the_page_lives_on(model: Path, tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4")
    out = tmp_path / "kept"
    with Service(model, "--camera", clip, "--loop", "--out", out) as running:
        until(lambda: running.figure("detect_frames_total") > 0)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (100, 100))
        status, _, body = running.get("/snapshot", "POST")
        assert status == 507
        assert b"is its disk full" in body
        assert "snapshot-0001.jpg: cannot be written (" in running.until_said("snapshot: ")
        assert list(out.iterdir()) == []
        assert running.get("/healthz")[0] == 200


def test_a_camera_that_is_pulled_is_said_and_comes_back(model: Path, tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4", 4)
    away = tmp_path / "away.mp4"
    with Service(model, "--camera", clip, "--loop") as running:
        events = running.events()
        until(lambda: next(events)[0] == "")
        clip.rename(away)
        # Pulled between two looks at it, it is first said to be no video.
        said = "cannot be read (No such file or directory)"
        lost = next(facts for name, facts in events if name and facts.get("message") == said)
        assert lost["status"] == "lost"
        assert running.until_said("trying again")
        away.rename(clip)
        assert next(facts for name, facts in events if facts.get("status") == "running")
        assert next(facts for name, facts in events if not name)["faces"]


def test_no_camera_is_one_line_and_the_page_is_there(model: Path) -> None:
    with Service(model, "--camera", "9876") as running:
        line = running.until_said("camera 9876")
        assert line == (
            "detect.py: camera 9876: no such camera, or it is in use; see ls /dev/video*; "
            "trying again"
        )
        assert running.get("/")[0] == 200
        assert running.get("/healthz")[0] == 503
        assert running.get("/snapshot", "POST")[0] == 503
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        running.until_said("stopped")
        assert len(running.said) == 4


def notified(receiver: socket.socket) -> str:
    return receiver.recv(1000).decode()


def test_systemd_hears_of_the_start_and_of_real_pictures(model: Path, tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(20)
        with Service(model, "--camera", clip, "--loop", env={"NOTIFY_SOCKET": address}) as running:
            assert notified(receiver) == "READY=1"
            assert [notified(receiver) for _ in range(5)] == ["WATCHDOG=1"] * 5
            running.process.send_signal(signal.SIGTERM)
            while (last := notified(receiver)) == "WATCHDOG=1":
                pass
            assert last == "STOPPING=1"


def test_stopping_with_viewers_is_one_line(model: Path, tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4")
    with Service(model, "--camera", clip, "--loop") as running:
        viewers = [running.events() for _ in range(3)]
        for viewer in viewers:
            until(lambda viewer=viewer: next(viewer)[0] == "")
        before = len(running.said)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        for viewer in viewers:
            assert len(list(viewer)) < 100  # the streams end
    assert running.said[before:] == ["detect.py: stopped"]


HANGING = """
import sys, time
sys.path.insert(0, sys.argv[1])
from toolchain.deploy import detect
from toolchain.deploy.detector.live import cameras

class Hanging:
    description, is_live = "hanging", True
    def read(self):
        time.sleep(1000)
    def close(self):
        pass

cameras.CaptureCamera.device = lambda *_: Hanging()
sys.exit(detect.main([*sys.argv[2:], "--serve", "--port", "0", "--limit", "1"]))
"""


@pytest.mark.slow
def test_a_camera_that_hangs_starves_the_watchdog(model: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    command = [sys.executable, "-c", HANGING, str(ROOT), str(model)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": address}
        running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert notified(receiver) == "READY=1"
            assert notified(receiver) == "WATCHDOG=1"  # of the attempt to open it
            receiver.settimeout(2.5)
            with pytest.raises(TimeoutError):
                notified(receiver)
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=20)[1]
        finally:
            running.kill()
    assert running.returncode == 0  # though its thread still hangs
    assert said.splitlines()[-1] == "detect.py: stopped"


TELLTALE = """
import json, pathlib, sys
target = pathlib.Path(sys.argv[1])
print("words of its own")
target.write_text(json.dumps([sys.argv[2:], json.loads(sys.stdin.read())]))
sys.exit(3)
"""


def test_a_command_is_run_without_a_shell_when_a_face_comes(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.png")
    program, told = tmp_path / "telltale.py", tmp_path / "told.json"
    program.write_text(TELLTALE)
    command = f"{sys.executable} {program} {told} 'two words' $(id) ; touch x"
    options = ["--camera", tmp_path / "photos", "--loop", "--json", "--on-face", command]
    with Service(model, *options) as running:
        running.until_said("failed with exit code 3")
        words, facts = json.loads(told.read_text())
        assert words == ["two words", "$(id)", ";", "touch", "x"]
        assert facts == json.loads(running.printed[0])
        until(lambda: len(running.printed) > 2)
        assert all(line.startswith("{") for line in running.printed)
        assert sum("failed" in line for line in running.said) == 1  # the face was there all along


def test_inputs_may_stand_after_options(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    assert run(capsys, model, "--json", path, "--limit", "1", path)[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--serve", "clip.mp4"], "--serve looks at a camera; give --camera clip.mp4"),
        (["--serve", "--show"], "--serve goes with neither --show nor --benchmark"),
        (["--camera", "0"], "--camera needs --serve"),
        (["a.jpg", "--on-face", "true"], "--on-face needs --serve"),
        ([], "are required: INPUT (or --serve)"),
        (["--serve", "--port", "70000"], "must be a port, 0 to 65535"),
        (["--serve", "--rotate", "45"], "invalid choice: 45"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    model: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        detect.main([str(model), *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_one_line(
    model: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, model, "--serve", "--port", service.port)
    assert (code, out) == (2, [])
    assert err == [f"detect.py: port {service.port} is in use; give another --port"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on-face", "no-such-program x"], "--on-face: there is no program 'no-such-program'"),
        (["--on-face", "say 'hello"], "cannot be split (No closing quotation)"),
        (["--on-face", ""], "--on-face: there is no program ''"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1: cannot listen there"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    model: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    code, out, err = run(capsys, model, "--serve", "--port", "0", *options)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_beyond_loopback_a_token_is_made_and_asked_for(model: Path, tmp_path: Path) -> None:
    copy = shutil.copy(model, tmp_path / "model.onnx")
    clip = red_clip(tmp_path / "clip.mp4")
    with Service(Path(copy), "--camera", clip, "--loop", "--host", "0.0.0.0") as running:
        path = tmp_path / "live-token"
        running.until_said(f"its token is in {path}")
        token = path.read_text().strip()
        running.until_said(f"the page is at http://{socket.gethostname()}:{running.port}/")
        assert path.stat().st_mode & 0o777 == 0o600
        assert all(token not in line for line in running.said)  # a log is no place for it
        running.until_said("safer than --host, which sends all in the clear: leave it out")
        for target in ("/frame.jpg", "/events", "/metrics", "/settings", "/page.js", "/nothing"):
            assert running.get(target)[0] == 401
        assert running.get("/snapshot", "POST")[0] == 401
        status, _, body = running.get("/")
        assert status == 401
        assert b"ssh -N -L" in body
        assert running.get(f"/?token={token[:-1]}")[0] == 401
        status, headers, _ = running.get(f"/?token={token}")
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert cookie.endswith("; HttpOnly; SameSite=Strict; Path=/")
        name = cookie.partition(";")[0]
        assert running.get("/settings", Cookie=name)[0] == 200
        assert running.get("/metrics", Authorization=f"Bearer {token}")[0] == 200
        assert running.get("/healthz")[0] in (200, 503)
        assert running.get("/settings", Cookie=name, Host="evil.example")[0] == 403


def test_only_monotonic_time_is_used() -> None:
    """A clock that jumps changes nothing: nobody looks at it."""
    clocks = {"time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "datetime", "date"}
    files = sorted(Path(live.__file__).parent.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert not (node.value.id == "time" and node.attr in clocks), path
            if isinstance(node, ast.ImportFrom | ast.Import):
                assert "datetime" not in ast.unparse(node), path


@pytest.mark.slow
def test_a_grey_picture_has_no_face(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.png", grey())
    with Service(model, "--camera", tmp_path / "photos", "--json") as running:
        until(lambda: running.printed)
        assert json.loads(running.printed[0])["faces"] == []
