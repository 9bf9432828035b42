"""PyTorch -> ONNX by PyTorch's own exporter: folded, simplified, checked, the same bytes again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from toolchain.errors import ExportError, in_one_line
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.rewriting import Rewrites
from toolchain.models.sizes import Example, as_example
from toolchain.records.stages import Artifact
from toolchain.system.files import disk_is_full, sha256_of, write_bytes
from toolchain.system.quiet import without_warnings

OPSET = 18
"""Version of the operator set: the oldest that the exporter writes without converting."""
NONE = Rewrites(())
FIXED = (
    "--dynamic: height and width cannot be left free, for the network computes with numbers of its "
    "own that hold at one size; leave --dynamic out, and give --size, once for each size"
)
Names = tuple[Sequence[str], Sequence[str]]
"""Of inputs and outputs."""


def export_onnx(
    network: nn.Module,
    example: Tensor | Example,
    path: Path,
    *,
    output_names: Sequence[str],
    metadata: Mapping[str, str],
    input_names: Sequence[str] = ("image",),
    dynamic: bool = False,
    stages: Path | None = None,
    rewrites: Rewrites = NONE,
) -> Artifact:
    """Write ``network`` as an ONNX file with inputs of the shapes of ``example``.

    ``example`` is an image, or all tensors that the network is called with. With ``dynamic`` height
    and width of images are free. The folder ``stages`` takes the file as it was
    exported and, if ``rewrites`` change it, simplified and after each of them. Raises
    :class:`ExportError` when an exporter or checker refuses.
    """
    example = as_example(example)
    folded = fold_batch_norm(network, example)
    rewrites.of_network(folded)
    names = (input_names, output_names)
    try:
        with without_warnings("torch.onnx"):
            model = _without_traces(_export(folded, example, names, dynamic=dynamic))
            _keep(stages, "exported", model)
            model = _simplify(model)
            _check_outputs(model, output_names)
            set_metadata(model, metadata)
            _rewrite(model, rewrites, stages)
            onnx.checker.check_model(model, full_check=True)
    except ExportError:
        raise
    except Exception as error:  # exporters raise errors of every kind
        if disk_is_full(error):
            raise
        if dynamic and _can_be_fixed(folded, example, names):
            raise ExportError(FIXED) from error
        raise ExportError(f"the network cannot be exported to ONNX ({_root(error)})") from error
    write_bytes(path, _bytes(model))
    return Artifact(path.name, path.stat().st_size, sha256_of(path))


def _rewrite(model: onnx.ModelProto, rewrites: Rewrites, stages: Path | None) -> None:
    """Rewrite a model in place, and keep it as it was before and after each rewrite."""
    before = _bytes(model)
    for name in rewrites.of_model(model):
        if before and stages is not None:
            write_bytes(stages / "simplified.onnx", before)
        before = b""
        _keep(stages, name, model)


def _keep(stages: Path | None, name: str, model: onnx.ModelProto) -> None:
    if stages is not None:
        write_bytes(stages / f"{name}.onnx", _bytes(model))


def _bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _root(error: BaseException) -> str:
    """Return the first line of the error that was the cause of the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return in_one_line(error)


def _can_be_fixed(network: nn.Module, example: Example, names: Names) -> bool:
    """True if the export works at the size of ``example``."""
    try:
        with without_warnings("torch.onnx"):
            _export(network, example, names, dynamic=False)
    except Exception:  # exporters raise errors of every kind
        return False
    return True


def _check_outputs(model: onnx.ModelProto, output_names: Sequence[str]) -> None:
    found = [output.name for output in model.graph.output]
    if found != list(output_names):
        raise ExportError(
            f"the network has {len(found)} outputs; expected {', '.join(output_names)}"
        )


def _export(
    network: nn.Module, example: Example, names: Names, *, dynamic: bool
) -> onnx.ModelProto:
    with torch.no_grad():  # what it caches at its first run is there when it is traced
        network(*example)
    program = torch.onnx.export(
        network,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(names[0]),
        output_names=list(names[1]),
        dynamic_shapes=_free_sides(network, example) if dynamic else None,
        verbose=False,
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


def _free_sides(network: nn.Module, example: Example) -> dict[str, Any]:
    """Return which sides of the arguments of ``forward`` are free: height and width of images."""
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    bound = inspect.signature(network.forward).bind(*example).arguments

    def sides(value: Tensor | Example) -> Any:
        if isinstance(value, tuple):
            return tuple(map(sides, value))
        return free if value.ndim == 4 else None

    return {name: sides(value) for name, value in bound.items()}


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out what the exporter notes of the source code: paths of the machine, stack traces."""
    holders = [model, model.graph, *model.graph.node, *model.graph.initializer]
    holders += [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for holder in holders:
        del holder.metadata_props[:]
        holder.doc_string = ""
    return model


def _simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    simplified: onnx.ModelProto
    import onnxsim  # takes a second

    simplified, equal = onnxsim.simplify(model)
    if not equal:
        raise ExportError("onnxsim's simplified graph does not give the same output")
    return simplified


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Give a model this metadata and no other, in place."""
    del model.metadata_props[:]  # onnxsim notes its settings there
    for key, value in sorted(metadata.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
