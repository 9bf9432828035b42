"""The optional extra that makes and runs ncnn files: is it there?"""

from __future__ import annotations

from importlib import metadata

from toolchain.system.installation import how_to_get

PACKAGES = ("ncnn", "pnnx")
"""The runtime, and what converts to it."""


def lacking_ncnn(packages: tuple[str, ...] = PACKAGES) -> str | None:
    """Return one line that says what of the extra is missing, or None if all of it is there."""
    missing = []
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if not missing:
        return None
    return f"ncnn files need {' and '.join(missing)}; run {how_to_get('ncnn')}"
