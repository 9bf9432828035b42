"""The server: asyncio in a thread, few connections, deadlines for all that a stranger may delay."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ..errors import DetectError, one_line
from .http import MAX_HEAD_BYTES, Request, RequestError, Response, parse
from .notify import say

MAX_CONNECTIONS = 64
"""Open at once; a viewer has two or three."""
REQUEST_SECONDS = 15.0
"""For a request to arrive whole, the time between two on one connection included."""
WRITE_SECONDS = 15.0
"""For a viewer to take what was sent before it is given up."""

Stream = AsyncIterator[bytes]
Answer = Response | tuple[Response, Stream]
Handler = Callable[[Request], Awaitable[Answer]]
"""Answers a request: whole, or a head and the parts of a stream without end."""


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; raise :class:`DetectError` that says what is in the way."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DetectError(f"port {port} is in use; give another --port") from error
        if error.errno == errno.EACCES:
            raise DetectError(
                f"port {port} is not for everybody; give a --port from 1024"
            ) from error
        raise DetectError(f"--host {host}: cannot listen there ({error.strerror})") from error


class Web:
    """Takes connections on a socket and hands requests to ``handler``.

    When all places are taken, the connection that has waited longest without asking anything
    gives way: idle ones and slow ones, however many, keep nobody out.
    """

    def __init__(self, listener: socket.socket, handler: Handler) -> None:
        self.listener, self._handler = listener, handler
        self._open: set[asyncio.StreamWriter] = set()
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._loop = asyncio.new_event_loop()
        self.refused: Counter[int] = Counter()
        """How many requests were refused, by status."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where handlers run."""
        return self._loop

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def start(self) -> None:
        """Serve in a thread that ends with the program."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[started], name="web", daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_say_error)
        serving = asyncio.start_server(
            self._connection, sock=self.listener, limit=MAX_HEAD_BYTES, backlog=128
        )
        server = self._loop.run_until_complete(serving)
        started.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._end_all())
            self._loop.close()

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were closed let go of their sockets

    def stop(self) -> None:
        """End all connections and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain waits until the system has it all
        # asyncio does this only for sockets made with IPPROTO_TCP; without, a part of an answer
        # waits 40 ms for the browser's acknowledgement of the part before.
        connected = writer.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(writer)
        try:
            if self._make_room(writer):
                await self._converse(reader, writer)
            else:
                await self._refuse(writer, RequestError(503, "too many viewers; try again later"))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it is gone, or too slow, or the service stops
        finally:
            self._open.discard(writer)
            self._waiting.pop(writer, None)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    def _make_room(self, newcomer: asyncio.StreamWriter) -> bool:
        """Tell whether there is a place, taking one from the longest idle if need be."""
        self._waiting[newcomer] = None
        if len(self._open) <= MAX_CONNECTIONS:
            return True
        oldest = next(iter(self._waiting))
        oldest.transport.abort()
        self._open.discard(oldest)
        self._waiting.pop(oldest)
        return oldest is not newcomer

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            self._waiting[writer] = None
            try:
                request = await self._request(reader, writer)
                self._waiting.pop(writer, None)
                answer = await self._answer(request)
            except RequestError as refusal:
                await self._refuse(writer, refusal)
                return
            keep = await self._send(writer, request, answer)

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except RequestError:
            raise
        except Exception as error:  # whatever it is, the others are still served
            say(f"{request.method} {request.path[:60]!r}: {one_line(error)}")
            raise RequestError(500, "this did not work; the board's log says why") from error

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise RequestError(431, f"a request has at most {MAX_HEAD_BYTES} bytes") from None
        peer = writer.get_extra_info("peername")
        return parse(head, peer[0] if peer else "")

    async def _send(self, writer: asyncio.StreamWriter, request: Request, answer: Answer) -> bool:
        """Write an answer; tell whether the connection may go on."""
        response, stream = answer if isinstance(answer, tuple) else (answer, None)
        asked = request.headers.get("connection", "").lower()
        close = stream is not None or asked == "close"
        length = None if stream else len(response.body)
        body = b"" if request.method == "HEAD" else response.body
        writer.write(response.head(close=close, length=length) + body)
        await self._drain(writer)
        if stream is not None:
            async with contextlib.aclosing(stream) as parts:  # type: ignore[type-var]
                async for part in parts:
                    writer.write(part)
                    await self._drain(writer)
        return not close

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await writer.drain()

    async def _refuse(self, writer: asyncio.StreamWriter, refusal: RequestError) -> None:
        self.refused[refusal.status] += 1
        body = refused_body(refusal)
        writer.write(body.head(close=True, length=len(body.body)) + body.body)
        await self._drain(writer)


def _say_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong outside of any request, such as no more files to open, in one line."""
    error = context.get("exception")
    say(f"web: {one_line(error) if error else context['message']}")


def refused_body(refusal: RequestError) -> Response:
    """Return a refusal as one line of text."""
    return Response(f"{refusal}\n".encode(), status=refusal.status)
