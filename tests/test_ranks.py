"""Several processes under ``torchrun`` learn what one does, and only the first writes and prints.

Rounding differs between them, and training enlarges it: hence small learning rates, by which the
loss still falls visibly.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import distributed as dist
from torch import multiprocessing, nn
from widerface import make_wider

from toolchain.models.layouts import read_checkpoint
from toolchain.train.ranks import share_batch_norm, sum_gradients, unshare_batch_norm

TRAIN = ["-m", "toolchain.cli", "train", "eresfd", "--threads", "1", "--rate", "0.25"]
TRAIN += ["--set", "crops.side=96"]
LABELS = "--batch 4 --epochs 4 --set train.choose_every=2 --set train.hold_epochs=2".split()
LABELS += "--set train.optimizer=sgd --set train.learning_rate=1e-5".split()
LABELS += "--set train.hold_learning_rate=1e-5".split()
TEACHER = "--batch 4 --images 100 --set teach.local_rate=1e-3 --set teach.joint_rate=1e-5".split()
TEACHER += ["--teacher", str(ROOT / "toolchain" / "zoo" / "eresfd-0.safetensors")]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What all runs are given: photos, and another one that is looked at on the way."""
    folder = tmp_path_factory.mktemp("wider")
    data = make_wider(folder, 1, train=8)
    return [*TRAIN, "--data", str(data), "--cache", str(folder / "cache"), "--sample", "1"]


def torchrun(arguments: list[str], logs: Path, processes: int = 2) -> subprocess.Popen[bytes]:
    """Start processes that write what they print below ``logs``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command += ["--log-dir", str(logs), "--redirects", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [*command, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def printed(logs: Path, rank: int) -> list[str]:
    (folder,) = logs.glob(f"*/attempt_0/{rank}")
    return [
        line
        for name in ("stdout.log", "stderr.log")
        for line in (folder / name).read_text().splitlines()
    ]


def losses(out: Path) -> list[float]:
    found: list[float] = json.loads((out / "train.json").read_text())["losses"]
    return found


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "model.safetensors").state


@pytest.mark.long
def test_two_processes_learn_from_a_teacher_what_one_does(
    common: list[str], tmp_path: Path
) -> None:
    two = alike([*common, *TEACHER], tmp_path)
    assert any("Weights are in" in line for line in printed(tmp_path / "logs", 0))
    assert printed(tmp_path / "logs", 1) == []
    assert (two / "model.safetensors").exists()


@pytest.mark.long
def test_two_processes_learn_from_labels_what_one_does_even_if_one_is_killed(
    common: list[str], tmp_path: Path
) -> None:
    """A killed process ends all, and the run goes on exactly."""
    command = [*common, *LABELS, "--keep-seconds", "0"]
    whole, killed = alike(command, tmp_path), tmp_path / "killed"
    started = torchrun([*command, "--out", str(killed)], tmp_path / "first")
    while not (killed / "state.pt").exists():
        assert started.poll() is None
        time.sleep(0.01)
    os.kill(children(started.pid)[1], signal.SIGKILL)
    assert started.wait() != 0
    assert not (killed / "model.safetensors").exists()
    assert torchrun([*command, "--out", str(killed)], tmp_path / "second").wait() == 0
    one, other = weights(whole), weights(killed)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert losses(whole) == losses(killed)


def alike(command: list[str], folder: Path) -> Path:
    """Run a command in one process and in two, compare, and return the output of the two."""
    one, two = folder / "one", folder / "two"
    subprocess.run([sys.executable, *command, "--out", str(one)], check=True, capture_output=True)
    assert torchrun([*command, "--out", str(two)], folder / "logs").wait() == 0
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert abs(losses(one)[-1] / losses(one)[0] - 1) > 0.05  # something was learnt
    ours, theirs = weights(one), weights(two)
    for name, tensor in ours.items():
        largest = float(tensor.double().abs().max())
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-3 * largest + 1e-6)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    return two


def children(pid: int) -> list[int]:
    """Return the processes that a process started, in order."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_in_one_line(
    common: list[str], tmp_path: Path
) -> None:
    command = [*common, *LABELS, "--batch", "3", "--out", str(tmp_path / "out")]
    assert torchrun(command, tmp_path / "logs").wait() != 0
    refusal = (
        "toolchain: a batch of 3 crops cannot be shared evenly by 2 processes; choose a multiple "
        "of 2 by --batch"
    )
    lines = [printed(tmp_path / "logs", rank) for rank in (0, 1)]
    assert [refusal] in lines
    assert all(line in ([refusal], []) for line in lines)  # torchrun ends all when one has ended
    assert not (tmp_path / "out").exists()


def _small() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3))
    layers.add_module("idle", nn.Conv2d(2, 2, 1).requires_grad_(False))
    return layers


IMAGES = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1)) * 3 + 40


def _step(network: nn.Sequential, images: torch.Tensor, dtype: torch.dtype) -> None:
    """Take gradients of a sum over images; the last layer takes no part."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        network[:4](images).float().square().sum().backward()


def _process(rank: int, place: Path, dtype: torch.dtype) -> None:
    dist.init_process_group("gloo", init_method=f"file://{place}/store", rank=rank, world_size=2)
    network = _small()
    share_batch_norm(network)
    _step(network, IMAGES[rank::2], dtype)
    sum_gradients(network.parameters())
    unshare_batch_norm(network)
    assert {type(layer) for layer in network} == {type(layer) for layer in _small()}
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    torch.save((gradients, network.state_dict()), place / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=str
)
def test_shared_batch_norm_is_that_of_the_whole_batch(
    dtype: torch.dtype, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, gradients and running figures, of images far from zero."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_process, (tmp_path, dtype), nprocs=2)
    whole = _small()
    _step(whole, IMAGES, dtype)
    for rank in (0, 1):
        gradients, state = torch.load(tmp_path / f"{rank}.pt")
        for name, parameter in whole.named_parameters():
            if parameter.grad is None:
                assert gradients[name] is None
                continue
            largest = max(float(p.grad.abs().max()) for p in whole.parameters() if p.requires_grad)
            limit = tolerance * largest
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=limit)
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(state[name], tensor, rtol=tolerance, atol=1e-5)
