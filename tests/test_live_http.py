"""What the live page's server takes for a request, and what stands before its answers."""

from __future__ import annotations

import pytest

from toolchain.deploy.detector.live.http import Request, RequestError, Response, parse


def head(line: str = "GET / HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, *(headers or ["Host: localhost"]), "", ""]).encode("latin-1")


def test_a_request_is_read() -> None:
    found = parse(head("GET /frame.jpg?after=7&a=b%20c HTTP/1.1", "Host: x:1", "X-A:  b "), "::1")
    expected = {"host": "x:1", "x-a": "b"}
    assert found == Request("GET", "/frame.jpg", {"after": "7", "a": "b c"}, expected, "::1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head("GET / HTTP/2.0"), 400),
        (head("GET  / HTTP/1.1"), 400),
        (head("GET /"), 400),
        (head(""), 400),
        (head("\x16\x03\x01"), 400),
        (head("DELETE / HTTP/1.1"), 405),
        (head("OPTIONS * HTTP/1.1"), 405),
        (head("GET http://other/ HTTP/1.1"), 400),
        (head("GET /" + 1100 * "a" + " HTTP/1.1"), 400),
        (head("GET /\x01 HTTP/1.1"), 400),
        (head("GET /?" + "a=1&" * 20 + " HTTP/1.1"), 400),
        (head("POST /snapshot HTTP/1.1", "Content-Length: 1"), 413),
        (head("POST /snapshot HTTP/1.1", "Content-Length: +0"), 413),
        (head("POST /snapshot HTTP/1.1", "Transfer-Encoding: chunked"), 413),
        (head("GET / HTTP/1.1", "Host: a", "Host: b"), 400),
        (head("GET / HTTP/1.1", "Host : a"), 400),
        (head("GET / HTTP/1.1", "Host: a", " folded"), 400),
        (head("GET / HTTP/1.1", "no colon"), 400),
        (head("GET / HTTP/1.1", ": no name"), 400),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(data, "")
    assert refusal.value.status == status
    assert "\n" not in str(refusal.value)


def test_every_answer_has_the_security_headers() -> None:
    lines = Response(b"abc").head(close=True, length=3).decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert lines[-4:] == ["Content-Length: 3", "Connection: close", "", ""]
    policy = next(line for line in lines if line.startswith("Content-Security-Policy: "))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    expected = ("X-Content-Type-Options: nosniff", "X-Frame-Options: DENY",
                "Referrer-Policy: no-referrer", "Cross-Origin-Resource-Policy: same-origin",
                "Cache-Control: no-store")  # fmt: skip
    for header in expected:
        assert header in lines
