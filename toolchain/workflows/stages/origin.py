"""What files say of where a network comes from."""

from __future__ import annotations

import toolchain
from toolchain.deploy import detect
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.exporting.task_metadata import Ends
from toolchain.records.members import trained_widths
from toolchain.zoo.sources import Loaded


def provenance_of(loaded: Loaded) -> Provenance:
    """Return the weights' source, and what zeroed filters: this run, or a shipped one's training.

    The rate is None where it is not known or where groups have widths of their own, and 0 where it
    is known that nothing was zeroed.
    """
    prune, member = loaded.recipe.prune, loaded.member
    if prune.widths:
        return Provenance(loaded.source, None, prune.chosen_by, prune.scope)
    if prune.rate:
        return Provenance(loaded.source, prune.rate, prune.chosen_by, prune.scope)
    if member is not None and trained_widths(member):
        return Provenance(loaded.source, None, member["criterion"], member["scope"])
    if member is None or not member["rate"]:
        return Provenance(loaded.source, None if member is None else 0.0, None, None)
    return Provenance(loaded.source, member["rate"], member["criterion"], member["scope"])


def onnx_metadata(loaded: Loaded, *, dynamic: bool = False) -> dict[str, str]:
    """Return the metadata of ONNX files."""
    return metadata_of(loaded.recipe, provenance_of(loaded), dynamic=dynamic, ends=ends_of(loaded))


def ends_of(loaded: Loaded) -> Ends:
    """Return the network's inputs and outputs, as files call them."""
    inputs = zip(loaded.inputs, loaded.example, strict=True)
    return Ends(
        tuple(
            (name, tuple(map(int, value.shape)), str(value.dtype).removeprefix("torch."))
            for name, value in inputs
        ),
        loaded.outputs,
    )


def tflite_metadata(loaded: Loaded) -> dict[str, str]:
    """Return the metadata of TFLite files, whose size is fixed and whose channels are last."""
    return metadata_of(
        loaded.recipe,
        provenance_of(loaded),
        dynamic=False,
        layout="NHWC",
        ends=ends_of(loaded),
    )


def ncnn_metadata(loaded: Loaded) -> dict[str, str]:
    """Return the metadata of ncnn files, whose size is fixed."""
    return onnx_metadata(loaded, dynamic=False)


def native_metadata(loaded: Loaded) -> dict[str, object]:
    """Return the metadata of the weights."""
    anchors = loaded.recipe.anchors
    return {
        "model": loaded.recipe.model.name,
        "trained": loaded.source.trained,
        "aspect_ratio": None if anchors is None else anchors.aspect_ratio,
        "source_sha256": loaded.source.sha256,
        "tool_version": toolchain.__version__,
    }


def specification_of(loaded: Loaded) -> detect.Specification:
    """Return the board's view of the network, by way of the metadata that the file will carry."""
    return detect.Specification.from_json(onnx_metadata(loaded)[KEY])
