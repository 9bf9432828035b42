"""The stages of the main file: both networks as ONNX, and the proof of the smaller one's."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from toolchain.checking.proofs import prove_file
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.ncnn.foreseen import Foreseen, foreseen_layers
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.lineage.links import SHRUNK, SOFT, bare_of, common_graph
from toolchain.models.weights import save_native
from toolchain.records.parity import Parity
from toolchain.records.run_folder import ONNX
from toolchain.records.stages import Artifact, Rewritten
from toolchain.workflows.stages.origin import native_metadata, onnx_metadata
from toolchain.workflows.stages.shrinking import Shrunk

BEFORE = "before.onnx"
"""The network before the surgery, exported alike; it is measured beside the other, and goes."""


@dataclass(frozen=True)
class Exported:
    """Both networks as files in the output folder."""

    shrunk: Shrunk
    folder: Path
    dynamic: bool
    folded: tuple[nn.Module, nn.Module]
    """Before and after, batch norm folded into the layers: what exporters and counts are given."""
    before: Artifact
    after: Path
    rewritten: tuple[Rewritten, ...]
    foreseen: tuple[Foreseen, Foreseen] | None = None
    """ncnn's layers before and after; None where they cannot be told."""


def export(shrunk: Shrunk, folder: Path, *, dynamic: bool = False) -> Exported:
    """Fold both networks, write them as ONNX files, and as weights.

    Raises :class:`~toolchain.errors.ExportError`.
    """
    loaded, pair = shrunk.loaded, shrunk.pair
    recipe = loaded.recipe
    after = folder / bare_of(ONNX, recipe)
    (folder / "chain").mkdir()
    after.parent.mkdir(exist_ok=True)
    soft, small = (fold_batch_norm(network, pair.look) for network in (pair.soft, pair.shrunk))
    rewritten = list[Rewritten]()

    def write(network: nn.Module, path: Path, rewrites: Rewrites, stages: Path | None) -> Artifact:
        return export_onnx(
            network,
            pair.example,
            path=path,
            output_names=pair.outputs,
            metadata=onnx_metadata(loaded, dynamic=dynamic),
            input_names=loaded.inputs,
            dynamic=dynamic,
            stages=stages,
            rewrites=rewrites,
        )

    names = recipe.export.rewrites
    write(small, after, Rewrites(names, rewritten.append), folder / "chain")
    with tempfile.TemporaryDirectory(prefix="before.") as room:
        (Path(room) / "chain").mkdir()
        before = write(soft, folder / BEFORE, Rewrites(names), Path(room) / "chain")
        graphs = [common_graph(Path(room), recipe), common_graph(folder, recipe)]
        if not graphs[0].is_file():
            graphs[0] = folder / BEFORE
        detects = recipe.leaves_maps
        seen = [foreseen_layers(onnx.load(path), for_detect=detects) for path in graphs]
    save_native(pair.shrunk, folder / SHRUNK, native_metadata(loaded))
    save_native(pair.soft, folder / SOFT, native_metadata(loaded))
    foreseen = None if seen[0] is None or seen[1] is None else (seen[0], seen[1])
    folded = (soft, small)
    return Exported(shrunk, folder, dynamic, folded, before, after, tuple(rewritten), foreseen)


def prove_export(exported: Exported) -> Parity:
    """Compare the file with the network; raises :class:`~toolchain.errors.ParityError`."""
    shrunk = exported.shrunk
    return prove_file(shrunk.pair, shrunk.loaded.recipe, exported.after, dynamic=exported.dynamic)
