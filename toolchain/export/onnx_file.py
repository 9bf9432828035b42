"""PyTorch -> ONNX by PyTorch's own exporter: folded, simplified, checked, the same bytes again."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnxsim
import torch
from torch import Tensor, nn

from toolchain.errors import ExportError
from toolchain.export.fold import fold_batch_norm
from toolchain.export.rewrites import rewrite_activations
from toolchain.files import sha256_of, write_bytes
from toolchain.records import Artifact

OPSET = 18
"""Version of the operator set: the oldest that the exporter writes without converting."""


def export_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path,
    *,
    output_names: Sequence[str],
    metadata: Mapping[str, str],
    dynamic: bool = False,
    plain: Path | None = None,
) -> Artifact:
    """Write ``network`` as an ONNX file with the input ``image`` of the shape of ``example``.

    With ``dynamic`` height and width are free; ``plain`` takes the file as it was before it was
    simplified. Raises :class:`ExportError` when an exporter or checker refuses.
    """
    folded = rewrite_activations(fold_batch_norm(network, example))
    try:
        with _quiet():
            model = _without_traces(_export(folded, example, output_names, dynamic=dynamic))
            if plain is not None:
                write_bytes(plain, model.SerializeToString(deterministic=True))
            model = _simplify(model)
            _check_outputs(model, output_names)
            set_metadata(model, metadata)
            onnx.checker.check_model(model, full_check=True)
    except ExportError:
        raise
    except Exception as error:  # exporters raise errors of every kind
        raise ExportError(f"the network cannot be exported to ONNX ({_root(error)})") from error
    write_bytes(path, model.SerializeToString(deterministic=True))
    return Artifact(path.name, path.stat().st_size, sha256_of(path))


def _root(error: BaseException) -> str:
    """Return the first line of the error that was the cause of the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}"


def _check_outputs(model: onnx.ModelProto, output_names: Sequence[str]) -> None:
    found = [output.name for output in model.graph.output]
    if found != list(output_names):
        raise ExportError(
            f"the network has {len(found)} outputs; expected {', '.join(output_names)}"
        )


def _export(
    network: nn.Module, example: Tensor, output_names: Sequence[str], *, dynamic: bool
) -> onnx.ModelProto:
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(output_names),
        dynamic_shapes=(free,) if dynamic else None,
        verbose=False,
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
