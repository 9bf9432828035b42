"""Finds faces, or does another task, in pictures, folders, videos and cameras with a file.

Needs numpy, OpenCV and one runtime, nothing else: onnxruntime for an ONNX file, ai-edge-litert or
tflite-runtime for a TFLite file, ncnn for a folder of that. The file, made by the toolchain, says
how it wants to be used (task, size, scale, mean, anchors, thresholds) in its metadata, so there is
nothing to configure. The way of a picture, each step in a file of its own::

    sources, pictures -> preparing -> runtimes -> decoding -> drawing, telling, outputs

Boxes are [left, top, right, bottom] in pixels of the original picture, as floats. ``detecting``
is that way as one class, ``command_line`` the program, ``live`` its page with a camera's picture.
``opening`` tells faces from other ``tasks``, which have a room of their own.
On the board all of it is one file, ``detect.py``.
"""

from __future__ import annotations

import os
import sys

# OpenCV reads these when it is imported: a limit against pictures that would fill the memory, and
# silence, because each error is reported here, in one line.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def start() -> None:
    """Run the program and exit with its code; without its packages, say what to install."""
    try:
        from .command_line import start_program
    except ImportError as missing:
        packages = "numpy opencv-python-headless onnxruntime"
        print(f"detect.py: {missing}; run: pip install {packages}", file=sys.stderr)
        sys.exit(2)
    start_program()
