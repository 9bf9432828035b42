"""A systemd service of the user that keeps the live page up; run by ``install.sh``.

The unit NAME.service is the only thing outside the bundle's folder, where it was asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

BACKOFF_SINCE = 254
"""The version of systemd that knows RestartSteps."""

UNIT = """\
# Written by install.sh; it is written anew by: install.sh --service
# Of the bundle {marker}
[Unit]
Description=Faces that a camera sees, on a page of this board ({name})
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program}
WorkingDirectory={folder}
Restart=always
RestartSec=2
{backoff}WatchdogSec=30
TimeoutStartSec=120
TimeoutStopSec=15
Nice={nice}
{affinity}StandardOutput=journal
StandardError=journal
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""
"""RestrictAddressFamilies has netlink for udev, by which cameras are found."""


class ServiceError(Exception):
    """What cannot go on, in one line."""


def unit(here: Path, name: str, options: argparse.Namespace, systemd: int) -> str:
    """Return the unit's text."""
    now = here / "current"
    model = str(now / "model")
    # As the first word systemd takes no path with quotes; env takes any.
    program = ["/usr/bin/env", str(now / "venv/bin/python"), "-E", "-s", "-u"]
    program += [str(now / "deploy/detect.py"), model]
    program += ["--serve", "--camera", str(options.camera), *own_decoder(now), *options.others]
    # A hung camera or a broken one is tried again at once, then ever more seldom.
    backoff = "RestartSteps=6\nRestartMaxDelaySec=60\n" if systemd >= BACKOFF_SINCE else ""
    affinity = f"CPUAffinity={options.cpus.replace(',', ' ')}\n" if options.cpus else ""
    return UNIT.format(
        marker=here,
        name=name,
        program=" ".join(map(quoted, program)),
        folder=str(here).replace("%", "%%"),
        nice=options.nice,
        backoff=backoff,
        affinity=affinity,
    )


def own_decoder(now: Path) -> list[str]:
    """Return the options that name the decoder which was packed, if there is one."""
    packed = now / "decoder"
    return ["--decoder", f"{now}/{packed.read_text()}"] if packed.is_file() else []


def quoted(word: str) -> str:
    """Return a word of a command line as systemd reads it (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def unit_path(name: str) -> Path:
    """Return where the user's unit lies."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user" / f"{name}.service"


def is_ours(path: Path, here: Path) -> bool:
    """Tell whether the unit is this bundle's."""
    try:
        return f"# Of the bundle {here}\n" in path.read_text()
    except (OSError, UnicodeDecodeError):
        return False


def systemctl(*words: str) -> str:
    """Run the user's systemd; raise :class:`ServiceError` with its reason."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", *words], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ServiceError("there is no systemctl here: a service needs systemd") from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:200]
        raise ServiceError(
            f"systemctl --user {words[0]}: {reason}; log in as the user who shall run it, by ssh "
            "or at the board, not by su or sudo"
        )
    return done.stdout


def write(here: Path, name: str, options: argparse.Namespace) -> None:
    """Write the unit and start it."""
    first = systemctl("--version").split()
    version = re.match(r"\d+", first[1]) if len(first) > 1 else None
    path = unit_path(name)
    if not str(here).isprintable():
        raise ServiceError(f"{str(here)!r}: systemd takes no such name; rename the folder")
    if path.exists() and not is_ours(path, here):
        raise ServiceError(f"{path} is not of this bundle; remove it, or rename this folder")
    systemctl("daemon-reload")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.touch(mode=0o600)  # a camera's address may hold a password
    part.write_text(unit(here, name, options, int(version[0]) if version else 0))
    part.replace(path)
    systemctl("daemon-reload")
    systemctl("enable", path.name)
    systemctl("restart", path.name)
    print(f"service {path.name} runs; its log: journalctl --user -u {path.name} -f")
    print("so that it starts without a login: loginctl enable-linger")


def remove(path: Path) -> None:
    """Stop the unit and remove it."""
    trouble = []
    for words in (("disable", "--now", path.name), ("daemon-reload",)):
        try:
            systemctl(*words)
        except ServiceError as error:
            trouble.append(error)
        path.unlink(missing_ok=True)
    if trouble:
        print(f"install.sh: {trouble[0]}", file=sys.stderr)
    print(f"service {path.name} is removed")


def processors(text: str) -> str:
    """Check a list of processors, ``0,2-3``."""
    if not re.fullmatch(r"\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*", text):
        raise argparse.ArgumentTypeError(f"must be processors like 2,3 or 0-2 (got {text!r})")
    return text


def niceness(text: str) -> int:
    """Check a niceness, -20 to 19."""
    if not re.fullmatch(r"-?\d{1,2}", text) or not -20 <= int(text) <= 19:
        raise argparse.ArgumentTypeError(f"must be from -20 to 19 (got {text!r})")
    return int(text)


def printable(text: str) -> str:
    """Check a word for the unit, where every line means something."""
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be on one line (got {text!r})")
    return text


def source(text: str) -> str:
    """Check a camera: its number, an address, or a file, which becomes a whole path."""
    if text.startswith("-"):
        raise argparse.ArgumentTypeError(f"must be a number, a file or rtsp://... (got {text!r})")
    is_file = not text.isdigit() and Path(printable(text)).exists()
    return str(Path(text).resolve()) if is_file else printable(text)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    usage = (
        "install.sh --service [--camera WHAT] [--cpus LIST] [--nice N] [-- OPTIONS OF detect.py]"
    )
    made = argparse.ArgumentParser(prog="install.sh", usage=usage, allow_abbrev=False)
    what = made.add_mutually_exclusive_group()
    for flag in ("--check", "--refresh", "--remove"):
        what.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    made.add_argument("--camera", type=source, default="0", help="number, file or rtsp://...")
    made.add_argument("--cpus", type=processors, help="processors that it may use, as 2,3")
    made.add_argument("--nice", type=niceness, default=0, help="-20 to 19; 19 yields to all")
    made.add_argument("others", type=printable, nargs="*", help="of detect.py, after --")
    return made


def main(arguments: list[str], here: Path) -> int:
    """Run; every error is one line."""
    options = parser().parse_args(arguments)
    try:
        name = str(json.loads((here / "manifest.json").read_bytes())["name"])
        path = unit_path(name)
        if options.check:
            systemctl("--version")
        elif options.remove or options.refresh:
            if is_ours(path, here):
                remove(path) if options.remove else systemctl("try-restart", path.name)
        else:
            write(here, name, options)
    except ServiceError as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"install.sh: the service cannot be set up ({reason})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
