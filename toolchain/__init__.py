"""Prune, physically shrink, export and prove a detector for an ARM board.

    import toolchain as tc

What ``tc`` offers is ``toolchain.__all__``; it is loaded when it is first asked for, so that the
import itself loads neither torch nor numpy. Everything else in the package is its inside and may
change from one version to the next.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.errors import (
        AnalysisError,
        CheckpointError,
        DataError,
        ExportError,
        InputError,
        ModelError,
        ParityError,
        PhotoError,
        ProofError,
        RecipeError,
        RemovalError,
        ToolchainError,
    )
    from toolchain.library.checking import check, verify
    from toolchain.library.evaluating import evaluate
    from toolchain.library.exporting import Exported, export
    from toolchain.library.filter_groups import FilterGroup
    from toolchain.library.pruner import SoftPruner
    from toolchain.library.pruning_once import prune
    from toolchain.library.recovering import recover
    from toolchain.library.saving import load, save
    from toolchain.library.shrinking import ShrinkProof, ShrinkReport, Shrunk, shrink
    from toolchain.recovery.report import RecoveryReport

    __version__: str

# Pictures come from strangers. OpenCV reads these limits once, when it is loaded, and any module
# of this package may be the first to load it.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

__all__ = [
    "AnalysisError",
    "CheckpointError",
    "DataError",
    "ExportError",
    "Exported",
    "FilterGroup",
    "InputError",
    "ModelError",
    "ParityError",
    "PhotoError",
    "ProofError",
    "RecipeError",
    "RecoveryReport",
    "RemovalError",
    "ShrinkProof",
    "ShrinkReport",
    "Shrunk",
    "SoftPruner",
    "ToolchainError",
    "__version__",
    "check",
    "evaluate",
    "export",
    "load",
    "prune",
    "recover",
    "save",
    "shrink",
    "verify",
]

_MODULES = {
    "AnalysisError": "toolchain.errors",
    "CheckpointError": "toolchain.errors",
    "DataError": "toolchain.errors",
    "ExportError": "toolchain.errors",
    "InputError": "toolchain.errors",
    "ModelError": "toolchain.errors",
    "ParityError": "toolchain.errors",
    "PhotoError": "toolchain.errors",
    "ProofError": "toolchain.errors",
    "RecipeError": "toolchain.errors",
    "RemovalError": "toolchain.errors",
    "ToolchainError": "toolchain.errors",
    "check": "toolchain.library.checking",
    "verify": "toolchain.library.checking",
    "Exported": "toolchain.library.exporting",
    "evaluate": "toolchain.library.evaluating",
    "export": "toolchain.library.exporting",
    "FilterGroup": "toolchain.library.filter_groups",
    "SoftPruner": "toolchain.library.pruner",
    "prune": "toolchain.library.pruning_once",
    "load": "toolchain.library.saving",
    "recover": "toolchain.library.recovering",
    "RecoveryReport": "toolchain.recovery.report",
    "save": "toolchain.library.saving",
    "ShrinkProof": "toolchain.library.shrinking",
    "ShrinkReport": "toolchain.library.shrinking",
    "Shrunk": "toolchain.library.shrinking",
    "shrink": "toolchain.library.shrinking",
}
"""Public name -> the module that it comes from. Type checkers read the imports above instead."""


def __getattr__(name: str) -> Any:
    """Load what is asked for by its public name."""
    if name == "__version__":
        found = _version()
    elif name in _MODULES:
        found = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'toolchain' has no attribute {name!r}")
    globals()[name] = found
    return found


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edge-toolchain")
    except PackageNotFoundError:  # run from a bare checkout
        return "0+unknown"


def __dir__() -> list[str]:
    """Return the names that ``import toolchain`` offers, and the module's own."""
    return sorted({*globals(), *__all__})
