"""The benchmark on public architectures: they are what is published, and it measures them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.benchmarks.public.catalogue import ENTRIES, Entry
from tests.benchmarks.public.measuring import measure
from tests.benchmarks.public.records import Measured, Peer, Shrunk, path_of
from tests.benchmarks.public.table import markdown

COUNTED = [entry for entry in ENTRIES if entry.published is not None]


@pytest.mark.parametrize("entry", COUNTED, ids=lambda entry: entry.name)
def test_architectures_have_the_parameters_that_are_published(entry: Entry) -> None:
    with torch.device("meta"):
        network = entry.make()
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.published


def entry_of(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


@pytest.mark.slow
def test_a_small_network_is_measured_and_what_was_measured_comes_back(tmp_path: Path) -> None:
    entry = replace(entry_of("ESPCN"), shape=(1, 1, 32, 32))
    *_, found = measure(entry, ("group", "layer", "peer"))
    assert not found.errors
    for one in (found.layer, found.group):
        assert one is not None
        assert (one.zeroed, one.kept, one.kept_by) == (19 + 9, 0, {})
        # 64 -> 45 and 32 -> 23 channels of a 5x5 and two 3x3 convolutions
        assert one.parameters_after == 45 * 26 + 23 * (45 * 9 + 1) + 9 * (23 * 9 + 1)
        assert max(one.differences) < 1e-12
    assert found.peer_floor.parameters_after == found.group.parameters_after  # type: ignore[union-attr]
    assert found.peer.parameters_after < found.peer_floor.parameters_after  # type: ignore[operator]
    found.write(tmp_path)
    again = Measured.read(path_of("ESPCN", tmp_path))
    assert markdown([again]) == markdown([found])


def test_the_table_tells_what_is_kept_and_what_failed() -> None:
    shrunk = Shrunk(100, 75, 9, 4, {"operator view": 4}, {}, (1e-15,), 1e-15, (), False, 1, 2, 3)
    found = Measured("Net", "some", (1, 3, 8, 8), ((8, 8),), 100, None, layer=shrunk)
    words = markdown(
        [replace(found, peer=Peer(error="IndexError: out of range"), errors={"group": "refused"})]
    )
    assert "| Net | 100 | 75 (-25.0%) | 9 | 4 | operator view 4 | 1.0e-15 | |" in words
    assert "IndexError: out of range" in words
    assert "- Net, group: refused" in words
