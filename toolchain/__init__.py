"""Prune, physically shrink, export and prove a detector for an ARM board."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("edge-toolchain")
except PackageNotFoundError:  # run from a bare checkout
    __version__ = "0+unknown"
