"""The little of HTTP/1.1 that the page needs: requests without a body, and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs

MAX_HEAD_BYTES = 8192
"""A request's line and headers together; browsers send about 1,000."""
MAX_TARGET_CHARS = 1024

REASONS = {
    200: "OK", 204: "No Content", 303: "See Other", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip

SECURITY_HEADERS = (
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Opener-Policy: same-origin",
    "Cross-Origin-Resource-Policy: same-origin",
    "Permissions-Policy: camera=(), microphone=(), geolocation=()",
    "Cache-Control: no-store",
)


class RequestError(Exception):
    """A request that is not answered as it wants; ``status`` says how, the message why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Names in small letters; each once."""
    peer: str = ""
    """The address that it came from."""


@dataclass(frozen=True)
class Response:
    """What is answered."""

    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: tuple[str, ...] = ()

    def head(self, *, close: bool, length: int | None) -> bytes:
        """Return the lines before the body; ``length`` None: it goes on until the end."""
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}", *SECURITY_HEADERS]
        lines += [f"Content-Type: {self.kind}", *self.headers]
        lines += [] if length is None else [f"Content-Length: {length}"]
        lines += [f"Connection: {'close' if close else 'keep-alive'}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def parse(head: bytes, peer: str) -> Request:
    """Read a request up to its empty line; raise :class:`RequestError`.

    A body, and whatever two programs may read in two ways (a header twice, a name with a space,
    a folded line), is refused.
    """
    line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise RequestError(400, "this is not HTTP/1.1")
    method, target, _ = words
    if method not in ("GET", "HEAD", "POST"):
        raise RequestError(405, "only GET, HEAD and POST are understood")
    if len(target) > MAX_TARGET_CHARS or not target.startswith("/") or not target.isprintable():
        raise RequestError(400, "the address is too long, or none of this page")
    path, _, query = target.partition("?")
    headers = _headers(lines)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise RequestError(413, "no request here has a body")
    try:
        words_of = parse_qs(query, keep_blank_values=True, max_num_fields=8)
    except ValueError as error:
        raise RequestError(400, "too many fields in the address") from error
    values = {name: each[-1] for name, each in words_of.items()}
    return Request(method, path, values, headers, peer)


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name.replace("-", "").replace("_", "").isalnum() or name in found:
            raise RequestError(400, "a header is malformed, or there twice")
        found[name] = value.strip()
    return found
