"""What a file is that is no PyTorch weights, and what to give in its place."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO

SAVE = "torch.save(network.state_dict(), FILE)"
"""How weights are written that anyone can read."""

_SIGNATURES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"\x89HDF": f"an HDF5 file, as Keras writes them; give what {SAVE} writes",
    b"GGUF": f"a GGUF file; give what {SAVE} writes",
    b"\x93NUMPY": "an array of NumPy; save the weights by their names, as a state dict of tensors",
}
_TFLITE, _ORT, _ONNX = "a TFLite file", "an onnxruntime file", "an ONNX file"
_DEPLOYED = f"that is what a network is exported to; give the weights that {SAVE} writes"
_PICKLES = 6
"""At most so many pickles lie one after another in a file of ``torch.save``."""
_OPCODES = 1_000_000
"""So many instructions of a pickle are looked at, unrun, to tell what is in it."""


def other_kind(path: Path) -> str | None:
    """Return what the file is, if it is plain that it holds no weights to load; else None."""
    if zipfile.is_zipfile(path):
        with suppress(Exception):  # a damaged archive is told when it is read
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            return _archive_kind(names)
        return None
    with path.open("rb") as stream:
        head = stream.read(512)
    for signature, words in _SIGNATURES.items():
        if head.startswith(signature):
            return f"expected PyTorch weights, found {words}"
    deployed = {b"TFL3": _TFLITE, b"ORTM": _ORT}.get(head[4:8])
    if deployed is None and head[:1] == b"\x08" and head[2:3] in (b"\x12", b":", b"B"):
        deployed = _ONNX  # version of the format, then the producer's name, the graph or an opset
    return deployed and f"expected PyTorch weights, found {deployed}: {_DEPLOYED}"


def _archive_kind(names: list[str]) -> str | None:
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return (
            "a TorchScript file (torch.jit), which is a network and not its weights alone; save "
            "torch.jit.load(FILE).state_dict() by torch.save, and give the network's Python as "
            "module:factory"
        )
    if "archive_format" in inside or "serialized_exported_program.json" in names:
        return (
            "an exported program (torch.export), which is a network and not its weights alone; "
            "save torch.export.load(FILE).state_dict by torch.save, and give the network's Python "
            "as module:factory"
        )
    if any(name.startswith(".data/extern_modules") for name in inside):
        return f"a package (torch.package), which holds code; give what {SAVE} writes"
    if names and all(name.endswith(".npy") for name in names):
        return (
            "arrays of NumPy (.npz); save them as tensors: torch.save({name: "
            "torch.from_numpy(array) for name, array in numpy.load(FILE).items()}, ...)"
        )
    if "model.weights.h5" in names:
        return f"a network of Keras; give what {SAVE} writes"
    return None


def is_safetensors(path: Path) -> bool:
    """Tell whether the file begins as safetensors do: a length, then that much JSON."""
    with path.open("rb") as stream:
        head = stream.read(9)
    length = int.from_bytes(head[:8], "little")
    return head[8:] == b"{" and 2 <= length <= path.stat().st_size - 8


def what_is(path: Path) -> str:
    """Say what a file looks like that could not be read, for a person who gave the wrong one."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(b"PK"):
        return "a PyTorch archive that is truncated or damaged; copy it again"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "expected PyTorch weights, found a text file"
    return "not a file of PyTorch weights, or a damaged one"


def why_refused(path: Path, message: str) -> str:
    """Say what a pickle holds that is not loaded, from torch's ``message`` and the file itself."""
    found = re.search(r"(?:GLOBAL|global:?|class) ([\w.]+\.[\w.]+)", message)
    if found is None:
        return what_is(path)
    if any(name.startswith("torch.nn.modules.") for name in _globals(path)):
        return (
            f"a whole network in a pickle ({found.group(1)}), whose loading could run code, so it "
            f"is not loaded; where it was made, write {SAVE}, and give that"
        )
    return (
        f"it holds more than tensors ({found.group(1)}) and could run code when loaded, so it is "
        f"not loaded; write {SAVE} where it was made, or ask for a plain state_dict or a "
        f"safetensors file"
    )


def _globals(path: Path) -> list[str]:
    """Return the classes and functions that a pickle asks for, as far as it can be looked at."""
    found: list[str] = []
    with suppress(Exception):  # a damaged one is looked at up to the damage
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [each for each in archive.namelist() if each.endswith("data.pkl")]
                with archive.open(names[0]) as stream:
                    found.extend(_globals_in(stream))
        else:
            with path.open("rb") as stream:
                for _ in range(_PICKLES):
                    found.extend(_globals_in(stream))
    return found


def _globals_in(stream: IO[bytes]) -> Iterator[str]:
    for opcode, argument, _ in islice(pickletools.genops(stream), _OPCODES):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
