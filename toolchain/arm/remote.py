"""A real board over the system's ssh: commands, files there and back, jobs that outlive a line.

Nothing is put into a remote shell but words quoted by :func:`shlex.join`. Host keys are checked as
the user's own ssh does; no password is ever asked for.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import InputError, last_line

OPTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)
LOST = 255
"""Exit code of ssh itself: no connection, or a lost one."""
TRIES, PAUSE_SECONDS, POLL_SECONDS = 6, 5.0, 1.0
MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Board:
    """How a board is reached."""

    host: str
    """``user@host``, or a name of the user's ssh configuration."""
    port: int | None = None
    key: Path | None = None
    config: Path | None = None
    """An ssh configuration in place of the user's."""

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the local command that runs ``words`` there."""
        if not self.host or self.host.startswith("-") or any(c.isspace() for c in self.host):
            raise InputError(f"--ssh must be user@host (got {self.host!r})")
        return [
            "ssh",
            *OPTIONS,
            *(("-F", str(self.config)) if self.config else ()),
            *(("-p", str(self.port)) if self.port else ()),
            *(("-i", str(self.key), "-o", "IdentitiesOnly=yes") if self.key else ()),
            "--",
            self.host,
            shlex.join(words),
        ]

    def run(self, words: Sequence[str], data: bytes = b"", problem: str = "") -> bytes:
        """Run ``words`` there and return what they print; a lost connection is tried again.

        Raises :class:`InputError` if the board is not reached, or if they fail.
        """
        done = self._patient(words, data)
        if done.returncode:
            said = last_line(done.stderr.decode(errors="replace"))
            what = problem or f"{words[0]} fails"
            raise InputError(f"{self.host}: {what} ({said[:300]})")
        return done.stdout

    def _patient(self, words: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
        if shutil.which("ssh") is None:
            raise InputError("--ssh needs ssh (Debian: apt install openssh-client)")
        reason = ""
        for attempt in range(TRIES):
            done = subprocess.run(self.command(words), input=data, capture_output=True, check=False)
            if done.returncode != LOST:
                return done
            reason = last_line(done.stderr.decode(errors="replace"), "")
            if not _may_pass(reason):
                break
            if attempt < TRIES - 1:
                time.sleep(PAUSE_SECONDS)
        raise InputError(
            f"{self.host}: cannot be reached by ssh ({reason[:300]}); try: "
            f"{shlex.join(self.command(['true'])[:-1])} true"
        )

    def send(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write files into a folder there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o600
                archive.addfile(entry, io.BytesIO(data))
        self.run(["tar", "-xf", "-", "-C", folder], packed.getvalue(), "files cannot be written")

    def fetch(self, folder: str, names: Sequence[str]) -> dict[str, bytes]:
        """Read files of a folder there."""
        packed = self.run(["tar", "-cf", "-", "-C", folder, *names], problem="nothing came back")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for entry in archive:
                if entry.isfile() and entry.name in names and entry.size <= MOST_BYTES:
                    content = archive.extractfile(entry)
                    assert content is not None
                    found[entry.name] = content.read()
        absent = set(names) - set(found)
        if absent:
            raise InputError(f"{self.host}: {', '.join(sorted(absent))} did not come back")
        return found

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """Give a new folder there, and remove it in the end, whatever happens."""
        made = self.run(["mktemp", "-d", "/tmp/toolchain.XXXXXXXX"], problem="no folder in /tmp")
        place = made.decode().strip()
        if not place.startswith("/tmp/toolchain."):
            raise InputError(f"{self.host}: mktemp gave {place[:100]!r}")
        try:
            yield place
        finally:
            with contextlib.suppress(InputError):
                self.run(["rm", "-rf", "--", place])

    def job(self, folder: str, words: Sequence[str], seconds: float) -> None:
        """Run ``words`` there apart from the connection, and wait until they end.

        Raises :class:`InputError` with their last line if they fail or take too long.
        """
        line = f"{shlex.join(words)} > log 2>&1; echo $? > code.part; mv code.part code"
        apart = f"(setsid sh -c {shlex.quote(line)} </dev/null >/dev/null 2>&1 &)"
        self.run(["sh", "-c", f"cd {shlex.quote(folder)} && {apart}"])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ask = f"cat {shlex.quote(f'{folder}/code')} 2>/dev/null || true"
            code = self.run(["sh", "-c", ask]).decode().strip()
            if code == "0":
                return
            if code:
                said = self.run(["tail", "-n", "3", f"{folder}/log"]).decode(errors="replace")
                last = last_line(said)
                raise InputError(f"{self.host}: {Path(words[-1]).name} fails there ({last[:300]})")
            time.sleep(POLL_SECONDS)
        raise InputError(f"{self.host}: not done after {seconds:.0f} s")


def _may_pass(reason: str) -> bool:
    """Tell whether a lost connection may come back: not if a key or a name is wrong."""
    final = ("Permission denied", "verification failed", "not known", "Could not resolve", "Bad ")
    return not any(words in reason for words in final)
