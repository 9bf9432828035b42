#!/usr/bin/env python3
"""The board's program as it lies in the checkout, and what the toolchain takes from it.

Run, it is the package ``detector`` beside it. To a board goes one file of the same name, which lies
in every output folder of ``toolchain shrink``; ``packing`` makes it.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from detector import start

    start()
else:
    from .detector.arrays import Floats, Image
    from .detector.benchmark import benchmark
    from .detector.command_line import main
    from .detector.decoding import LARGEST_LOG, anchors, corners, decode, evidence_of, logit
    from .detector.detecting import DEFAULT_SIZE, Detection, Detector
    from .detector.drawing import draw
    from .detector.errors import DetectError, OutputError, one_line
    from .detector.flatbuffer import tflite_metadata
    from .detector.ncnn_file import NcnnRunner
    from .detector.outputs import VideoFile
    from .detector.pictures import JPEG_SUFFIXES, OTHER_SUFFIXES, read_image
    from .detector.preparing import Placement, affine, fitted, letterbox
    from .detector.runtimes import open_network, specification_of, why_not_opened
    from .detector.sources import VIDEO_SUFFIXES
    from .detector.specification import SCHEMA, Specification

    __all__ = [
        "DEFAULT_SIZE",
        "JPEG_SUFFIXES",
        "LARGEST_LOG",
        "OTHER_SUFFIXES",
        "SCHEMA",
        "VIDEO_SUFFIXES",
        "DetectError",
        "Detection",
        "Detector",
        "Floats",
        "Image",
        "NcnnRunner",
        "OutputError",
        "Placement",
        "Specification",
        "VideoFile",
        "affine",
        "anchors",
        "benchmark",
        "corners",
        "decode",
        "draw",
        "evidence_of",
        "fitted",
        "letterbox",
        "logit",
        "main",
        "one_line",
        "open_network",
        "read_image",
        "specification_of",
        "tflite_metadata",
        "why_not_opened",
    ]
