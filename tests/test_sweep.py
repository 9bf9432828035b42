"""A sweep: in order or on a cluster, taken up where it was, and what fails is told."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from widerface import make_wider

from toolchain.errors import InputError
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.recipe import default_recipe, override
from toolchain.records.training import Sweep
from toolchain.train.job import TrainingJob
from toolchain.workflows.sweep.cluster import on_cluster
from toolchain.workflows.sweep.job import SweepJob, parse_rates
from toolchain.workflows.sweep.members import Listeners
from toolchain.workflows.sweep.running import in_order, run_sweep

SMALL = {"input.height": 96, "input.width": 128, "crops.side": 96, "teach.batch": 2}
EXACT = {"prune.align": 1}  # the paper's rates, whose parameters are known


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and a teacher; what that finds does not matter here."""
    folder = tmp_path_factory.mktemp("sweep")
    make_wider(folder / "wider", 2, train=4)
    network = build("eresfd", 9).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(40):  # until batch norm knows what it is given
            network(torch.randn(4, 3, 96, 96, generator=generator) * 60)
    torch.save(network.state_dict(), folder / "teacher.pth")
    return folder


def job(folder: Path, out: Path, rates: tuple[float, ...]) -> SweepJob:
    training = TrainingJob(
        recipe=override(default_recipe("eresfd"), SMALL | EXACT),
        out=out,
        cache=folder / "cache",
        teacher=folder / "teacher.pth",
        images=160,
        keep_every_seconds=0.0,
    )
    return SweepJob(training, rates, folder / "wider")


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[Path, Sweep]:
    """A sweep made in order, one member of which can't be."""
    out = folder / "in-order"
    return out, run_sweep(job(folder, out, (0.5, 0.97)), in_order(Listeners()))


@pytest.mark.slow
def test_members_are_measured_and_failures_are_told(made: tuple[Path, Sweep]) -> None:
    out, sweep = made
    good, bad = sweep.members
    assert good.state == "done"
    assert good.deployed_parameters == 23_396 - 18  # those outside layers are told apart
    assert good.onnx_bytes == (out / "rate-0.5" / "shrunk" / "model.onnx").stat().st_size
    assert good.accuracy is not None
    assert set(good.accuracy) == {"easy", "medium", "hard"}
    assert bad.state == "failed"
    assert "0.97" in str(bad.reason)
    assert len(json.loads((out / "sweep.json").read_text())["members"]) == 2
    assert 'http-equiv="refresh"' not in (out / "sweep.html").read_text()


@pytest.mark.slow
def test_a_family_that_is_there_is_not_made_again(folder: Path, made: tuple[Path, Sweep]) -> None:
    out, sweep = made
    kept = [out / "rate-0.5" / "shrunk" / "model.onnx", *out.glob("rate-0.5/eval/**/*.txt")]
    before = [path.stat().st_mtime_ns for path in kept]
    stages: list[str] = []
    again = run_sweep(job(folder, out, (0.5,)), in_order(Listeners(on_stage=stages.append)))
    assert again.members[0] == sweep.members[0]
    assert "rate 0.5: shrink and export" not in stages
    assert [path.stat().st_mtime_ns for path in kept] == before


def workers_of_ray() -> Iterator[int]:
    """The processes that make a member just now."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_make" in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue


@pytest.mark.long
def test_a_killed_worker_of_the_cluster_is_replaced(folder: Path, made: tuple[Path, Sweep]) -> None:
    """SIGKILL while it trains: another worker goes on from its state, to the same weights."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    whole, sweep = made
    out = folder / "cluster"
    killed: list[int] = []

    def kill() -> None:
        state = out / "rate-0.5" / "train" / "state.pt"
        while not state.exists():
            time.sleep(0.02)
        for worker in workers_of_ray():
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    result = run_sweep(job(folder, out, (0.5,)), on_cluster("local"))
    killer.join(timeout=60)
    assert killed
    assert result.members[0].state == "done", result.members[0].reason
    assert result.members[0].accuracy == sweep.members[0].accuracy
    one, other = (
        read_checkpoint(where / "rate-0.5" / "train" / "model.safetensors").state
        for where in (whole, out)
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told() -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.raises(InputError, match="no cluster answers there"):
        next(iter(on_cluster("127.0.0.1:1")(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0,a", "0.5,1", "-0.1", "nan"])
def test_rates_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--rates must"):
        parse_rates(text)


def test_rates_are_sorted_and_told_once() -> None:
    assert parse_rates("0.5, 0,0.5") == (0.0, 0.5)
