"""Training runs: exact when taken up again, refused when others, and never without a word."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from widerface import make_wider

from toolchain import cli
from toolchain.checking.cost import count_parameters
from toolchain.data.wider import Split, read_split
from toolchain.errors import CheckpointError, InputError, ProofError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.layouts import read_checkpoint
from toolchain.models.reading import read_pickle
from toolchain.models.registry import build
from toolchain.recipe import default_recipe, override
from toolchain.surgery.removing import shrink
from toolchain.train import keeping, setup, training
from toolchain.train.batches import Crops, batches
from toolchain.train.crops import CropSettings
from toolchain.train.distillation import LossWeights
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.job import TrainingJob
from toolchain.train.loss import detection_loss
from toolchain.train.photos import prepare_photos
from toolchain.train.processor import keep_gradients_right
from toolchain.train.targets import anchor_boxes, stacked, targets
from toolchain.train.training import train
from toolchain.zoo.sources import load_network


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = make_wider(tmp_path_factory.mktemp("wider"), 1, train=8)
    return read_split(root, "train")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose batch norm has seen images; what it finds does not matter here."""
    network = build("eresfd", 9).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(10):
            network(torch.randn(2, 3, 128, 128, generator=generator) * 60)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save(network.state_dict(), path)
    return path


def job(teacher: Path, out: Path, **changes: object) -> TrainingJob:
    recipe = override(
        default_recipe("eresfd"), {"prune.rate": 0.25, "crops.side": 96, "teach.batch": 2}
    )
    made = TrainingJob(
        recipe=recipe,
        teacher=teacher,
        out=out,
        cache=out.parent / "cache",
        images=160,
        keep_every_seconds=0.0,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def run(wanted: TrainingJob, split: Split, stop_after: int | None = None) -> training.Trained:
    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    return train(wanted, split, None, lambda done, total: None, on_step)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).state


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the loss, and keep the state, every five steps, and at few crops before the first."""
    monkeypatch.setattr(keeping, "STRETCH", 5)
    monkeypatch.setattr(setup, "LOOK_CROPS", 8)
    monkeypatch.setattr(setup, "SETTLING_BATCHES", 4)
    monkeypatch.setattr(setup, "SETTLING_CROPS", 4)


@pytest.mark.long
@pytest.mark.parametrize(
    "fields", [{}, {"teach.layer_share": 0.5}, {"teach.layer_share": 0.5, "teach.solved": 4}]
)
def test_a_run_that_is_taken_up_ends_bit_for_bit_the_same(
    split: Split,
    teacher: Path,
    tmp_path: Path,
    fields: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped while batch norm is recalibrated or layers learn, while blocks do, and end to end.

    Of 32 steps 12 are local; of these 3 recalibrate, or 6 are of layers.
    """
    monkeypatch.setattr(keeping, "STRETCH", 2)
    recipe = override(job(teacher, tmp_path).recipe, fields)
    whole = run(job(teacher, tmp_path / "whole", recipe=recipe, images=64), split)
    stopped = job(teacher, tmp_path / "stopped", recipe=recipe, images=64)
    for stop_after in (2, 10, 24):
        with pytest.raises(KeyboardInterrupt):
            run(stopped, split, stop_after)
        assert not (tmp_path / "stopped" / "model.safetensors").exists()
    resumed = run(stopped, split)
    one, other = tensors(whole.weights), tensors(resumed.weights)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    assert whole.losses == resumed.losses
    assert len(whole.losses) == 16


@pytest.mark.long
def test_all_of_it_may_be_block_by_block(split: Split, teacher: Path, tmp_path: Path) -> None:
    """Then it ends where a longer training goes on end to end, bit for bit."""
    recipe = override(job(teacher, tmp_path).recipe, {"teach.layer_share": 0.5})
    with pytest.raises(KeyboardInterrupt):
        run(job(teacher, tmp_path / "longer", recipe=recipe, images=80), split, 12)
    alone = override(recipe, {"teach.local_share": 1.0})
    with pytest.raises(KeyboardInterrupt):
        run(job(teacher, tmp_path / "alone", recipe=alone, images=32), split, 12)
    one, other = (read_pickle(tmp_path / name / "state.pt") for name in ("longer", "alone"))
    assert one["step"] == other["step"] == 12
    for name, tensor in one["network"].items():
        assert torch.equal(tensor, other["network"][name]), name


@pytest.mark.slow
def test_layers_learn_before_blocks(split: Split, teacher: Path, tmp_path: Path) -> None:
    """Thirty steps of layers, in which their loss comes down, then ten of blocks."""
    shares = {"teach.layer_share": 0.75, "teach.local_share": 1.0}
    recipe = override(job(teacher, tmp_path).recipe, shares)
    phases: list[str] = []
    trained = train(
        job(teacher, tmp_path / "run", recipe=recipe, images=80),
        split,
        None,
        lambda done, total: None,
        lambda phase, step, steps, loss: phases.append(phase),
    )
    assert phases[0] == "layer by layer"
    assert phases[-1] == "block by block"
    assert trained.losses[5] < 0.9 * trained.losses[0]


@pytest.mark.long
def test_what_is_held_at_zero_is_gone_after_the_surgery(
    split: Split, teacher: Path, tmp_path: Path
) -> None:
    exact = override(job(teacher, tmp_path).recipe, {"prune.align": 1})
    trained = run(job(teacher, tmp_path / "run", images=40, recipe=exact), split)
    loaded = load_network(default_recipe("eresfd"), trained.weights)
    assert loaded.source.trained
    example = torch.zeros(1, 3, 160, 160)
    shrunk, surgery = shrink(loaded.network, example)
    assert surgery.filters
    assert surgery.count("kept") == 0
    assert "training, done" in (tmp_path / "run" / "train.html").read_text()
    # 51,800 deployed parameters with the 18 outside layers, as group scope at 0.25 leaves them.
    assert count_parameters(fold_batch_norm(shrunk, example)) == (51_800 - 18, 18)


def test_labels_join_the_teacher(split: Split, teacher: Path, tmp_path: Path) -> None:
    """A student equal to its teacher has the loss of the labels alone."""
    network = build("eresfd", 9)
    network.load_state_dict(torch.load(teacher))
    recipe = default_recipe("eresfd")
    assert recipe.anchors is not None
    plan = DistillationPlan(0, 0, 10, weights=LossWeights(labels=2.0))
    example = torch.zeros(1, 3, 96, 96)
    teaching = DistillationTrainer(
        "eresfd", network, network, plan, recipe.prune, example, recipe.anchors, (0.1, 0.2)
    )
    photos = prepare_photos(split, tmp_path / "cache", on_photo=lambda done, total: None)
    (batch,) = batches(Crops(photos, CropSettings(side=96), 0), 4, 0, 1, 0)
    assert sum(map(len, batch.faces)) > 0
    teaching.look(batch.images)
    anchors = anchor_boxes(recipe.anchors, 96, 96)
    wanted = [targets(faces, anchors, (0.1, 0.2)) for faces in batch.faces]
    expected = 2.0 * detection_loss(*network.eval()(batch.images), stacked(wanted))
    torch.testing.assert_close(teaching.loss(0, batch), expected)


@pytest.mark.slow
def test_other_settings_are_refused_by_name(split: Split, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(job(teacher, tmp_path / "run"), split, 5)
    with pytest.raises(CheckpointError, match=r"other settings \(seed was 0, is 4\)"):
        run(job(teacher, tmp_path / "run", seed=4), split)
    (tmp_path / "run" / "state.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="text file"):
        run(job(teacher, tmp_path / "run"), split)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (float("nan"), r"loss is nan after step 13.*of step 10, is kept"),
        (1e6, r"loss is 2e\+05, and was 1 before, after step 15.*of step 10, is kept"),
    ],
)
def test_a_loss_that_runs_away_stops_and_keeps_the_last_state(
    split: Split,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: float,
    words: str,
) -> None:
    monkeypatch.setattr(
        DistillationTrainer, "take", lambda self, step, batch: wrong if step == 12 else 1.0
    )
    with pytest.raises(ProofError, match=words):
        run(job(teacher, tmp_path / "run"), split)
    assert read_pickle(tmp_path / "run" / "state.pt")["step"] == 10


@pytest.mark.slow
def test_a_full_disk_keeps_the_state_before(
    split: Split, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(job(teacher, tmp_path / "run"), split, 5)
    before = (tmp_path / "run" / "state.pt").read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolchain.train.state.write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(job(teacher, tmp_path / "run"), split, 60)
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


@pytest.mark.long
def test_killed_at_any_moment_it_goes_on(teacher: Path, tmp_path: Path) -> None:
    """SIGKILL from outside, by the command line, and the same weights as without."""
    data = make_wider(tmp_path / "wider", 1, train=6)
    command = [sys.executable, "-m", "toolchain.cli", "train", "eresfd", "--data", str(data)]
    command += ["--teacher", str(teacher), "--images", "100", "--threads", "1"]
    command += ["--cache", str(tmp_path / "cache"), "--keep-seconds", "0"]
    command += ["--set", "crops.side=96", "--set", "teach.batch=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, "--out", str(killed)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (killed / "state.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    subprocess.run([*command, "--out", str(killed)], check=True, capture_output=True)
    one, other = (tensors(out / "model.safetensors") for out in (whole, killed))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--teacher", "{tmp}/absent.pth"], "absent.pth"),
        (["--teacher", "{teacher}", "--rate", "1.5"], "rate"),
        (["--teacher", "{extd}"], "extd"),
        (["--teacher", "{teacher}", "--set", "teach.speed=3"], "teach.speed"),
        (["--teacher", "{teacher}", "--set", "faster"], "SECTION.FIELD=VALUE"),
        (["--teacher", "{teacher}", "--device", "cuda"], "CUDA"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    words: str,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = make_wider(tmp_path / "wider", 1, train=2)
    torch.save(build("extd").state_dict(), tmp_path / "extd.pth")
    places = {"tmp": tmp_path, "teacher": teacher, "extd": tmp_path / "extd.pth"}
    command = ["train", "eresfd", "--data", str(data), "--images", "100", "--threads", "1"]
    command += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    command += ["--sample", "0"]
    assert cli.run([*command, *(argument.format(**places) for argument in arguments)]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1, printed
    assert words in printed[0]


def test_onednn_is_held_back_only_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert not keep_gradients_right({"avx2", "avx512f"})
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ
    assert keep_gradients_right({"avx2", "avx512_fp16"})
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    keep_gradients_right({"amx_tile"})
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")


GRADIENTS = """
from toolchain.train.processor import keep_gradients_right
keep_gradients_right()
import torch
torch.manual_seed(0)
for channels in (3, 5, 7, 13, 15, 17):
    for kernel, stride in ((3, 1), (3, 2), (1, 1), (5, 4)):
        layer = torch.nn.Conv2d(channels, channels + 2, kernel, stride, kernel // 2)
        image = torch.randn(2, channels, 33, 31, requires_grad=True)
        exact = torch.nn.Conv2d(channels, channels + 2, kernel, stride, kernel // 2).double()
        exact.load_state_dict(layer.state_dict())
        other = image.detach().double().requires_grad_()
        layer(image).square().sum().backward()
        exact(other).square().sum().backward()
        for a, b in ((layer.weight.grad, exact.weight.grad), (image.grad, other.grad)):
            assert (a - b).abs().max() < 1e-4 * b.abs().max(), (channels, kernel, stride)
print("right")
"""


@pytest.mark.slow
def test_gradients_of_odd_channel_counts_are_right() -> None:
    """Against float64, in a process of its own: the setting must come before PyTorch."""
    result = subprocess.run(
        [sys.executable, "-c", GRADIENTS], capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "right", result.stderr


def test_fusion_weights_are_the_only_parameters_outside_layers() -> None:
    from toolchain.train.distillation_trainer import _outside_layers

    assert [name for name, _ in _outside_layers(build("eresfd"))] == ["base.m0.fpn.w1"]
    assert _outside_layers(build("extd")) == []


@pytest.mark.slow
def test_minutes_are_shared_by_the_pace_of_each_phase(
    split: Split, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2 of the crops at 10 a second, 0.2 at 5 and 0.6 at 2: 0.36 s a crop, so 166 a minute."""
    fields = {"teach.local_share": 0.4, "teach.layer_share": 0.5}
    recipe = override(job(teacher, tmp_path).recipe, fields)
    wanted = job(teacher, tmp_path / "run", recipe=recipe, images=None, minutes=1.0)
    paces = {0: 10.0, setup.PACE_STEPS: 5.0, 2 * setup.PACE_STEPS: 2.0}
    asked: list[str] = []

    def pace(_setup: object, course: DistillationTrainer, first: int) -> float:
        asked.append(next(name for name, last in course.phases if first < last))
        return paces[first]

    monkeypatch.setattr(setup, "_pace", pace)
    prepared = setup.prepare(wanted, split, lambda done, total: None)
    assert setup._images_in_time(prepared) == 166
    assert asked == ["layer by layer", "block by block", "end to end"]
    recipe = override(recipe, {"teach.solved": 30})
    solving = dataclasses.replace(prepared, job=dataclasses.replace(prepared.job, recipe=recipe))
    monkeypatch.setattr(setup, "_seconds_to_solve", lambda *_: 30.0)
    assert setup._images_in_time(solving) == 83  # half of the minute is left


@pytest.mark.slow
def test_a_pace_is_measured_in_every_phase(split: Split, teacher: Path, tmp_path: Path) -> None:
    fields = {"teach.layer_share": 0.5, "teach.solved": 10}
    recipe = override(job(teacher, tmp_path).recipe, fields)
    wanted = job(teacher, tmp_path / "run", recipe=recipe, images=None, minutes=0.0)
    prepared = setup.prepare(wanted, split, lambda done, total: None)
    assert setup._images_in_time(prepared) == 20 * wanted.batch  # at least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({}, True),
        ({"teach.layer_share": 0.5}, False),
        ({"teach.local_share": 0.0}, False),
        ({"teach.local_share_warm_start": 0.0}, True),
    ],
)
def test_one_crop_of_one_cell_is_refused_only_where_batch_norm_goes_by_it(
    teacher: Path, tmp_path: Path, fields: dict[str, object], refused: bool
) -> None:
    recipe = override(job(teacher, tmp_path).recipe, {"teach.batch": 1, **fields})
    wanted = job(teacher, tmp_path, recipe=recipe)
    if refused:
        with pytest.raises(InputError, match="batch norm cannot learn from one crop"):
            setup._check_batch(wanted, 128)
    else:
        setup._check_batch(wanted, 128)
