"""A network as ncnn has it, opened: ``model.ncnn.param``, ``model.ncnn.bin``, ``metadata.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Floats
from .errors import DetectError
from .loading import imported, silence
from .ncnn_facts import BIN, LANES, PARAM, folder_of, read_facts
from .ncnn_maps import columns_of, joined
from .ncnn_patches import patches_of


class NcnnRunner:
    """An opened file; ``threads`` is how many compute.

    ``half`` None computes in half precision where the file says so and the processor can; True and
    False overrule both.
    """

    def __init__(self, path: Path, threads: int, half: bool | None = None) -> None:
        self._ncnn = imported("ncnn")
        folder = folder_of(path)
        self.facts = read_facts(path)
        self.half = (self.facts.half and computes_in_half()) if half is None else half
        self.runtime = f"ncnn {version_of(self._ncnn)}"
        self.net = new_net(self._ncnn, threads, half=self.half)
        """The runtime's own."""
        with silence():
            failed = self.net.load_param(str(folder / PARAM))
            failed = failed or self.net.load_model(str(folder / BIN))
        if failed:
            raise DetectError(
                f"is no file that {self.runtime} can open (it was proved with "
                f"{self.facts.runtime}); run: pip install --upgrade ncnn, or export it again"
            )
        self._input = self.net.input_names()[0]

    def fed(self, image: Floats) -> Floats:
        """Return an input (1, C, H, W) as :meth:`infer` and :meth:`run` take it."""
        cut = self.facts.patches
        return np.ascontiguousarray(image[0]) if cut is None else patches_of(image, cut)

    def extractor(self, fed: Floats) -> Any:
        """Return the runtime's own extractor, given its input."""
        extractor = self.net.create_extractor()
        given = self._ncnn.Mat(fed)
        if self.facts.patches is not None:
            pack(given)
        extractor.input(self._input, given)
        return extractor

    def infer(self, fed: Floats) -> list[Floats]:
        """Return the outputs, or where the file has levels their maps (C, rows, columns)."""
        extractor = self.extractor(fed)
        found = []
        for blob in self.facts.blobs:
            code, value = extractor.extract(blob)
            if code:
                raise DetectError(
                    f"{self.runtime} cannot run it (code {code} at {blob}; it was proved with "
                    f"{self.facts.runtime}); run: pip install --upgrade ncnn"
                )
            found.append(np.array(value))
        columns = self.facts.columns
        return found if columns is None else columns_of(found, columns)

    def outputs_of(self, found: Sequence[Floats]) -> tuple[Floats, ...]:
        """Return the network's outputs, given the runtime's."""
        if self.facts.levels is not None:
            return joined(found, self.facts.levels)
        return tuple(
            value.reshape(shape) for value, shape in zip(found, self.facts.shapes, strict=True)
        )

    def run(self, fed: Floats) -> tuple[Floats, ...]:
        """Return the network's outputs for what :meth:`fed` gives."""
        return self.outputs_of(self.infer(fed))


def new_net(ncnn: Any, threads: int, *, half: bool) -> Any:
    """Return the runtime's own network, empty, which computes on the processor."""
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = half
    net.opt.use_fp16_arithmetic = half
    net.opt.use_bf16_storage = False
    return net


def pack(mat: Any) -> None:
    """Let the runtime take an array (vectors, rows, columns * LANES) for what it is."""
    mat.w = mat.w // LANES
    mat.cstep = mat.w * mat.h
    mat.elempack, mat.elemsize = LANES, LANES * 4


def version_of(module: Any) -> str:
    """Return the runtime's version: its own, or that of the package."""
    own = getattr(module, "__version__", None)
    if own:
        return str(own)
    from importlib import metadata

    return metadata.version("ncnn")


def computes_in_half() -> bool:
    """Tell whether this machine's processor computes in half precision."""
    return bool(imported("ncnn").cpu_support_arm_asimdhp())
