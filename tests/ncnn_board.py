"""The network of ``board`` as ncnn has it, written by hand: no converter is needed.

A cell of 16 x 16 pixels is a face if it is red. The map has the boxes' four offsets, two scores of
the background of which the second is never the larger, and the score of a face.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.deploy.detector.ncnn_facts import BIN, METADATA, PARAM

CHANNELS, CELL, SIZE = 7, 16, 64
LEVEL = {"boxes": [0, 1, 2, 3], "background": [4, 5], "face": 6}


def write_folder(
    folder: Path, table: dict[str, Any] | None, *, patches: bool = True, half: bool = False
) -> Path:
    """Write the three files, the network reading patches or the picture; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.zeros((CHANNELS, 3, CELL, CELL), np.float32)
    weight[6] = np.array([1.0, -0.5, -0.5], np.float32)[:, None, None] / 256
    bias = np.zeros(CHANNELS, np.float32)
    bias[5], bias[6] = -1000.0, -50.0
    kernel, stride, rows = CELL, CELL, SIZE // CELL
    if patches:  # rows of a patch, then its columns with their channels: all are whole vectors
        weight, kernel, stride = weight.transpose(0, 2, 3, 1).reshape(CHANNELS, -1, 1, 1), 1, 1
    numbers = np.concatenate([weight.ravel(), bias]).astype("<f4")
    data = bytes(4) + numbers.tobytes()
    digest = hashlib.sha256(data).hexdigest()
    layer = f"0={CHANNELS} 1={kernel} 3={stride} 5=1 6={weight.size}"
    text = (
        f"7767517\n2 2\nInput weights_{digest} 0 1 in0\nConvolution conv 1 1 in0 out0 {layer}\n"
    ).encode()
    (folder / PARAM).write_bytes(text)
    (folder / BIN).write_bytes(data)
    cells = rows * rows
    facts = {
        "format": 1,
        "runtime": "ncnn 1.0.20261020",
        "param_sha256": hashlib.sha256(text).hexdigest(),
        "bin_sha256": digest,
        "input": {
            "name": "image",
            "shape": [1, 3, SIZE, SIZE],
            "patches": {"kernel": CELL, "stride": CELL, "padding": 0} if patches else None,
        },
        "blobs": ["out0"],
        "outputs": [
            {"name": "loc", "shape": [1, cells, 4]},
            {"name": "logits", "shape": [1, cells, 2]},
        ],
        "levels": [LEVEL],
        "half": half,
        "texts": {} if table is None else {"detector": json.dumps(table)},
    }
    (folder / METADATA).write_text(json.dumps(facts))
    return folder


def change_facts(folder: Path, **changes: Any) -> None:
    """Change what the metadata say; ``changes`` are dotted paths with __ for the dot."""
    facts = json.loads((folder / METADATA).read_bytes())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = facts
        for key in parents:
            place = place[key]
        place[last] = value
    (folder / METADATA).write_text(json.dumps(facts))
