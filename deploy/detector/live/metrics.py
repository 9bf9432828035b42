"""The figures of a running service as text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

Sample = tuple[Mapping[str, str], float]


def resident_bytes() -> int:
    """Return the memory of this process that is in use; 0 where Linux's /proc is not there."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """Return one metric with its help, its type and its samples."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
        lines.append(f"{name}{'{' + inside + '}' if inside else ''} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
