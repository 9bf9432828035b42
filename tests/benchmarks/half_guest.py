"""Runs on the emulated board: an ncnn file, picture after picture, over standard input and output.

``python half_guest.py MODEL half|single``: reads what ``fed()`` gives, a ``.npy`` each, and writes
the network's outputs, a ``.npy`` each, until the input ends.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np


def write(stream: Any, array: Any) -> None:
    """Write one array, its length before it."""
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=False)
    stream.write(packed.tell().to_bytes(8, "little") + packed.getvalue())


def read(stream: Any) -> Any:
    """Read what :func:`write` wrote; None at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    return np.load(io.BytesIO(stream.read(int.from_bytes(head, "little"))), allow_pickle=False)


def main() -> None:
    """Do all of it."""
    from detector.ncnn_file import NcnnRunner

    runner = NcnnRunner(Path(sys.argv[1]), 1, half=sys.argv[2] == "half")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (fed := read(source)) is not None:
        for output in runner.run(fed):
            write(sink, output)
        sink.flush()


if __name__ == "__main__":
    main()
