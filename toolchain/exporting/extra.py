"""The optional extra that makes TFLite files: is it there, in the version that is pinned?"""

from __future__ import annotations

import contextlib
from importlib import metadata

from toolchain.system.installation import how_to_get

PINS = {"litert-torch": "0.10.0", "ai-edge-quantizer": "0.10.0", "ai-edge-litert": "2.3.0"}
"""Packages of the extra ``tflite`` and the versions that were proved; pyproject.toml pins them."""


def lacking() -> str | None:
    """Return one line that says what of the extra is missing, or None if all of it is there."""
    found: dict[str, str | None] = {}
    how = f"{how_to_get('tflite')} (about 1 GB)"
    for package in PINS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    missing = [package for package in PINS if package not in found]
    if missing:
        return f"TFLite files need {', '.join(missing)}; run {how}"
    wrong = [
        f"{package} {found[package]} (expected {version})"
        for package, version in PINS.items()
        if found[package] != version
    ]
    return f"TFLite files: {', '.join(wrong)}; run {how}" if wrong else None
