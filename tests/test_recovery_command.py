"""Recoveries from a folder of photos, as the command runs them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from recoveries import go, job_of, weights

from toolchain.cli.app import run as run_command
from toolchain.errors import CheckpointError, InputError
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import save_native
from toolchain.recipe import default_recipe, override


@pytest.mark.slow
def test_the_command_shows_blocks_recovers_and_names_what_it_left_out(
    home_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--rate", "0.3", "--scale", "1/64",
             "--mean", "2"]  # fmt: skip
    assert run_command([*words, "--dry-run"]) == 0
    assert "  0  Basic, 2 layers" in capsys.readouterr().out
    words += ["--images", str(photo_folder), "--steps", "6", "--batch", "2", "--cache", "cache"]
    assert run_command([*words, "--threads", "1", "--outputs", "0=logits", "--out", "done"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "output same class" in out
    assert "left out: broken" in out
    assert "There are 12 photos" in out
    page = (home_folder / "done" / "recover.html").read_text()
    for shown in ("recovery, done", "12 photos", "Loss by block", "layer1", "Zero filters"):
        assert shown in page
    record = json.loads((home_folder / "done" / "recover.json").read_text())
    assert {each["number"] for each in record["classes"]["output"]} <= {0, 1, 2}
    assert record["steps"] == 6
    assert record["images"] == 1
    assert run_command(["shrink", "mynet:build", "--ckpt", "done/model.safetensors",
                        "--out", "small", "--formats", "onnx"]) == 0  # fmt: skip


@pytest.mark.slow
def test_a_target_in_place_of_a_rate_is_met_and_told(
    home_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--scale", "1/64", "--mean", "2"]
    assert run_command([*words, "--macs", "0.6", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert "MACs" in told
    words += ["--images", str(photo_folder), "--steps", "2", "--cache", "cache"]
    assert run_command([*words, "--macs", "0.6", "--threads", "1", "--out", "macs"]) == 0
    assert told in " ".join(capsys.readouterr().out.split())
    record = json.loads((home_folder / "macs" / "recover.json").read_text())
    reached = record["reached"]
    assert reached["cost"] <= 0.6 * reached["unpruned"]
    assert (record["macs"], record["rate"]) == (0.6, reached["rate"])
    assert record["batch"] == 8  # small ones, and nobody said another number
    shrink = ["shrink", "mynet:build", "--ckpt", "macs/model.safetensors", "--formats", "onnx"]
    assert run_command([*shrink, "--out", "small"]) == 0
    assert (
        json.loads((home_folder / "small" / "report.json").read_text())["macs"]["after"]
        == reached["cost"]
    )


@pytest.mark.slow
def test_a_sweep_recovers_and_shrinks_at_each_rate_and_tells_what_fails(
    home_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--scale", "1/64", "--mean", "2"]
    words += ["--images", str(photo_folder), "--steps", "2", "--batch", "2", "--cache", "cache"]
    words += ["--threads", "1", "--rates", "0.5,0.99", "--out", "sweep"]
    assert run_command(words) != 0
    told = capsys.readouterr()
    assert "1 of 2 members failed (rate 0.99: " in " ".join(told.err.split())
    made = json.loads((home_folder / "sweep" / "sweep.json").read_text())
    half, failed = made["members"]
    assert failed["state"] == "failed"
    record = json.loads(
        (home_folder / "sweep" / "rate-0.5" / "recovered" / "recover.json").read_text()
    )
    assert half["accuracy"] == record["recovered"] != {}
    page = (home_folder / "sweep" / "sweep.html").read_text()
    assert "Size against agreement, with the network before" in page
    assert "./rate-0.5/shrunk/report.html" in page
    shrunk = home_folder / "sweep" / "rate-0.5" / "shrunk" / "model.onnx"
    before = shrunk.stat().st_mtime_ns
    assert run_command([*words, "--rates", "0.5"]) == 0
    assert shrunk.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "0.1,0.3", "--rate", "0.3"], "give it without --rate, a target"),
        (["--rates", "0.1,0.3"], "--dry-run shows one network"),
        (["--macs", "0.001"], "macs=0.001 is out of reach: the highest rate leaves"),
        (["--macs", "0.5", "--rate", "0.3"], "give one budget"),
        (["--macs", "0.5", "--parameters", "1k"], "give one budget"),
        (["--macs", "1.5"], "--macs must be a number such as 200M, or a share"),
        (["--parameters", "100M"], "nothing is to be pruned"),
        (["--rate", "0.3", "--target", "rpi5"], "--target and --runtime are for --instructions"),
        (["--instructions", "1M", "--target", "rpi9"], "rpi9"),
        (["--set", "prune.widths={stem=2}", "--macs", "0.5"], "the recipe's plan says how much"),
        ([], "there is nothing to recover without a rate"),
    ],
)
def test_what_no_target_can_be_is_refused_in_one_line(
    words: list[str], message: str, home_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["recover", "mynet:build", *words, "--dry-run"]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_detector_keeps_the_anchors_of_its_weights_and_tells_the_boxes_that_both_find(
    home_folder: Path, photo_folder: Path
) -> None:
    """A checkpoint's anchors may be other than the recipe's."""
    network = build("eresfd", 0)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 128, 128) * 60)
    save_native(network, home_folder / "eresfd.safetensors",
                {"model": "eresfd", "trained": True, "aspect_ratio": 1.5})  # fmt: skip
    recipe = override(
        default_recipe("eresfd"), {"prune.rate": 0.3, "input.height": 64, "input.width": 64}
    )
    options = {"ckpt": home_folder / "eresfd.safetensors", "learn": ("conf.*",)}
    report = go(
        job_of(home_folder, photo_folder, "out", recipe=recipe, steps=2, batch=2, **options)
    )
    assert read_checkpoint(home_folder / "out" / "model.safetensors").aspect_ratio == 1.5
    assert {"output_0_stride_4", "output_1_stride_128 same class"} <= set(report.recovered)
    kept = read_checkpoint(home_folder / "eresfd.safetensors").state
    assert all(  # the heads are not pruned, and only scores learn
        torch.equal(tensor, kept[name]) == name.startswith("loc.")
        for name, tensor in weights(home_folder, "out").items()
        if name.startswith(("loc.", "conf."))
    )
    assert set(report.boxes) == {"pruned", "recovered"}
    assert report.boxes["pruned"].photos == 1
    assert "boxes, recovered: " in str(report)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "give a folder by --images"),
        (["--images", "."], "holds no photos"),
        (["--images", "absent"], "cannot be read"),
        (["--rate", "0"], "without a rate"),
        (["--outputs", "logits"], "NAME=KIND"),
        (["--blocks", ""], "--blocks must be names"),
        (["--learn", "head,,neck"], "--learn must be names"),
    ],
)
@pytest.mark.slow
def test_the_command_refuses_in_one_line(
    home_folder: Path, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [] if "--images" in extra or not extra else ["--images", "."]
    (home_folder / "empty").mkdir()
    command = ["recover", "mynet:build", "--ckpt", "best.pth", "--rate", "0.3", *images, *extra]
    assert run_command(command) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_plan_chose_goes_and_stays_gone(home_folder: Path, photo_folder: Path) -> None:
    job = job_of(home_folder, photo_folder, "planned")
    group = "layer1.0.conv1"
    chosen = {"prune.widths": {group: 6}, "prune.pruned_channels": {group: [1, 3]}}
    recipe = override(job.recipe, chosen)  # other groups go by the rate
    report = go(dataclasses.replace(job, recipe=recipe))
    assert report.zeroed > 2
    weight = weights(home_folder, "planned")[f"{group}.weight"]
    assert torch.nonzero(weight.flatten(1).abs().sum(dim=1) == 0).flatten().tolist() == [1, 3]
    other = override(recipe, {"prune.pruned_channels": {group: [1, 2]}})
    with pytest.raises(CheckpointError, match="pruned_channels"):
        go(dataclasses.replace(job, recipe=other))


@pytest.mark.slow
def test_a_single_photo_is_not_enough(
    home_folder: Path, photo_folder: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "0.png").write_bytes((photo_folder / "0.png").read_bytes())
    with pytest.raises(InputError, match="single photo"):
        go(job_of(home_folder, alone, "out"))
