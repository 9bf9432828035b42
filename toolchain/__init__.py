"""Prune, physically shrink, export and prove a detector for an ARM board."""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("edge-toolchain")
except PackageNotFoundError:  # run from a bare checkout
    __version__ = "0+unknown"

# Pictures come from strangers. OpenCV reads these limits once, when it is loaded, and any module
# of this package may be the first to load it.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
