"""The service of a bundle: its unit, as systemd reads it, and what install.sh does with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import NAME, install, unpack, write_bundle

from toolchain.deploy.bundle import service

FAKE = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in
  *--version*) echo "systemd {version} (made up)" ;;
  *"{fails}"*) echo "Failed to connect to bus" >&2; exit 1 ;;
esac
"""


class Systemd:
    """A ``systemctl`` that writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        self.log, self.bin, self.config = folder / "log", folder / "bin", folder / "config"
        self.unit = self.config / "systemd" / "user" / f"{NAME}.service"
        self.bin.mkdir()
        self.is_like(252)

    def is_like(self, version: int, fails: str = "nothing") -> None:
        program = self.bin / "systemctl"
        program.write_text(FAKE.format(log=self.log, version=version, fails=fails))
        program.chmod(0o755)

    def install(self, bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:/usr/bin:/bin"
        return install(bundle, *options, PATH=path, XDG_CONFIG_HOME=str(self.config))

    @property
    def told(self) -> list[str]:
        return [line.removeprefix("--user ") for line in self.log.read_text().splitlines()]


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    return Systemd(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return unpack(write_bundle(tmp_path / "made"), tmp_path / "my 5% $board")


def entries(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_the_service_is_written_and_started(systemd: Systemd, bundle: Path) -> None:
    done = systemd.install(bundle, "--service", "--camera", "1", "--cpus", "2,3", "--nice", "5")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"service {NAME}.service runs" in done.stdout
    assert systemd.unit.stat().st_mode & 0o777 == 0o600
    unit = entries(systemd.unit.read_text())
    now = str(bundle / "current").replace("%", "%%").replace("$", "$$")
    assert unit["ExecStart"] == (
        f'"/usr/bin/env" "{now}/venv/bin/python" "-E" "-s" "-u" "{now}/deploy/detect.py" '
        f'"{now}/model" "--serve" "--camera" "1"'
    )
    assert (unit["CPUAffinity"], unit["Nice"], unit["Type"]) == ("2 3", "5", "notify")
    assert "RestartSteps" not in unit  # systemd 252 does not know it
    assert systemd.told[-3:] == [
        "daemon-reload", f"enable {NAME}.service", f"restart {NAME}.service"
    ]  # fmt: skip


def test_a_newer_systemd_waits_longer_each_time(systemd: Systemd, bundle: Path) -> None:
    systemd.is_like(254)
    assert systemd.install(bundle, "--service").returncode == 0
    unit = entries(systemd.unit.read_text())
    assert (unit["RestartSteps"], unit["RestartMaxDelaySec"]) == ("6", "60")
    assert "CPUAffinity" not in unit


def test_the_page_gets_its_own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").touch()
    monkeypatch.chdir(tmp_path)
    words = ["--camera", "clip.mp4", "--", "--rotate", "180", "--on-face", "a b"]
    options = service.parser().parse_args(words)
    command = entries(service.unit(tmp_path, "small", options, systemd=252))["ExecStart"]
    wanted = f'"--camera" "{tmp_path}/clip.mp4" "--rotate" "180" "--on-face" "a b"'
    assert command.endswith(wanted)


def test_an_upgrade_restarts_it_and_uninstalling_removes_it(systemd: Systemd, bundle: Path) -> None:
    assert systemd.install(bundle, "--service").returncode == 0
    assert systemd.install(bundle).returncode == 0
    assert systemd.told[-1] == f"try-restart {NAME}.service"
    done = systemd.install(bundle, "--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert systemd.told[-2:] == [f"disable --now {NAME}.service", "daemon-reload"]
    assert not systemd.unit.exists()


def test_without_a_service_systemd_is_left_alone(systemd: Systemd, bundle: Path) -> None:
    assert systemd.install(bundle).returncode == 0
    assert systemd.install(bundle, "--uninstall").returncode == 0
    assert not systemd.log.exists()
    assert not systemd.config.exists()


def test_a_unit_of_another_is_not_touched(systemd: Systemd, bundle: Path) -> None:
    systemd.unit.parent.mkdir(parents=True)
    systemd.unit.write_text("[Service]\nExecStart=/bin/true\n")
    done = systemd.install(bundle, "--service")
    assert done.returncode == 2
    assert done.stderr == (
        f"install.sh: {systemd.unit} is not of this bundle; remove it, or rename this folder\n"
    )
    assert systemd.install(bundle, "--uninstall").returncode == 0
    assert systemd.unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_user_without_a_systemd_is_told(systemd: Systemd, bundle: Path) -> None:
    systemd.is_like(252, fails="daemon-reload")
    done = systemd.install(bundle, "--service")
    assert done.returncode == 2
    assert done.stderr == (
        "install.sh: systemctl --user daemon-reload: Failed to connect to bus; log in as the user "
        "who shall run it, by ssh or at the board, not by su or sudo\n"
    )
    assert not systemd.unit.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--cpus", "2,,3"], ["--cpus", "two"], ["--nice", "20"], ["--nice", "5x"],
        ["--camera", ""], ["--camera", "0\nExecStart=/bin/sh"], ["--camera", "-1"], ["--wings"],
        ["--", "--out", "a\nb"],
    ],
)  # fmt: skip
def test_wrong_options_are_told(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        service.parser().parse_args(options)
    assert stop.value.code == 2
    assert "install.sh: error: " in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    here = tmp_path / 'a "quoted" 5% $board'
    for name in ("current/venv/bin/python", "current/deploy/detect.py"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("#!/bin/sh\n")
        (here / name).chmod(0o755)
    options = service.parser().parse_args(["--cpus", "0-1", "--camera", "rtsp://a/b%20c"])
    text = service.unit(here, "small", options, systemd=252)
    path = tmp_path / "small.service"
    path.write_text(text)
    assert verify(path) == []
    path.write_text(text.replace("WatchdogSec", "WatchdogSecs"))
    assert "WatchdogSecs" in verify(path)[0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_it_hardened(tmp_path: Path) -> None:
    """As far as a service of the user can be; without its settings it is rated over the limit."""
    path = tmp_path / "small.service"
    text = service.unit(tmp_path, "small", service.parser().parse_args([]), systemd=252)
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=65", str(path)]
    for content, code in ((text, 0), (re.sub("(?m)^(System|Restrict).*\n", "", text), 1)):
        path.write_text(content)
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == code, done.stdout


def verify(path: Path) -> list[str]:
    """What systemd says of a unit; nothing if it is right."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(path)], capture_output=True, text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(path.parent)},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if path.name in line]
    return said or ([] if done.returncode == 0 else [done.stderr])


HANGS = """
import os, socket, sys, time
at = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
channel.sendto(b"READY=1", at)
print("ready", *sys.argv[2:], sorted(os.sched_getaffinity(0)), os.nice(0), flush=True)
for _ in range(3):
    channel.sendto(b"WATCHDOG=1", at)
    time.sleep(0.2)
time.sleep(1000)
"""
"""A page that comes up, and stops giving frames."""

BOOT = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" || exit 77
/lib/systemd/systemd --user --log-target=console 2> "$LOG" &
for _ in $(seq 50); do
  systemctl --user is-system-running --quiet 2> /dev/null && break
  sleep 0.2
done
systemctl --user is-system-running > /dev/null || exit 77
set -e
"$BUNDLE/install.sh" --service --cpus 0 --nice 7
for _ in $(seq 100); do
  count=$(systemctl --user show small-local -p NRestarts --value)
  [ "$count" -ge 2 ] && break
  sleep 0.2
done
echo "restarts $count, $(systemctl --user show small-local -p Nice --value) nice"
"$BUNDLE/install.sh" --uninstall
systemctl --user is-active small-local || true
systemctl --user exit
"""


@pytest.mark.long
def test_a_real_systemd_restarts_what_hangs(tmp_path: Path) -> None:
    """In a mount namespace of its own, where the user's systemd takes the machine for booted."""
    if os.geteuid() or not Path("/lib/systemd/systemd").exists():
        pytest.skip("a systemd of the test's own needs root")
    bundle = unpack(write_bundle(tmp_path / "made", program=HANGS), tmp_path / "board")
    quick = tmp_path / "config/systemd/user" / f"{NAME}.service.d" / "quick.conf"
    quick.parent.mkdir(parents=True)
    quick.write_text("[Service]\nWatchdogSec=1\nRestartSec=0\n")
    environment = {
        "BUNDLE": str(bundle), "LOG": str(tmp_path / "log"), "HOME": str(tmp_path),
        "PYTHON": sys.executable, "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_RUNTIME_DIR": "/run/user/0",
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", BOOT], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"no systemd of the user can run here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "works: 1" in lines
    assert "restarts 2, 7 nice" in lines
    assert lines[-1] == "inactive"
    assert not (bundle / "current").exists()
