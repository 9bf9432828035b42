"""The live page of an ncnn file: ``detect.py model_ncnn --serve`` in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from board import metadata
from ncnn_board import write_folder
from serving import Service, red_clip, until

pytest.importorskip("ncnn")

BOX = [128.0, 56.0, 192.0, 136.0]
"""The red block's, in the clip of 256 x 256 pixels."""


def test_the_page_shows_what_ncnn_finds(tmp_path: Path) -> None:
    model = write_folder(tmp_path / "model_ncnn", metadata())
    clip = red_clip(tmp_path / "clip.mp4")
    with Service(model, "--camera", clip, "--loop", "--json", "--threads", "1") as running:
        events = running.events()
        assert next(events)[0] == "hello"
        facts = next(facts for name, facts in events if not name)
        (face,) = facts["faces"]
        assert face["box"] == pytest.approx(BOX, abs=0.01)
        assert running.get("/frame.jpg")[2][:2] == b"\xff\xd8"
        until(lambda: running.get("/healthz")[0] == 200)
        until(lambda: running.printed)
        assert [each["box"] for each in json.loads(running.printed[0])["faces"]] == [
            pytest.approx(BOX, abs=0.01)
        ]
