"""Runs on the emulated board: layers of ncnn, each alone, and whole files, in one process.

``python layers.py LAYERS.json``: the layers are lists of kind, parameters and the shapes
(C, H, W) that they read; a layer is a network of its own, with zeros for weights. Each runs between
the marks that the counting plugin looks for, and is asked for its value once more, which is what
asking takes. ``files`` are folders of ncnn files that are run whole, by the board's own program,
``detector``.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import guest
import ncnn
import numpy as np
from detector.ncnn_facts import LANES
from detector.ncnn_file import NcnnRunner, new_net, pack

COUNTED = 3
"""Runs of each layer, of which the fewest count; the first one finds no memory kept for it."""


def main() -> None:
    """Do all of it."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    gc.disable()
    for kind, params, shapes in given["layers"]:
        count_layer(kind, params, shapes)
    for folder in given["files"]:
        count_file(Path(folder))


def count_layer(kind: str, params: str, shapes: list[list[int]]) -> None:
    """Run one layer on values as the layer before would have left them."""
    count = len(shapes)
    inputs = [f"i{index}" for index in range(count)]
    lines = ["7767517", f"{count + 1} {count + 1}"]
    lines += [f"Input {name} 0 1 {name}" for name in inputs]
    lines.append(f"{kind} layer {count} 1 {' '.join(inputs)} out {params}")
    net, reader = new_net(ncnn, 1, half=False), ncnn.DataReaderFromEmpty()
    if net.load_param_mem("\n".join(lines) + "\n") or net.load_model(reader):
        raise SystemExit(f"ncnn knows no layer {kind} {params}")
    held = [np.zeros(_laid_out(shape), np.float32) for shape in shapes]
    mats = [_mat(array, shape) for array, shape in zip(held, shapes, strict=True)]
    for _ in range(COUNTED):
        extractor = net.create_extractor()
        extractor.set_light_mode(False)
        for name, mat in zip(inputs, mats, strict=True):
            extractor.input(name, mat)
        guest.mark(guest.ASK)
        code, _value = extractor.extract("out", 1)
        guest.mark(guest.ASKED)
        extractor.extract("out", 1)
        guest.mark(guest.AGAIN)
        if code:
            raise SystemExit(f"ncnn cannot run the layer {kind} {params}")


def _laid_out(shape: list[int]) -> tuple[int, int, int]:
    channels, rows, columns = shape
    if channels % LANES:
        return channels, rows, columns
    return channels // LANES, rows, columns * LANES


def _mat(array: Any, shape: list[int]) -> Any:
    mat = ncnn.Mat(array)
    if shape[0] % LANES == 0:
        pack(mat)
    return mat


def count_file(folder: Path) -> None:
    """Run a whole file as the board's program does: its input laid out, its outputs taken."""
    runner = NcnnRunner(folder, 1, half=False)
    fed = runner.fed(np.zeros(runner.facts.shape, np.float32))
    for _ in range(guest.COUNTED):
        guest.mark(guest.BEGIN)
        _outputs = runner.infer(fed)
        guest.mark(guest.END)


if __name__ == "__main__":
    main()
