"""From weights to costs: the network exported once, its groups, and the board that measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import onnx
from torch import Tensor, nn

from toolchain.arm import guest
from toolchain.arm.emulation import count_layers, count_operators
from toolchain.arm.sysroot import Sysroot, runtime_of
from toolchain.arm.targets import Target
from toolchain.checking.parity import run_network
from toolchain.checking.proofs import analysis_example
from toolchain.data.wider import Split
from toolchain.errors import AnalysisError, InputError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.exporting.ncnn.layers import Layer
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting.activations import rewrite_activations
from toolchain.lineage.calibration import read_calibration
from toolchain.pruning.groups import ChannelGroup, groups_of, in_place
from toolchain.recipe import Recipe
from toolchain.records.cost_tables import CostReport
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.layers import layers_of
from toolchain.system.files import sha256_of
from toolchain.widths.cost_table import measure_group_costs
from toolchain.widths.costs import Book, CostModel, Costs
from toolchain.widths.crops import draw_crops
from toolchain.widths.importance import (
    Importance,
    Levels,
    Ranking,
    levels_of,
    measure_importance,
    spread,
    weighed,
)
from toolchain.widths.ncnn_costs import NcnnCosts
from toolchain.widths.template import Template
from toolchain.zoo.sources import Loaded, example_input

COUNTING = {
    "onnxruntime": ("guest.py", "operators.py", "counting.py"),
    "ncnn": ("layers.py", "counting.py"),
}
"""Files that decide what is counted, by runtime."""


RuntimeName = Literal["onnxruntime", "ncnn"]
"""The runtimes whose costs can be told layer by layer."""


@dataclass(frozen=True)
class Board:
    """An emulated board, with what it needs to count files."""

    target: Target
    sysroot: Sysroot
    cache: Path

    kind: RuntimeName = "onnxruntime"
    """What runs the network there."""

    @property
    def runtime(self) -> str:
        """The runtime whose costs are measured, with its version."""
        if self.kind == "ncnn":
            return f"ncnn {ncnn_version(self.sysroot)}"
        return runtime_of(".onnx", self.target)


def choose_runtime(asked: str | None, target: Target, sysroot: Sysroot) -> RuntimeName:
    """Return the runtime that a board's costs are told of: the one asked for, or the fastest there.

    That is ncnn, where the board has it and files for it can be made here. Raises
    :class:`InputError` for what cannot be measured.
    """
    lacking = lacking_ncnn()
    if ncnn_version(sysroot) is None:
        lacking = f"{target.name} has no wheel of ncnn"
    if asked == "litert":
        raise InputError(
            "--runtime litert: LiteRT tells nothing of its operators on the board; check counts "
            "whole TFLite files. Take ncnn or onnxruntime"
        )
    if asked == "ncnn" and lacking is not None:
        raise InputError(f"--runtime ncnn: {lacking}")
    if asked == "ncnn" or (asked is None and lacking is None):
        return "ncnn"
    if ".onnx" not in target.runtimes:
        raise InputError(f"{target.name} has no onnxruntime; choose a board with 64 bits")
    return "onnxruntime"


def ncnn_version(sysroot: Sysroot) -> str | None:
    """Return the version of ncnn that a board has; None if it has none."""
    found = sorted(sysroot.site.glob("ncnn-*.dist-info"))
    return found[-1].name.split("-")[1].removesuffix(".dist") if found else None


def open_costs(loaded: Loaded, board: Board, on_stage: Callable[[str], None]) -> CostModel:
    """Export a network at its recipe's size, and run it once on the board.

    Raises :class:`InputError` where no group can be narrowed, and :class:`AnalysisError` where
    widths cannot be followed into the file.
    """
    on_stage("export the network")
    template = _template(loaded)
    book = Book.open(board.cache, conditions_of(board))
    on_stage(f"run it on {board.target.name}")
    if board.kind == "onnxruntime":
        return Costs(
            template, book, lambda paths: count_operators(paths, board.target, board.sysroot)
        )

    def run(layers: Sequence[Layer], files: Sequence[Path]) -> tuple[list[int], list[int]]:
        given = [(layer.kind, layer.params, layer.reads) for layer in layers]
        return count_layers(given, files, board.target, board.sysroot)

    recipe = loaded.recipe
    detects = recipe.leaves_maps
    return NcnnCosts(template, recipe.export.rewrites, book, run, for_detect=detects)


def conditions_of(board: Board) -> tuple[str, ...]:
    """Return what all costs depend on, beside the operator itself."""
    sources = (Path(guest.__file__).with_name(name) for name in COUNTING[board.kind])
    return (
        *(sha256_of(source) for source in sources),
        board.runtime,
        repr(board.target.cpuinfo),
        board.target.emulated_core,
        board.sysroot.root.name,
        board.sysroot.site.name,
        board.sysroot.plugin.name,
    )


@dataclass(frozen=True)
class Deployed:
    """A network as it is deployed, batch norm folded, and its groups."""

    network: nn.Module
    flow: Flow
    groups: tuple[ChannelGroup, ...]


def deploy(
    network: nn.Module, recipe: Recipe, example: Tensor | None = None, *, leaky: bool = False
) -> Deployed:
    """Fold batch norm and find the groups; raise :class:`InputError` if none can be narrowed.

    ``example`` is an image at the recipe's size; ``leaky``: activations that learnt one slope have
    it as a constant, as in the file.
    """
    image = example_input(network, *_size(recipe)) if example is None else example
    look = analysis_example(network, (image,), recipe)
    folded = fold_batch_norm(network, look)
    if leaky:
        rewrite_activations(folded)
    flow = trace_flow(folded, look)
    groups = in_place(groups_of(folded, flow, recipe.prune.protected), flow)
    if not any(group.width > 1 for group in groups):
        raise InputError(f"{recipe.model.name}: no filter of it can be removed, so no width chosen")
    return Deployed(folded, flow, groups)


def _size(recipe: Recipe) -> tuple[int, int]:
    return recipe.input.height, recipe.input.width


def _template(loaded: Loaded) -> Template:
    example = loaded.image
    found = deploy(loaded.network, loaded.recipe, example, leaky=True)
    deployed = found.network
    outputs = [f"output{index}" for index in range(len(run_network(deployed)(example)))]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(deployed, example, path, output_names=outputs, metadata={})
        return _free_template(onnx.load(path), found)


def _free_template(model: onnx.ModelProto, found: Deployed) -> Template:
    """Tie the file to the groups; those of linear layers stay whole where that does not do.

    A file may hold the weight of a linear layer in another layout, or the number of its rows.
    """
    try:
        return Template(model, found.network, found.flow, found.groups)
    except AnalysisError:
        layers = layers_of(found.network)
        groups = [
            group
            for group in found.groups
            if all(layers[name].is_convolution for name in group.layers)
        ]
        if len(groups) in (0, len(found.groups)):
            raise
        return Template(model, found.network, found.flow, groups)


@dataclass(frozen=True)
class Look:
    """What widths are looked at on."""

    images: tuple[Tensor, ...]
    """float32 (1, C, H, W) each."""
    words: str
    """What they are."""
    levels: Levels


def read_look(folder: Path | None, loaded: Loaded) -> Look:
    """Read photos of a folder, or make random shapes; levels weigh by what is found on all.

    Raises :class:`InputError` for a folder without photos.
    """
    size = _size(loaded.recipe)
    example = loaded.image
    found = read_calibration(folder, loaded.recipe, example)
    images = spread(found.inputs)
    kind = "photos" if found.facts.kind == "photos" else "random shapes"
    levels = levels_of(loaded.recipe.anchors, *size)
    if found.facts.kind == "photos":
        levels = weighed(levels, loaded.network, found.inputs)
    return Look(images, f"{len(images)} {kind}", levels)


def look_at_faces(split: Split, loaded: Loaded, cache: Path) -> Look:
    """Cut faces of all sizes out of photos; levels weigh by what is found on these.

    ``cache`` may hold the photos, decoded. Raises :class:`DataError` for too few faces, and
    :class:`InputError` for a network that takes other than photos.
    """
    channels = loaded.image.shape[1]
    if channels != 3:
        raise InputError(f"--data: photos have 3 channels, the network takes {channels}")
    images = draw_crops(split, loaded.recipe, cache)
    even = levels_of(loaded.recipe.anchors, *images[0].shape[2:])
    words = f"{len(images)} crops of photos"
    return Look(images, words, weighed(even, loaded.network, images))


def look_at_widths(
    loaded: Loaded,
    groups: Sequence[ChannelGroup],
    widths: Mapping[str, Sequence[int]],
    ranking: Ranking,
    look: Look,
    on_stage: Callable[[str], None],
) -> Importance:
    """Return what widths, by group, lose, and which filters go."""
    recipe, network = loaded.recipe, loaded.network
    example = loaded.example
    return measure_importance(
        network,
        trace_flow(network, analysis_example(network, example, recipe)),
        groups,
        ranking,
        look.images,
        look.levels,
        widths,
        on_stage,
    )


def measure_report(
    loaded: Loaded, costs: CostModel, board: Board, every: int, on_stage: Callable[[str], None]
) -> CostReport:
    """Return the groups of all groups."""
    group_cost = measure_group_costs(costs, every, on_stage)
    fixed = sum(costs.measured(each, {}) for each in costs.operators if not each.groups)
    size = loaded.recipe.input
    return CostReport(
        loaded.recipe.model.name,
        board.target.key,
        board.target.name,
        board.target.core,
        board.runtime,
        (size.height, size.width),
        costs.total({}),
        fixed,
        len(costs.operators),
        group_cost,
    )
