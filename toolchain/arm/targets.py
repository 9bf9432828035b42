"""Boards: what is emulated, what their runtimes are, and how times are estimated."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from toolchain.errors import InputError, did_you_mean
from toolchain.recipe import Range
from toolchain.recipe.reader import Reader
from toolchain.records.timings import Estimate

Error = Annotated[float, Range(0, 10)]
BASE_FEATURES = {
    "aarch64": "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid",
    "armv7l": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae crc32",
}


@dataclass(frozen=True)
class Target:
    """An ARM board with its system."""

    key: str
    """What it is called on the command line."""
    name: str
    core: str
    """As QEMU calls it: ``cortex-a72``."""
    part: str
    """The core's number in ``/proc/cpuinfo``; runtimes choose kernels by it."""
    clock_hz: int
    cores: int
    memory_bytes: int
    python: str
    """Version of the system's Python, as ``3.11``."""
    cycles_per_instruction: Annotated[float, Range(0, 100, low_open=True)]
    """Of one thread, over whole inferences."""
    median_error: Error
    """Of times estimated with it, as a share, over the networks it was fitted on."""
    worst_error: Error
    fitted_on: str
    """Where the times came from."""
    features: str = ""
    """Beside :data:`BASE_FEATURES`, as ``/proc/cpuinfo`` writes them."""
    architecture: Literal["aarch64", "armv7l"] = "aarch64"
    """Of the system: 64 or 32 bits."""

    @property
    def emulated_core(self) -> str:
        """What QEMU is told to be: the core; it has no such cores for 32 bits, but all they do."""
        return self.core if self.architecture == "aarch64" else "max"

    @property
    def runtimes(self) -> dict[str, str]:
        """The package that runs a file there, by the file's suffix."""
        if self.architecture == "armv7l":
            return {".tflite": "tflite-runtime"}
        return {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", ".param": "ncnn"}

    @property
    def has_half(self) -> bool:
        """True if the core computes in half precision."""
        return "asimdhp" in self.features

    @property
    def cpuinfo(self) -> str:
        """What ``/proc/cpuinfo`` shows on the board."""
        core = (
            "processor\t: {index}\nBogoMIPS\t: 108.00\n"
            f"Features\t: {BASE_FEATURES[self.architecture]} {self.features}\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
            f"CPU part\t: {self.part}\nCPU revision\t: 3\n\n"
        )
        return "".join(core.format(index=index) for index in range(self.cores))


def estimate(instructions: int, target: Target) -> Estimate:
    """Return instructions x cycles per instruction / clock, give or take the worst error."""
    mid = 1e3 * instructions * target.cycles_per_instruction / target.clock_hz
    return Estimate(mid * (1 - target.worst_error), mid, mid * (1 + target.worst_error))


def read_targets(path: Path | None = None) -> dict[str, Target]:
    """Return the boards that are known, and those of a file of one's own, by key."""
    text = resources.files("toolchain.arm").joinpath("targets.toml").read_text(encoding="utf-8")
    found = _parsed(text, "targets.toml")
    if path is not None:
        try:
            found |= _parsed(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a table of targets ({error})") from error
    return found


def _parsed(text: str, name: str) -> dict[str, Target]:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not valid TOML: {error}") from error
    reader = Reader(text, name)
    return {
        key: reader.section(Target, {"key": key, **table}, (key,))
        if isinstance(table, dict)
        else reader.fail((key,), "must be a table of a board")
        for key, table in tables.items()
    }


def find_target(key: str, path: Path | None = None) -> Target:
    """Return a board by its key; raise :class:`InputError` naming those that are known."""
    known = read_targets(path)
    if key not in known:
        raise InputError(
            f"--target {key}: there is no such board; known are {', '.join(known)} (add one by "
            f"--targets FILE){did_you_mean(key, known)}"
        )
    return known[key]
