"""How the board feels: its temperature, and whether a Pi slows itself down."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FLAGS = {0: "low voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of a Pi's ``get_throttled`` that are set now; 16 higher: has been so since the start."""
FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"


@dataclass(frozen=True)
class Health:
    """What the board says of itself; None where it does not say."""

    celsius: float | None = None
    throttled: int | None = None
    """The bits of ``get_throttled``."""

    def facts(self) -> dict[str, Any]:
        """Return what the page shows."""
        bits = self.throttled or 0
        now = [name for bit, name in FLAGS.items() if bits >> bit & 1]
        before = [name for bit, name in FLAGS.items() if bits >> (bit + 16) & 1]
        return {**asdict(self), "now": now, "before": before}


def health(system: Path = Path("/sys")) -> Health:
    """Read the hottest thermal zone, and what a Pi's firmware says of throttling."""
    zones = system.glob("class/thermal/thermal_zone*/temp")
    degrees = [value / 1000 for zone in zones if (value := _number(zone, 10)) is not None]
    bits = _number(system / FIRMWARE, 16)
    return Health(max(degrees, default=None), bits if bits is not None else _vcgencmd())


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text().strip(), base)
    except (OSError, ValueError):  # a zone that is switched off cannot be read
        return None


def _vcgencmd() -> int | None:
    """Ask the program of Raspberry Pi OS, where there is one."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        asked = [program, "get_throttled"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=2, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", said)
    return int(match[1], 16) if match else None
