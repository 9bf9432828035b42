"""ONNX files whose weights lie in files beside them: which these are, and the hash of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from toolchain.errors import InputError, first_line
from toolchain.records.run_folder import size_of
from toolchain.system.files import digest_of, sha256_of


def external_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold weights of an ONNX file; none for others.

    Raises :class:`InputError` where one is not there, or would lie outside the file's folder.
    """
    if path.suffix != ".onnx":
        return ()
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors share no root but Exception
        raise InputError(
            f"{path.name}: is no whole ONNX file ({first_line(error)}); copy it again, or export it"
        ) from error
    return tuple(_beside(path, name) for name in sorted(set(_locations(model.graph))))


def _locations(graph: Any) -> Iterator[str]:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield next((each.value for each in tensor.external_data if each.key == "location"), "")


def _beside(path: Path, name: str) -> Path:
    file = (path.parent / name).resolve()
    if not name or not file.is_relative_to(path.parent.resolve()):
        raise InputError(f"{path.name}: its weights lie outside its folder ({name!r}); save anew")
    if not file.is_file():
        raise InputError(
            f"{path.name}: its weights lie in {name}, which is not beside it; copy that file to "
            f"{path.parent}, too, or export the network into one file"
        )
    return file


def whole_sha256(path: Path) -> str:
    """Return a model file's SHA-256; with weights beside it, that of all their hashes."""
    own, others = sha256_of(path), external_files(path)
    hashes = {str(each.relative_to(path.parent.resolve())): sha256_of(each) for each in others}
    return digest_of({"": own, **hashes}) if others else own


def whole_size(path: Path) -> int:
    """Return the bytes of a model file, with all that belong to it."""
    return size_of(path) + sum(each.stat().st_size for each in external_files(path))
