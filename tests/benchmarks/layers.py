"""Measure the layers of networks that the tables of ncnn's costs lack, on every core.

``python -m tests.benchmarks.layers yunet eresfd``: all networks of these models that ship, and the
whole ones, at 320x320. What is measured is added to the tables in ``toolchain/arm``; run
``toolchain ship`` then, so that the costs of what ships are told by it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import toolchain.arm
from toolchain.arm.emulation import count_layers
from toolchain.arm.layer_costs import costs_of_core
from toolchain.arm.sysroot import prepare
from toolchain.arm.targets import Target, read_targets
from toolchain.exporting.ncnn.layers import Layer
from toolchain.system.files import write_bytes
from toolchain.workflows.member_costs import layers_of, layers_of_whole
from toolchain.zoo.reading import members


def main() -> None:
    """Measure, and write the tables again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(".cache/arm"))
    given = parser.parse_args()
    wanted = {layer.key: layer for layer in _layers(given.models)}
    able = [each for each in read_targets().values() if "ncnn" in each.runtimes.values()]
    boards = {board.core: board for board in able}
    for core, board in boards.items():
        if costs_of_core(core) is not None:
            _extend(core, board, wanted.values(), given.cache)


def _layers(models: Iterable[str]) -> Iterable[Layer]:
    for model in models:
        yield from layers_of_whole(model).layers
        for member in members(model):
            yield from layers_of(member).layers


def _extend(core: str, board: Target, wanted: Iterable[Layer], cache: Path) -> None:
    place = Path(toolchain.arm.__file__).with_name(f"ncnn-{core}.json")
    content = json.loads(place.read_text(encoding="utf-8"))
    known = content["layers"]
    lacking = [layer for layer in wanted if layer.key not in known]
    print(f"{core}: {len(lacking)} layers are not in the table", flush=True)
    if lacking:
        sysroot = prepare(board, cache, lambda _: None)
        given = [(layer.kind, layer.params, layer.reads) for layer in lacking]
        found, _ = count_layers(given, (), board, sysroot)
        known.update({layer.key: cost for layer, cost in zip(lacking, found, strict=True)})
        text = json.dumps({**content, "layers": dict(sorted(known.items()))}, indent=1)
        write_bytes(place, f"{text}\n".encode())


if __name__ == "__main__":
    main()
