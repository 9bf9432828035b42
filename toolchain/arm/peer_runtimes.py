"""Runs here and on the emulated board: an ONNX file by runtimes that are peers of ours.

Needs numpy and the runtime alone. Inputs and outputs are asked for by the names that the ONNX file
has, so that they come in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MNN, OPENCV = "mnn", "opencv"

Run = Callable[[Any], list[Any]]
"""From an input (1, C, H, W), float32, to all outputs as float32 arrays."""


def open_peer(runtime: str, path: str, entry: str, exits: Sequence[str], threads: int) -> Run:
    """Open a file in float32: ``mnn`` takes a converted one, ``opencv`` the ONNX file itself."""
    run = _mnn(path, entry, exits, threads) if runtime == MNN else _opencv(path, exits, threads)
    return lambda given: run(given[0] if isinstance(given, tuple) else given)


def _mnn(path: str, entry: str, exits: Sequence[str], threads: int) -> Run:
    import MNN

    net = MNN.Interpreter(path)
    session = net.createSession({"backend": "CPU", "precision": "high", "numThread": threads})
    image = net.getSessionInput(session, entry)
    found = [net.getSessionOutput(session, name) for name in exits]

    def tensor(values: Any) -> Any:
        kind, layout = MNN.Halide_Type_Float, MNN.Tensor_DimensionType_Caffe
        return MNN.Tensor(tuple(values.shape), kind, values, layout)

    def read(given: Any) -> Any:
        held = tensor(np.zeros(given.getShape(), np.float32))
        given.copyToHostTensor(held)
        return np.array(held.getNumpyData())

    def run(given: Any) -> list[Any]:
        image.copyFrom(tensor(given))
        net.runSession(session)
        return [read(each) for each in found]

    return run


def _opencv(path: str, exits: Sequence[str], threads: int) -> Run:
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(path)

    def run(given: Any) -> list[Any]:
        net.setInput(given)
        return list(net.forward(list(exits)))

    return run
