"""The command ``balance`` on drawn faces: what it writes, that it goes on, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from widerface import make_wider

from toolchain import cli
from toolchain.balancing.candidates import Candidates
from toolchain.balancing.search import Precision
from toolchain.deploy import detect
from toolchain.models.eresfd import DETECTOR
from toolchain.recipe import default_recipe
from toolchain.workflows import balance as workflow
from toolchain.zoo.reading import FOLDER
from toolchain.zoo.sources import load_network

SMALL = FOLDER / "eresfd-50.safetensors"


def words(data: Path, out: Path, *more: str) -> list[str]:
    return ["balance", str(SMALL), "--data", str(data), "--threads", "1", "--out", str(out), *more]


def biases(path: Path) -> list[NDArray[np.float32]]:
    network = load_network(default_recipe("eresfd"), path).network
    return [network.get_submodule(name).bias.detach().numpy() for name in DETECTOR.scores]


def test_the_command_writes_what_it_says_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_wider(tmp_path / "wider", 24)
    out = tmp_path / "out"
    given = words(data, out, "--split", "val", "--json")
    assert cli.run(given) == 0, capsys.readouterr().err
    said = json.loads(capsys.readouterr().out)
    assert said["strides"] == [4, 8, 16, 32, 64, 128]
    assert set(said["before"]) == {"easy", "medium", "hard"}
    kept = {path: path.read_bytes() for path in (out / "seen").rglob("*.npz")}
    assert len(kept) == 24
    gained = sum(
        np.mean(list(half["after"].values())) - np.mean(list(half["before"].values()))
        for half in said["halves"]
    )
    assert said["gained"] == pytest.approx(gained / 2)
    assert (out / "model.safetensors").exists() == (out / "balance.json").exists() == (gained > 0)
    monkeypatch.setattr(detect, "read_image", lambda *_, **__: pytest.fail("looked at again"))
    assert cli.run(given) == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "seconds": 0} == {**said, "seconds": 0}
    assert kept == {path: path.read_bytes() for path in (out / "seen").rglob("*.npz")}


def test_what_is_written_is_the_network_with_shifted_biases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = (
        make_wider(tmp_path / "wider", 20, truncated={"0--Parade/0_Parade_drawn_0"}),
        tmp_path / "out",
    )
    by = (0.5, 0.0, -0.5, 0.25, 0.0, 1.0)
    monkeypatch.setattr(workflow, "best_shifts", lambda *_: by)
    monkeypatch.setattr(workflow, "as_shown", lambda _, shifts, __: (shifts, 7))
    monkeypatch.setattr(workflow, "_gained", lambda *_: 0.01)
    assert cli.run(words(data, out, "--split", "val")) == 0
    said = capsys.readouterr()
    for before, after, shift in zip(
        biases(SMALL), biases(out / "model.safetensors"), by, strict=True
    ):
        assert np.array_equal(before[:-1], after[:-1])
        assert after[-1] - before[-1] == pytest.approx(shift, abs=1e-6)
    record = json.loads((out / "balance.json").read_text())
    assert tuple(record["shifts"]) == by
    assert [photo["name"] for photo in record["broken"]] == ["0--Parade/0_Parade_drawn_0"]
    assert "0_Parade_drawn_0 cannot be read" in said.out
    assert "+0.500" in said.out


def test_each_half_is_told_what_the_other_half_chose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_wider(tmp_path / "wider", 20), tmp_path / "out"
    chosen = [(1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (-1.5, 0.0, 1.0, 0.0, 0.0, 0.0), (0.0,) * 6]
    halves: list[Precision] = []

    def choose(precision: Precision, *_: object) -> tuple[float, ...]:
        halves.append(precision)
        return chosen[len(halves) - 1]

    monkeypatch.setattr(workflow, "best_shifts", choose)
    assert cli.run(words(data, out, "--split", "val", "--json")) == 0
    one, other = json.loads(capsys.readouterr().out)["halves"]
    assert one["after"] == halves[0].of(chosen[1]) != halves[0].of(chosen[0])
    assert other["after"] == halves[1].of(chosen[0]) != halves[1].of(chosen[1])
    assert (one["before"], other["before"]) == tuple(each.of((0.0,) * 6) for each in halves[:2])


def test_what_is_damaged_is_looked_at_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_wider(tmp_path / "wider", 20), tmp_path / "out"
    monkeypatch.setattr(workflow, "best_shifts", lambda *_: (0.0,) * 6)
    assert cli.run(words(data, out, "--split", "val")) == 0
    kept = {path: path.read_bytes() for path in (out / "seen").rglob("*.npz")}
    first, second, *_ = kept
    first.write_bytes(kept[first][:300])
    second.write_bytes(b"")
    assert cli.run(words(data, out, "--split", "val")) == 0, capsys.readouterr().err
    assert kept == {path: path.read_bytes() for path in (out / "seen").rglob("*.npz")}


def test_shifts_that_find_no_more_elsewhere_are_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_wider(tmp_path / "wider", 20), tmp_path / "out"
    monkeypatch.setattr(workflow, "best_shifts", lambda *_: (0.0,) * 6)
    out.mkdir()
    for name in ("model.safetensors", "balance.json"):  # of an earlier search
        (out / name).write_text("old")
    assert cli.run(words(data, out, "--split", "val")) == 0
    assert "Nothing is written" in capsys.readouterr().out
    assert not (out / "model.safetensors").exists()
    assert not (out / "balance.json").exists()


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = make_wider(tmp_path / "wider", 4, train=4), tmp_path / "out"
    nothing_counts = [f"--weigh={kind}=0" for kind in ("easy", "medium", "hard")]
    yunet = str(FOLDER / "yunet-70k.safetensors")
    for given, told in (
        (words(data, out), "4 photos choose nothing; give 20 or more"),
        (words(data, out, "--split", "test"), "no faces to learn from"),
        (words(tmp_path / "none", out), "none"),
        (words(data, out, "--split", "val", "--weigh", "large=2"), "are easy, medium, hard"),
        (words(data, out, "--split", "val", "--weigh", "easy=-1"), "may count 0 to 100"),
        (
            [*words(data, out, "--split", "val"), *nothing_counts],
            "must count more than 0",
        ),
        (words(data, out, "--split", "val", "--weigh", "easy"), "--weigh must be KIND=TIMES"),
        (["balance", yunet, "--data", str(data), "--split", "val"], "each of whose levels scores"),
        (["balance", str(tmp_path / "no.pth"), "--data", str(data)], "no.pth"),
    ):
        assert cli.run(given) != 0, given
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line


def test_several_sizes_are_weighed_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_wider(tmp_path / "wider", 20), tmp_path / "out"
    asked: list[dict[str, float]] = []

    def chosen(precision: Precision, levels: int, _on_look: object) -> tuple[float, ...]:
        asked.append(precision.of((0.0,) * levels))
        assert precision.mean((0.0,) * levels) == pytest.approx(np.mean(list(asked[-1].values())))
        return (0.0,) * levels

    monkeypatch.setattr(workflow, "best_shifts", chosen)
    given = words(data, out, "--split", "val", "--size", "own", "--size", "96x128")
    assert cli.run([*given, "--size", "96X128", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == ["own", "96x128"]
    assert list(asked[-1]) == [
        f"{kind} {size}" for size in ("own", "96x128") for kind in ("easy", "medium", "hard")
    ]
    assert {path.name for path in (out / "seen").iterdir()} == {"own", "96x128"}
    small = Candidates.from_bytes(next((out / "seen" / "96x128").rglob("*.npz")).read_bytes())
    assert small.placement.scale_x < 1
    assert cli.run([*given, "--size", "huge"]) != 0
    assert "--size must be HEIGHTxWIDTH" in capsys.readouterr().err
