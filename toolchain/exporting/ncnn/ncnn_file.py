"""Writing a network as the folder of an ncnn file: rewritten, converted, described."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from toolchain.deploy.detector.ncnn_facts import (
    BIN,
    FORMAT,
    METADATA,
    PARAM,
    WITH_COLUMNS,
    Column,
    Level,
    Patches,
)
from toolchain.errors import ExportError
from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.align import align_widths
from toolchain.exporting.ncnn.batch import batch_of_one, slices_apart
from toolchain.exporting.ncnn.convert import Converted, convert
from toolchain.exporting.ncnn.ends import find_ends, keep_ends
from toolchain.exporting.ncnn.order import plain_order
from toolchain.exporting.ncnn.recurrent import plain_recurrence
from toolchain.exporting.ncnn.stem import read_patches
from toolchain.exporting.ncnn.widen import widen_narrow
from toolchain.records.run_folder import NCNN, NCNN_FOLDER
from toolchain.records.stages import Artifact, Rewritten
from toolchain.system.files import as_json, sha256_of, write_bytes

NOTHING_FOUND = {
    "ends": "outputs are more than the order of maps, and scores of them",
    "axes": "every value is a batch of one, with four axes more at most",
    "align": "every width is a multiple of four",
    "widen": "no convolution on 1600 pixels goes from four channels to four",
    "patches": "the first layer's patches overlap, or something else reads the input",
}


@dataclass(frozen=True)
class Prepared:
    """A model as the runtime is to have it."""

    model: onnx.ModelProto
    levels: tuple[Level, ...] | None
    columns: tuple[Column, ...] | None
    patches: Patches | None


def prepare(
    model: onnx.ModelProto,
    *,
    for_detect: bool,
    on_done: Callable[[Rewritten], None] = lambda _done: None,
) -> Prepared:
    """Rewrite a copy of a model of fixed sizes; each rewrite is exact but for the order of sums.

    ``for_detect``: whoever runs it lays out patches and reads maps, as the board's program does.
    """
    whole = onnx.ModelProto.FromString(model.SerializeToString())
    ends = find_ends(whole) if for_detect else None
    if ends is not None:
        keep_ends(whole, ends)
    counts = {"ends": len(ends.values) if ends else 0}
    counts["axes"] = _plain_axes(whole)
    graph = Graph(whole)
    free = ends.values if ends else ()
    counts["align"] = align_widths(graph, free)
    _write(whole, graph)
    graph = Graph(whole)
    counts["widen"] = widen_narrow(graph)
    _write(whole, graph)
    cut = read_patches(whole) if for_detect else None
    counts["patches"] = int(cut is not None)
    for name, count in counts.items():
        on_done(Rewritten(f"ncnn {name}", count, None if count else NOTHING_FOUND[name]))
    onnx.checker.check_model(whole, full_check=True)
    levels, columns = (ends.levels, ends.columns) if ends else (None, None)
    return Prepared(whole, levels, columns, cut)


def _plain_axes(model: onnx.ModelProto) -> int:
    """Rewrite what the converter takes for another axis; return how many operators and ways."""
    graph = Graph(model)
    fixed = plain_recurrence(graph)
    slices_apart(graph)
    _write(model, graph)
    graph = Graph(model)
    count = batch_of_one(graph)
    _write(model, graph)
    graph = Graph(model)
    count += plain_order(graph, fixed)
    _write(model, graph)
    return count


def _write(model: onnx.ModelProto, graph: Graph) -> None:
    """Write a graph back; outputs take the sizes that they have now."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph.write()


def write_ncnn(
    model: onnx.ModelProto,
    folder: Path,
    *,
    texts: Mapping[str, str],
    for_detect: bool,
    half: bool = False,
    on_done: Callable[[Rewritten], None] = lambda _done: None,
) -> Artifact:
    """Write ``model_ncnn/`` into an output folder; return the file that stands for it.

    ``model`` is the network as ONNX, one input (1, C, H, W); ``texts`` are its metadata, as other
    files carry them; ``half`` lets boards that compute in half precision do so. Raises
    :class:`ExportError` for what cannot be converted.
    """
    try:
        prepared = prepare(model, for_detect=for_detect, on_done=on_done)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the network cannot be rewritten for ncnn ({error})") from error
    converted = convert(prepared.model)
    place = folder / NCNN_FOLDER
    place.mkdir(exist_ok=True)
    files = {PARAM: _sealed(converted).encode(), BIN: converted.weights}
    for name, data in files.items():
        write_bytes(place / name, data)
    facts = _facts(model, prepared, converted, files, texts, half=half)
    write_bytes(place / METADATA, as_json(facts))
    size = sum((place / name).stat().st_size for name in (PARAM, BIN, METADATA))
    return Artifact(NCNN, size, sha256_of(place / PARAM))


def _sealed(converted: Converted) -> str:
    """Return the layers' text with the weights' hash in the name of its first layer.

    So the one file stands for both.
    """
    digest = hashlib.sha256(converted.weights).hexdigest()
    lines = converted.param.splitlines()
    for number, line in enumerate(lines):
        words = line.split()
        if number > 1 and words and words[0] == "Input":
            words[1] = f"weights_{digest}"
            lines[number] = " ".join(words)
            break
    return "\n".join(lines) + "\n"


def _facts(
    model: onnx.ModelProto,
    prepared: Prepared,
    converted: Converted,
    files: Mapping[str, bytes],
    texts: Mapping[str, str],
    *,
    half: bool,
) -> dict[str, Any]:
    (entry,) = model.graph.input
    columns = [asdict(column) for column in prepared.columns or ()]
    return {
        "format": FORMAT if prepared.columns is None else WITH_COLUMNS,
        "runtime": f"ncnn {metadata.version('ncnn')}",
        "param_sha256": hashlib.sha256(files[PARAM]).hexdigest(),
        "bin_sha256": hashlib.sha256(files[BIN]).hexdigest(),
        "input": {
            "name": entry.name,
            "shape": _sides(entry),
            "patches": None if prepared.patches is None else asdict(prepared.patches),
        },
        "blobs": list(converted.blobs),
        "outputs": [
            {"name": output.name, "shape": _sides(output)} for output in model.graph.output
        ],
        "levels": None if prepared.levels is None else [asdict(level) for level in prepared.levels],
        **({"columns": columns} if columns else {}),
        "half": half,
        "texts": dict(texts),
    }


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    sides = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if not all(sides):
        raise ExportError(f"ncnn files are of one size, and {value.name} is {sides}")
    return sides
