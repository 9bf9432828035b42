"""Who may use the live page."""

from __future__ import annotations

import hmac
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolchain.deploy.detect import DetectError
from toolchain.deploy.detector.live import guard
from toolchain.deploy.detector.live.guard import (
    Access,
    Allowance,
    Guard,
    host_of,
    is_loopback,
    token_in,
)
from toolchain.deploy.detector.live.http import Request, RequestError

TOKEN = "abcdefghijklmnop"


def request(method: str = "GET", path: str = "/", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, {}, {"host": "127.0.0.1:8080", **named}, "127.0.0.1")


def status(found: Guard, asked: Request) -> int:
    try:
        found.check_site(asked)
        found.check_token(asked)
    except RequestError as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost:8080", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("[::1]:8080", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("evil.example:80:80", ""),
        ("127.0.0.1@evil.example", "127.0.0.1@evil.example"),
        ("[::1]evil", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_header(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("bound", "name", "known"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "192.168.1.7", False),
        ("0.0.0.0", "192.168.1.7", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", socket.gethostname().lower(), True),
        ("0.0.0.0", f"{socket.gethostname().lower()}.local", True),
        ("camera.home", "camera.home", True),
    ],
)
def test_a_name_of_somebody_else_is_refused_against_rebinding(
    bound: str, name: str, known: bool
) -> None:
    assert Access(bound, None).knows(name) is known


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(), 200),
        (request(host="evil.example"), 403),
        (request(origin="http://127.0.0.1:8080"), 200),
        (request(origin="http://evil.example"), 403),
        (request(origin="http://127.0.0.1:9090"), 403),
        (request(origin="https://127.0.0.1:8080"), 403),
        (request(origin="null"), 403),
        (request("POST", "/snapshot", origin="http://evil.example"), 403),
        (request(path="/frame.jpg", sec_fetch_site="cross-site"), 403),
        (request(path="/frame.jpg", sec_fetch_site="same-site"), 403),
        (request(path="/frame.jpg", sec_fetch_site="same-origin"), 200),
        (request(path="/events", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 403),
        (request(sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 200),
        (request(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), 403),
    ],
)
def test_another_sites_page_is_refused(asked: Request, expected: int) -> None:
    assert status(Guard(Access("127.0.0.1", None), "c"), asked) == expected


def test_the_token_opens_by_cookie_header_and_address() -> None:
    found = Guard(Access("127.0.0.1", TOKEN), "live_1")
    assert status(found, request()) == 401
    assert status(found, request(cookie=f"a=b; live_1={TOKEN}")) == 200
    assert status(found, request(cookie=f"other={TOKEN}")) == 401
    assert status(found, request(authorization=f"Bearer {TOKEN}")) == 200
    assert status(found, request(authorization=f"Bearer {TOKEN}x")) == 401
    assert status(found, request(authorization="Bearer \xff")) == 401
    asked = Request("GET", "/", {"token": TOKEN}, {"host": "localhost"}, "127.0.0.1")
    assert status(found, asked) == 200
    assert status(found, Request("GET", "/", {"token": ""}, {"host": "localhost"})) == 401


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(offered: bytes, token: bytes) -> bool:
        compared.append(offered)
        return real(offered, token)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    found = Guard(Access("127.0.0.1", TOKEN), "live_1")
    assert status(found, request(authorization="Bearer wrong")) == 401
    assert b"wrong" in compared


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = token_in(path)
    assert len(token) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_in(path) == token
    assert token_in(tmp_path / "another") != token


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (TOKEN, 0o640, "others may read it; run: chmod 600"),
        ("short", 0o600, "must hold 16 to 128 letters"),
        ("two words are not one", 0o600, "must hold 16 to 128 letters"),
        ("", 0o600, "must hold 16 to 128 letters"),
    ],
)
def test_a_token_that_protects_nothing_is_refused(
    tmp_path: Path, content: str, mode: int, message: str
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(DetectError, match=message):
        token_in(path)


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DetectError, match="cannot be written \\(No such file"):
        token_in(tmp_path / "missing" / "token")


def test_an_address_has_an_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: now[0]))
    allowance = Allowance(per_second=2, burst=3)
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")
    now[0] += 0.5
    assert [allowance.take("a"), allowance.take("a")] == [True, False]
    for number in range(2 * guard.MAX_ADDRESSES):
        allowance.take(str(number))
    assert len(allowance._left) == guard.MAX_ADDRESSES


def test_too_many_requests_are_refused() -> None:
    found = Guard(Access("127.0.0.1", None), "c")
    answers = {status(found, request()) for _ in range(int(2 * guard.REQUESTS_PER_SECOND))}
    assert answers == {200, 429}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", False), ("pi", False)],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
