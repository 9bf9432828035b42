"""From weights to costs: the network exported once, its groups, and the board that measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from torch import Tensor, nn

from toolchain.arm import guest
from toolchain.arm.emulation import count_operators
from toolchain.arm.sysroot import Sysroot, runtime_of
from toolchain.arm.targets import Target
from toolchain.chain.calibration import read_calibration
from toolchain.check.parity import run_network
from toolchain.errors import InputError
from toolchain.export.fold import fold_batch_norm
from toolchain.export.onnx_file import export_onnx
from toolchain.export.rewriting.activations import rewrite_activations
from toolchain.files import sha256_of
from toolchain.proofs import analysis_example
from toolchain.prune.groups import groups_of
from toolchain.recipe import Recipe
from toolchain.shrink.flow import trace_flow
from toolchain.sources import Loaded, example_input
from toolchain.staircases import CostReport, Staircase
from toolchain.widths.costs import Book, Costs
from toolchain.widths.importance import Importance, by_level, measure_importance, spread
from toolchain.widths.staircase import measure_staircases
from toolchain.widths.template import Template

COUNTING = ("guest.py", "operators.py", "counting.py")
"""Files that decide what is counted."""


@dataclass(frozen=True)
class Board:
    """What measures."""

    target: Target
    sysroot: Sysroot
    cache: Path

    @property
    def runtime(self) -> str:
        """With its version."""
        return runtime_of(".onnx", self.target)


def open_costs(loaded: Loaded, board: Board, on_stage: Callable[[str], None]) -> Costs:
    """Export a network at its recipe's size, and run it once on the board.

    Raises :class:`InputError` where the board has no runtime for ONNX files or no group can be
    narrowed, and :class:`AnalysisError` where widths cannot be followed into the file.
    """
    if ".onnx" not in board.target.runtimes:
        raise InputError(f"{board.target.name} has no onnxruntime; choose a board with 64 bits")
    on_stage("export the network")
    template = _template(loaded.network, loaded.recipe)
    book = Book.open(board.cache, conditions_of(board))
    on_stage(f"run it on {board.target.name}")
    return Costs(template, book, lambda paths: count_operators(paths, board.target, board.sysroot))


def conditions_of(board: Board) -> tuple[str, ...]:
    """Return what all costs depend on, beside the operator itself."""
    sources = (Path(guest.__file__).with_name(name) for name in COUNTING)
    return (
        *(sha256_of(source) for source in sources),
        board.runtime,
        repr(board.target.cpuinfo),
        board.target.emulated_core,
        board.sysroot.root.name,
        board.sysroot.site.name,
        board.sysroot.plugin.name,
    )


def _template(network: nn.Module, recipe: Recipe) -> Template:
    example = example_input(network, recipe.input.height, recipe.input.width)
    look = analysis_example(network, example)
    deployed = fold_batch_norm(network, look)
    rewrite_activations(deployed)
    flow = trace_flow(deployed, look)
    groups = groups_of(deployed, flow, recipe.prune.protected)
    if not any(group.width > 1 for group in groups):
        raise InputError(f"{recipe.model.name}: no filter of it can be removed, so no width chosen")
    outputs = [f"output{index}" for index in range(len(run_network(deployed)(example)))]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(deployed, example, path, output_names=outputs, metadata={})
        return Template(onnx.load(path), deployed, flow, groups)


def read_images(folder: Path | None, loaded: Loaded) -> tuple[tuple[Tensor, ...], str]:
    """Return what widths are looked at on, and what that is in words.

    Raises :class:`InputError` for a folder without photos.
    """
    size = loaded.recipe.input
    example = example_input(loaded.network, size.height, size.width)
    found = read_calibration(folder, loaded.recipe, example)
    images = spread(found.inputs)
    kind = "photos" if found.facts.kind == "photos" else "random shapes"
    return images, f"{len(images)} {kind}"


def look_at_widths(
    loaded: Loaded,
    costs: Costs,
    staircases: Sequence[Staircase],
    images: Sequence[Tensor],
    on_stage: Callable[[str], None],
) -> Importance:
    """Return what the widths of the staircases lose on images (1, C, H, W)."""
    recipe, network = loaded.recipe, loaded.network
    height, width = recipe.input.height, recipe.input.width
    look = analysis_example(network, example_input(network, height, width))
    return measure_importance(
        network,
        trace_flow(network, look),
        tuple(costs.template.groups.values()),
        recipe.prune.criterion,
        images,
        by_level(recipe.anchors, height, width),
        {stairs.group: stairs.widths for stairs in staircases},
        on_stage,
    )


def measure_report(
    loaded: Loaded, costs: Costs, board: Board, every: int, on_stage: Callable[[str], None]
) -> CostReport:
    """Return the staircases of all groups."""
    stairs = measure_staircases(costs, every, on_stage)
    gone = costs.template.gone({})
    fixed = [each.key(gone) for each in costs.operators if not each.groups]
    size = loaded.recipe.input
    return CostReport(
        loaded.recipe.model.name,
        board.target.key,
        board.target.name,
        board.target.core,
        board.runtime,
        (size.height, size.width),
        costs.total({}),
        sum(costs.book.costs[key] for key in fixed),
        len(costs.operators),
        stairs,
    )
