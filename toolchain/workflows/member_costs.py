"""What shipped networks cost on boards, told from the layers that ncnn would run for them."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import nn

from toolchain.arm.layer_costs import costs_of_core
from toolchain.arm.targets import read_targets
from toolchain.checking.cost import count_parameters
from toolchain.errors import CheckpointError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.ncnn.foreseen import Foreseen, foreseen_layers
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.lineage.links import common_graph
from toolchain.models import detector
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.recipe import default_recipe
from toolchain.records.run_folder import ONNX
from toolchain.surgery.removing import shrink
from toolchain.system.files import as_json, sha256_of, write_bytes
from toolchain.zoo.costs import COSTS, SIZE, MemberCosts, WholeCosts, read_costs, read_table
from toolchain.zoo.reading import FOLDER, Member, members
from toolchain.zoo.shipping import LOOK_SIZE


def write_costs(folder: Path | None = None) -> Path:
    """Write the table of the networks in ``folder`` (the shipped ones); return where.

    Those whose file is as it was when the table was made keep their figures, if they have them for
    every core whose layers are known.
    """
    folder = folder or FOLDER
    known, found = read_costs(folder), dict[str, MemberCosts]()
    for member in (each for model in detector.names() for each in members(model, folder)):
        digest, name = sha256_of(member.path), member.path.stem
        old = known.get(name)
        if old is None or old.sha256 != digest or not _is_whole(old):
            old = costs_of(member, digest)
        found[name] = old
    shipped = {name.rpartition("-")[0] for name in found}
    whole = {model: whole_costs(model) for model in sorted(shipped) if f"{model}-0" not in found}
    content = {
        "runtime": _runtime(),
        "size": list(SIZE),
        "members": {
            name: {
                "sha256": each.sha256,
                "instructions": dict(each.instructions),
                "weight_bytes": each.weight_bytes,
            }
            for name, each in found.items()
        },
        **({"whole": {name: asdict(each) for name, each in whole.items()}} if whole else {}),
    }
    write_bytes(folder / COSTS, as_json(content))
    read_table.cache_clear()
    return folder / COSTS


def _is_whole(costs: MemberCosts) -> bool:
    return set(costs.instructions) == set(_cores()) and costs.weight_bytes > 0


def costs_of(member: Member, sha256: str) -> MemberCosts:
    """Return the costs of a shipped network, shrunk; ``sha256`` is its file's."""
    layers = layers_of(member)
    return MemberCosts(sha256, _instructions(layers), layers.weight_bytes)


def whole_costs(model: str) -> WholeCosts:
    """Return the costs of a network before anything is removed; weights do not matter to them."""
    network = build(model)
    parameters = sum(count_parameters(fold_batch_norm(network, torch.zeros(1, 3, *LOOK_SIZE))))
    return WholeCosts(parameters, _instructions(layers_of_whole(model)))


def layers_of_whole(model: str, size: tuple[int, int] = SIZE) -> Foreseen:
    """Return the layers that ncnn would run for a network before anything is removed."""
    return _layers(build(model), model, size)


def _instructions(layers: Foreseen) -> dict[str, int]:
    keys = [layer.key for layer in layers.layers]
    tables = {core: costs_of_core(core) for core in _cores()}
    return {core: table.total(keys) for core, table in tables.items() if table is not None}


def layers_of(member: Member, size: tuple[int, int] = SIZE) -> Foreseen:
    """Return the layers that ncnn would run for a shipped network, shrunk, at (height, width)."""
    network = build(member.model)
    load_into(network, read_checkpoint(member.path), member.model)
    small, _ = shrink(network, torch.zeros(1, 3, *LOOK_SIZE))
    return _layers(small, member.model, size)


def _layers(network: nn.Module, model: str, size: tuple[int, int]) -> Foreseen:
    recipe = default_recipe(model)
    image = torch.zeros(1, 3, *size)
    with tempfile.TemporaryDirectory(prefix="costs.") as place:
        folder = Path(place)
        (folder / "chain").mkdir()
        export_onnx(
            fold_batch_norm(network, image),
            (image,),
            path=folder / ONNX,
            output_names=_outputs(model),
            metadata={},
            input_names=("image",),
            stages=folder / "chain",
            rewrites=Rewrites(recipe.export.rewrites),
        )
        found = foreseen_layers(
            onnx.load(common_graph(folder, recipe)), for_detect=recipe.leaves_maps
        )
    if found is None or found.unknown:
        unknown = "" if found is None else f" ({', '.join(found.unknown)})"
        raise CheckpointError(f"{model}: its layers in ncnn are not all known{unknown}")
    return found


def _outputs(model: str) -> tuple[str, ...]:
    known = detector.find(model)
    return detector.FACES if known is None else known.outputs


def _cores() -> tuple[str, ...]:
    """Return the cores of boards whose layers are known."""
    cores = dict.fromkeys(target.core for target in read_targets().values())
    return tuple(core for core in cores if costs_of_core(core) is not None)


def _runtime() -> str:
    tables = [costs_of_core(core) for core in _cores()]
    return next(table.runtime for table in tables if table is not None)
