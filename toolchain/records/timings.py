"""The frozen records of a benchmark, and of a check on a board; nothing here computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.records.certificate import BoxAgreement
from toolchain.records.parity import Parity
from toolchain.records.run_folder import ONNX


@dataclass(frozen=True)
class OperatorCost:
    """All operators of one type in a file."""

    type: str
    """As the file calls it: ``Conv``, ``CONV_2D``."""
    count: int
    ms: float | None
    """Of one inference; None where the runtime does not tell."""


@dataclass(frozen=True)
class FileTiming:
    """One file, measured in turn with the others."""

    name: str
    runtime: str
    size_bytes: int
    peak_bytes: int
    """Largest resident memory of a fresh process that opens the file and runs it once."""
    median_ms: float
    low_ms: float
    high_ms: float
    """Quartiles."""
    ratio: float
    """Median over rounds of this file's time over the reference's in the same round."""
    ratio_low: float
    ratio_high: float
    mean_share: float | None
    """Mean difference of its outputs from the file it was made of, of their range, as its
    certificate says; None if it says nothing."""
    operators: tuple[OperatorCost, ...]
    """Dearest first; by count where times are not told."""


@dataclass(frozen=True)
class Bench:
    """All files of a folder, with the conditions."""

    folder: str
    reference: str
    """The file that ratios speak of."""
    input: str
    """What was fed, in words."""
    size: tuple[int, int]
    """(height, width)."""
    threads: int
    rounds: int
    seconds: float
    """Seconds of measuring."""
    machine: str
    processor: str
    load: float
    """Mean number of processes that wanted to run in the minute before."""
    files: tuple[FileTiming, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instructions:
    """What the board's core executes in one inference, by kind; exact, one thread."""

    multiply_add: int
    """Vector and floating-point ones."""
    memory: int
    """Loads and stores."""
    branch: int
    other: int

    @property
    def total(self) -> int:
        """Instructions of all kinds together."""
        return self.multiply_add + self.memory + self.branch + self.other


@dataclass(frozen=True)
class OperatorCount:
    """One operator of a file on a board, as the runtime runs it: fused, laid out anew."""

    name: str
    type: str
    """As the runtime calls it: ``Conv``."""
    instructions: int
    """Of one inference on one thread, give or take a few thousand: the profiler's own are taken
    off evenly."""


@dataclass(frozen=True)
class ChannelSample:
    """Some values of one channel of an output, and its ends; six digits."""

    output: int
    """Which of the file's outputs, from 0."""
    channel: int | None
    """None: of the whole output."""
    values: tuple[float, ...]
    """Evenly spread over all that the channel held."""
    low: float
    high: float
    """Lowest and highest of all its values."""


@dataclass(frozen=True)
class OutputSample:
    """What a file gave on a board for one input: enough to tell whether another gives the same."""

    input: str
    channels: tuple[ChannelSample, ...]
    boxes: tuple[tuple[float, ...], ...] | None
    """Of a photo, in pixels of the input: left, top, right, bottom; None where there are none."""


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of one inference on one thread: never measured, always a range."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class FileCheck:
    """One file on one board."""

    target: str
    runtime: str
    file: str
    sha256: str
    size: tuple[int, int]
    """(height, width) of the input."""
    instructions_per_inference: int
    instructions: Instructions
    apart: Parity
    """From this machine's outputs, over all inputs."""
    boxes: BoxAgreement | None
    """Of this machine and the board, on the photos; None without photos."""
    size_bytes: int
    peak_memory_bytes: int
    estimate_ms: Estimate
    estimate_error: Mapping[str, float]
    """``median`` and ``worst`` share by which such estimates were wrong."""
    parity: bool
    """True if outputs are within the limit, and the same boxes are found: all, but for int8."""
    opening_instructions: int
    """Of loading the runtime and opening the file."""
    operators: tuple[OperatorCount, ...]
    """In the order they ran; empty where the runtime's profiler tells none (LiteRT's)."""
    outputs: tuple[OutputSample, ...]
    """The board's, by input."""
    fed: str = ""
    """Names, shapes and types of the inputs of a file on its own; empty for one picture."""

    @property
    def input_words(self) -> str:
        """What it was fed: ``320x320``, or all inputs."""
        return self.fed or f"{self.size[0]}x{self.size[1]}"

    @property
    def operator_types(self) -> Mapping[str, tuple[int, int]]:
        """Number and instructions of the operators of each type, dearest first."""
        found: dict[str, tuple[int, int]] = {}
        for operator in self.operators:
            count, spent = found.get(operator.type, (0, 0))
            found[operator.type] = (count + 1, spent + operator.instructions)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


@dataclass(frozen=True)
class ComparedCandidate:
    """A file beside others: on a board, and on this machine in turn with them."""

    label: str
    """Its folder and name."""
    runtime: str
    size: tuple[int, int]
    """(height, width) of the input."""
    size_bytes: int
    instructions: int
    """Instructions of one inference on the board, one thread."""
    multiply_add: int
    """Multiply-adds among these instructions, by exact count."""
    share: float
    """Instructions over those of the first file."""
    median_ms: float
    """The median on this machine, beside the other files in turn."""
    ratio: float
    """Median over rounds of its time over the first file's in the same round."""
    ratio_low: float
    ratio_high: float
    """Quartiles of that."""
    parity: bool
    """Whether the board gives what this machine gives; a peer's runtime: what the ONNX file gives
    here by onnxruntime."""
    apart: float | None = None
    """The largest difference from that, as a share of the output's range; None if not finite."""


@dataclass(frozen=True)
class Comparison:
    """Files of one or many networks side by side; the first one is the measure."""

    target: str
    name: str
    core: str
    threads: int
    """Here; the board has one."""
    rounds: int
    seconds: float
    machine: str
    processor: str
    load: float
    candidates: tuple[ComparedCandidate, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StageCounts:
    """Instructions of ``detect.py`` for one picture, by stage; of several runs the fewest."""

    fitting: int
    """Of the picture into the network's input."""
    network: int
    decoding: int
    """From outputs to boxes."""

    @property
    def outside(self) -> float:
        """What is not the network, as a share of the network."""
        return (self.fitting + self.decoding) / self.network


@dataclass(frozen=True)
class Check:
    """All files of a folder on one board."""

    folder: str
    target: str
    name: str
    core: str
    clock_hz: int
    fitted_on: str
    files: tuple[FileCheck, ...]
    program: BoxAgreement | None = None
    """Boxes of ``detect.py`` with the main file, here and run on the board; None without photos."""
    stages: StageCounts | None = None
    """Of ``detect.py`` on the first photo; None without photos."""

    @property
    def passed(self) -> bool:
        """True if every file gives what it gives here, and the program finds the same faces."""
        same = self.program is None or self.program.share == 1
        return same and all(file.parity for file in self.files)

    @property
    def main(self) -> FileCheck:
        """``model.onnx``, or the first file."""
        return next((file for file in self.files if file.file == ONNX), self.files[0])

    @property
    def cheapest(self) -> FileCheck:
        """The file with the fewest instructions."""
        return min(self.files, key=lambda file: file.instructions_per_inference)


@dataclass(frozen=True)
class BoardTiming:
    """One file, run and timed on a real board."""

    file: str
    sha256: str
    runtime: str
    median_ms: float
    low_ms: float
    high_ms: float
    """Quartiles."""
    runs: int
    threads: int
    apart: Parity
    """From this machine's outputs, over all inputs."""
    boxes: BoxAgreement | None
    parity: bool
    before: Mapping[str, object]
    """``celsius``, ``governor``, ``clock_hz``, ``throttled``; None where the board hides it."""
    after: Mapping[str, object]
    warnings: tuple[str, ...]
    """What makes the times doubtful, a sentence each."""


@dataclass(frozen=True)
class BoardCheck:
    """All files of a folder on a real board."""

    folder: str
    target: str
    host: str
    board: str | None
    """As the board calls itself; None if it does not."""
    machine: str
    """``aarch64``."""
    python: str
    cores: int
    files: tuple[BoardTiming, ...]

    @property
    def passed(self) -> bool:
        """True if every file gives what it gives here."""
        return all(file.parity for file in self.files)
