"""An OpenSSH server of one's own on 127.0.0.1, without changing anything of the system."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.arm.remote import Board
from toolchain.arm.sysroot import _apt, _unpacked
from toolchain.errors import InputError

PACKAGES = ("openssh-server", "libwrap0")


@dataclass(frozen=True)
class Server:
    """A running server, and how a client gets in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    home: Path

    def board(self, **changes: object) -> Board:
        values: dict[str, object] = {
            "host": f"{_user()}@127.0.0.1",
            "port": self.port,
            "key": self.folder / "a key",
            "config": self.folder / "client",
        }
        return Board(**(values | changes))  # type: ignore[arg-type]

    def drop_connections(self) -> int:
        """Kill the processes that serve connections; the server goes on."""
        pids = subprocess.run(
            ["ps", "--no-headers", "-o", "pid", "--ppid", str(self.process.pid)],
            capture_output=True, text=True, check=False,
        ).stdout.split()  # fmt: skip
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return len(pids)


def _user() -> str:
    import getpass

    return getpass.getuser()


def _program(cache: Path) -> tuple[Path, Path | None]:
    """Return the server, the system's or one that is fetched, and where its libraries lie."""
    own = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if own:
        return Path(own), None
    root = cache / "sshd"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with _apt(cache, "arm64") as download:
            _unpacked(root, download, PACKAGES)
    return root / "usr/sbin/sshd", root


@contextlib.contextmanager
def serving(folder: Path, cache: Path) -> Iterator[Server]:
    """Start a server; raise :class:`InputError` where that cannot be."""
    program, libraries = _program(cache)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / "home"
    home.mkdir()
    for name in ("host", "a key", "another key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "a key.pub", folder / "authorized")
    known = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
    (folder / "known").write_text(known)
    (folder / "client").write_text(f"Host *\n  UserKnownHostsFile {folder}/known\n")
    (folder / "server").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
        f"PermitRootLogin yes\nSetEnv HOME={home}\n"
    )
    process = subprocess.Popen(
        _command(program, folder), env=_environment(libraries), stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield Server(folder, port, process, home)
    finally:
        process.terminate()
        process.wait()


def _command(program: Path, folder: Path) -> list[str]:
    """Return what starts the server; as root it wants a user of its own, shown to it alone."""
    start = [str(program), "-D", "-f", str(folder / "server"), "-E", str(folder / "log")]
    if os.geteuid() != 0:
        return start
    users = Path("/etc/passwd").read_text()
    if "\nsshd:" not in users:
        users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(users)
    (folder / "start").write_text(
        'mount --bind "$1" /etc/passwd && mkdir -p /run/sshd && shift && exec "$@"\n'
    )
    return ["unshare", "-m", "sh", str(folder / "start"), str(folder / "passwd"), *start]


def _environment(root: Path | None) -> dict[str, str]:
    if root is None:
        return dict(os.environ)
    libraries = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    return {**os.environ, "LD_LIBRARY_PATH": libraries}


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise InputError("no ssh server can be started here")
