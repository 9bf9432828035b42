"""Forty seconds of the live page with five viewers and a lazy one: memory stays flat.

A picture that is kept, of 20 kB and more, shows within seconds; LIVE_SOAK_SECONDS=600 looks longer.
"""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import threading
import time
from pathlib import Path

import pytest
from serving import Service, red_clip, red_model

SOAK_SECONDS = int(os.environ.get("LIVE_SOAK_SECONDS", "40"))
WARM_SECONDS = SOAK_SECONDS // 6
EVERY_SECONDS = 1


def watch(service: Service, seen: list[int], ended: threading.Event) -> None:
    """Take picture after picture, as a page does."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    known = "0"
    while not ended.is_set():
        connection.request("GET", f"/frame.jpg?after={known}")
        answer = connection.getresponse()
        if answer.read():
            known = answer.headers["X-Frame"]
            seen.append(int(known))
    connection.close()


@pytest.mark.long
def test_memory_is_flat_and_a_lazy_viewer_slows_nobody(tmp_path: Path) -> None:
    clip = red_clip(tmp_path / "clip.mp4", frames=40)
    with Service(red_model(tmp_path), "--camera", clip, "--loop") as service:
        ended = threading.Event()
        seen: list[list[int]] = [[] for _ in range(5)]
        threads = [threading.Thread(target=watch, args=[service, each, ended]) for each in seen]
        for thread in threads:
            thread.start()
        lazy = socket.create_connection(("127.0.0.1", service.port))
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        memory: list[float] = []
        end = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < end:
            time.sleep(EVERY_SECONDS)
            memory.append(service.figure("detect_resident_bytes") / 1e6)
        frames = service.figure("detect_frames_total")
        ended.set()
        for thread in threads:
            thread.join()
        lazy.close()
    warm = WARM_SECONDS // EVERY_SECONDS
    early = statistics.median(memory[warm : 2 * warm])
    late = statistics.median(memory[-warm:])
    viewers = [len(each) / SOAK_SECONDS for each in seen]
    print(f"MB once warm {early:.1f}, at the end {late:.1f}, most {max(memory):.1f};")
    print(f"pictures a second: done {frames / SOAK_SECONDS:.2f}, viewers {viewers}")
    assert late < early + 4
    assert min(len(each) for each in seen) > 0.9 * frames
