"""Runs on the emulated board, with what ``detect.py`` needs: its stages, counted one by one.

``python stages.py DETECT MODEL PICTURE RUNS``: fits the picture into the input, runs the network,
decodes its outputs, each between the marks that the counting plugin looks for, in this order.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import guest


def opened(path: str) -> Any:
    """Import a program by its path."""
    specification = importlib.util.spec_from_file_location("detect", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["detect"] = module
    specification.loader.exec_module(module)
    return module


def main() -> None:
    """Do all of it."""
    program, model, picture, runs = sys.argv[1:5]
    detect = opened(program)
    detector = detect.Detector(model, threads=1)
    image, specification = detect.read_image(picture), detector.specification
    for _ in range(int(runs)):
        guest.mark(guest.BEGIN)
        tensor, placement = detect.letterbox(image, specification, *detector.size)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        outputs = detector.run(tensor)
        guest.mark(guest.END)
        guest.mark(guest.BEGIN)
        detect.decode(*outputs, specification, *detector.size, placement)
        guest.mark(guest.END)


if __name__ == "__main__":
    main()
