"""The live page's server against strangers: real sockets, a trivial site behind it."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from serving import raw, until

from toolchain.deploy.detect import DetectError
from toolchain.deploy.detector.live import web
from toolchain.deploy.detector.live.http import Request, RequestError, Response
from toolchain.deploy.detector.live.web import MAX_CONNECTIONS, Answer, Web, bind

OK = b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG = bytes(50_000_000)


async def answer(request: Request) -> Answer:
    if request.path == "/endless":
        return Response(), endless()
    if request.path == "/big":
        return Response(BIG)
    if request.path == "/broken":
        raise ZeroDivisionError
    if request.path != "/ok":
        raise RequestError(404, "there is no such address here")
    return Response(b"fine")


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1_000_000)


@pytest.fixture
def server() -> Iterator[Web]:
    listener = bind("127.0.0.1", 0)
    made = Web(listener, answer)
    made.start()
    yield made
    made.stop()
    listener.close()
    gc.collect()


def port(server: Web) -> int:
    return int(server.listener.getsockname()[1])


def connected(server: Web) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(server)), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server has closed a connection, and tell so; False after its timeout."""
    try:
        while connection.recv(1_000_000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_requests_follow_each_other_on_a_connection(server: Web) -> None:
    answers = raw(port(server), OK + OK)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answers.count(b"\r\n\r\nfine") == 2


def test_a_client_may_ask_to_close(server: Web) -> None:
    asked = OK.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n")
    answers = raw(port(server), asked + OK)
    assert answers.count(b"fine") == 1
    assert b"Connection: close" in answers


def test_head_is_answered_without_a_body(server: Web) -> None:
    answers = raw(port(server), OK.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 4" in answers
    assert answers.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /ok HTTP/1.1\r\nX: " + 9000 * b"x" + b"\r\n\r\n", 431),
        (b"x" * 100_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"POST /ok HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789", 413),
        (b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n", 500),
    ],
)
def test_a_refusal_is_one_line_and_the_end(server: Web, data: bytes, status: int) -> None:
    answers = raw(port(server), data)
    if answers:  # a peer that has not read all may reset the connection before
        assert answers.startswith(f"HTTP/1.1 {status} ".encode())
        assert answers.count(b"Content-Length: ") == 1
        assert answers.endswith(b"\n")
        assert b"Traceback" not in answers
    assert server.refused == {status: 1}
    assert raw(port(server), OK).endswith(b"fine")


def test_a_slow_request_is_given_up(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow loris: a byte now and then does not keep a connection."""
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.4)
    with connected(server) as slow:
        ended = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in 100 * b"GET /ok HTTP/1.1\r\n":
                    slow.sendall(bytes([byte]))
                    if ended.wait(0.05):
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert is_closed(slow)
        ended.set()
        dripping.join()
    until(lambda: server.connections == 0)


def test_a_viewer_that_reads_nothing_is_given_up(
    server: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WRITE_SECONDS", 0.4)
    for asked in (ENDLESS, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with connected(server) as lazy:
            lazy.sendall(asked)
            until(lambda: server.connections == 1)
            assert raw(port(server), OK).endswith(b"fine")
            until(lambda: server.connections == 0)


def test_a_thousand_idle_connections_keep_nobody_out(server: Web) -> None:
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(connected(server))
        busy.sendall(ENDLESS)
        assert busy.recv(1000)
        idle = [stack.enter_context(connected(server)) for _ in range(1000)]
        for _ in range(5):
            assert raw(port(server), OK).endswith(b"fine")
        assert server.connections <= MAX_CONNECTIONS
        assert is_closed(idle[0])
        assert busy.recv(1000)  # who has asked something is not sent away
    until(lambda: server.connections == 0)


def test_when_all_are_busy_a_newcomer_is_told(server: Web) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            busy = stack.enter_context(connected(server))
            busy.sendall(ENDLESS)
            assert busy.recv(1000)
        found = raw(port(server), OK)
        assert not found or found.startswith(b"HTTP/1.1 503 ")
        assert server.refused == {503: 1}


def test_parts_of_an_answer_do_not_wait_for_each_other(server: Web) -> None:
    with connected(server) as client:
        client.sendall(OK)
        assert client.recv(1000)
        (writer,) = server._open
        ours = writer.get_extra_info("socket")
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_one_line() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(DetectError, match="is in use; give another"):
        bind("127.0.0.1", first.getsockname()[1])


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(DetectError, match=r"--host 192\.0\.2\.1: cannot listen there"):
        bind("192.0.2.1", 0)
    with pytest.raises(DetectError, match=r"--host no\.such\.name\.invalid: cannot listen"):
        bind("no.such.name.invalid", 0)
