"""A camera on the network: what FFmpeg asks of RTSP 1.0, and a transport stream over TCP."""

from __future__ import annotations

import socketserver
import struct
import time
from pathlib import Path
from typing import Any

TS_PACKET = 188
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:v\r\n"


class Camera(socketserver.StreamRequestHandler):
    """Plays the file of its server once, then closes."""

    def handle(self) -> None:
        while (method := self._method()) not in ("", "TEARDOWN"):
            if method == "PLAY":
                self._play()
                return

    def _method(self) -> str:
        """Answer a request and return its method."""
        lines = [self.rfile.readline().decode().strip()]
        while lines[-1]:
            lines.append(self.rfile.readline().decode().strip())
        method = lines[0].partition(" ")[0]
        if not method:
            return ""
        number = next(line for line in lines if line.lower().startswith("cseq"))
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            extra, body = "Content-Type: application/sdp\r\n", SDP
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        head = f"RTSP/1.0 200 OK\r\n{number}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        self.wfile.write(head.encode())
        return method

    def _play(self) -> None:
        data = Path(self.server.file).read_bytes()  # type: ignore[attr-defined]
        step = 7 * TS_PACKET
        for index, start in enumerate(range(0, len(data), step)):
            part = data[start : start + step]
            rtp = struct.pack(">BBHII", 0x80, 33, index & 0xFFFF, index * 90, 1) + part
            self.wfile.write(struct.pack(">BBH", ord("$"), 0, len(rtp)) + rtp)
            time.sleep(0.001)


class RtspServer(socketserver.ThreadingTCPServer):
    """Serves ``file``, a transport stream, on a free port of this machine."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, file: Path) -> None:
        self.file = file
        super().__init__(("127.0.0.1", 0), Camera)

    @property
    def address(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.server_address[1]}/camera"

    def handle_error(self, *_: Any) -> None:
        """A client that is gone is no error."""
