"""Records of a small model, as the gate compares them, for its tests."""

from __future__ import annotations

import dataclasses

from toolchain.recipe import GateSection
from toolchain.records.timings import ChannelSample, OperatorCount, OutputSample
from toolchain.records.verdicts import FileRecord, Record

LIMITS = GateSection()
BOXES = ((1.0, 2.0, 11.0, 12.0), (50.0, 50.0, 80.0, 90.0))


def sample(shift: float = 0.0, boxes: object = BOXES) -> OutputSample:
    scores = ChannelSample(0, 1, (0.0 + shift, 0.01, 0.02), 0.0, 0.02)
    boxes_px = ChannelSample(0, 0, (0.0, 100.0, 200.0), 0.0, 200.0)
    return OutputSample("photo a.png", (boxes_px, scores), boxes)  # type: ignore[arg-type]


def file_record(**changes: object) -> FileRecord:
    operators = (OperatorCount("a", "Conv", 900_000), OperatorCount("b", "Add", 100_000))
    return dataclasses.replace(FileRecord("ab", operators, (sample(),)), **changes)


def record(**metrics: float) -> Record:
    """A record of one file; ``metrics`` change its figures, with _ for /."""
    figures = {
        "model.onnx/instructions": 1_000_000,
        "model.onnx/multiply_adds": 400_000,
        "model.onnx/operators/Conv": 3,
        "model.onnx/size_bytes": 10_000,
        "model.onnx/peak_memory_bytes": 60_000_000,
        "model.onnx/parity/board": 0.01,
        "network/parameters": 1_000,
        "network/average_precision/easy": 0.8,
    }
    for name, value in metrics.items():
        (key,) = [key for key in figures if key.split("/", 1)[1].replace("/", "_") == name]
        figures[key] = value
    return Record(
        "small", "eresfd", "rpi4", {"board": "rpi4", "runtime of model.onnx": "onnxruntime 1"},
        figures, {"conv1": 8}, {"torch": "2"}, {"model.onnx": file_record()}, LIMITS, (), (),
    )  # fmt: skip


def with_file(found: Record, **changes: object) -> Record:
    return dataclasses.replace(found, files={"model.onnx": file_record(**changes)})
