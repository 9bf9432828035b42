"""Runs on the emulated board: a file by a peer's runtime, counted as ``guest.py`` counts ours.

``python peer.py RUNTIME MODEL ASKED.json INPUTS.npz OUTPUTS.npz FACTS.json``: what is asked for are
the ``entry`` and the ``exits`` of the ONNX file, by name.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import guest
import peer_runtimes


def main() -> None:
    """Do all of it and write what was found."""
    runtime, model, asked, inputs, outputs, facts = sys.argv[1:7]
    names = json.loads(Path(asked).read_text(encoding="utf-8"))
    gc.disable()  # or it would run at any time

    def opened() -> guest.Opened:
        return guest.Opened(peer_runtimes.open_peer(runtime, model, **names, threads=1))

    guest.count(opened, ".onnx", inputs, outputs)
    content = {"resident_bytes": guest.resident_bytes()}
    Path(facts).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
