"""Who may use the page: no other site by a browser's back door, nobody without the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from ..errors import DetectError
from .http import Request, RequestError

REQUESTS_PER_SECOND = 300.0
"""Of one address: eight viewers at 30 pictures a second, as through one ssh tunnel."""
MAX_ADDRESSES = 256
"""Addresses of which account is kept."""
TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Allowance:
    """A bucket per address: ``burst`` at once, then ``per_second``."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Use one up; False if there is none."""
        now = time.monotonic()
        before, at = self._left.get(address, (self._burst, now))
        left = min(self._burst, before + (now - at) * self._per_second)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        self._left.move_to_end(address)
        if len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """Return the name or address of ``name:port`` and ``[address]:port``, in small letters."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|([^:\[\]]*)(?::\d{1,5})?", authority)
    return (match[1] or match[2] or "").lower().rstrip(".") if match else ""


def token_in(path: Path) -> str:
    """Return the token that a file holds; make the file, readable by its owner only, if needed."""
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise DetectError(f"--token {path}: cannot be written ({error.strerror})") from error
    else:
        with os.fdopen(made, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    return _read_token(path)


def _read_token(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(256).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DetectError(f"--token {path}: cannot be read ({error})") from error
    if mode & 0o077:
        raise DetectError(f"--token {path}: others may read it; run: chmod 600 {path}")
    if not TOKEN_FORM.fullmatch(token):
        raise DetectError(
            f"--token {path}: must hold 16 to 128 letters, digits, - and _ on one line; "
            "remove the file, and one is made"
        )
    return token


@dataclass(frozen=True)
class Access:
    """Who is let in: ``token`` None means all who reach the port."""

    host: str
    token: str | None

    def knows(self, name: str) -> bool:
        """Tell whether a Host header names this machine, and not a name of somebody else's.

        Against DNS rebinding, which needs a name of the attacker's: a literal address is none.
        """
        if is_loopback(name):
            return True
        if is_loopback(self.host):
            return False
        own = socket.gethostname().lower()
        if name in (own, f"{own}.local", self.host.lower()):
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Guard:
    """Lets a request pass, or raises :class:`RequestError`."""

    def __init__(self, access: Access, cookie: str) -> None:
        self._access, self.cookie = access, cookie
        self._requests = Allowance(REQUESTS_PER_SECOND, REQUESTS_PER_SECOND)

    @property
    def token(self) -> str | None:
        """The token, if one is needed."""
        return self._access.token

    def check_site(self, request: Request) -> None:
        """Refuse too many requests, a foreign Host, and what another site's page sends."""
        if not self._requests.take(request.peer):
            raise RequestError(429, "too many requests; wait a second")
        authority = request.headers.get("host", "")
        if not self._access.knows(host_of(authority)):
            raise RequestError(
                403, "this is not the page's own address; open the one it was started at"
            )
        if request.headers.get("origin", f"http://{authority}") != f"http://{authority}":
            raise RequestError(403, "another site's page may not use this one")
        site = request.headers.get("sec-fetch-site", "none")
        followed = request.headers.get("sec-fetch-mode") == "navigate" and request.path == "/"
        if site not in ("same-origin", "none") and not (followed and request.method == "GET"):
            raise RequestError(403, "another site's page may not use this one")

    def check_token(self, request: Request) -> None:
        """Refuse who does not know the token: cookie, ``Authorization: Bearer``, or ``?token=``."""
        if self.token is None:
            return
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        offered = [_cookies(request).get(self.cookie, ""), bearer, request.query.get("token", "")]
        if not any(hmac.compare_digest(each.encode(), self.token.encode()) for each in offered):
            raise RequestError(401, "this page wants its token")


def _cookies(request: Request) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}
