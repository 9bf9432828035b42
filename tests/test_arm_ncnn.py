"""ncnn's files on boards: emulated, over ssh, timed in turn, and layer by layer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from board import metadata
from conftest import ARM_CACHE
from ncnn_board import SIZE, write_folder

from toolchain.arm import remote
from toolchain.arm.board import check_board, sent_as
from toolchain.arm.checking import check_folder
from toolchain.arm.counting import read_counts
from toolchain.arm.kept import earlier_checks
from toolchain.arm.sysroot import Sysroot, prepare
from toolchain.arm.targets import find_target
from toolchain.bench.interleaving import _peak
from toolchain.bench.runs import input_of, open_run, operators, run_once, runtime_of
from toolchain.errors import InputError
from toolchain.gate.times import blocks_here
from toolchain.records.run_folder import model_file, name_of, size_of

ncnn = pytest.importorskip("ncnn")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model_ncnn", metadata()) / "model.ncnn.param"


def test_three_files_are_one(model: Path) -> None:
    assert model_file(model.parent) == model == model_file(model)
    assert name_of(model) == "model_ncnn/model.ncnn.param"
    assert size_of(model) == sum(path.stat().st_size for path in model.parent.iterdir())
    name, files = sent_as("before", model)
    assert name == "before/model.ncnn.param"
    assert {Path(each).name: data for each, data in files.items()} == {
        path.name: path.read_bytes() for path in model.parent.iterdir()
    }


def test_it_is_run_here_as_a_board_runs_it(model: Path) -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32) * 90
    loc, logits = run_once(model, image)
    cells = image[0].reshape(3, 4, 16, 4, 16).mean((2, 4)).reshape(3, -1)
    assert loc.shape == (1, 16, 4)
    assert not loc.any()
    expected = cells[0] - cells[1] / 2 - cells[2] / 2 - 50
    np.testing.assert_allclose(logits[0, :, 1], expected, rtol=1e-4)
    (maps,) = open_run(model, image, 1)()  # type: ignore[misc]
    assert maps.shape == (7, 4, 4)
    assert input_of(model) == ((3, SIZE, SIZE), False)
    assert runtime_of(model) == f"ncnn {ncnn.__version__}"
    assert {(each.type, each.count) for each in operators(model, image, 1)} == {
        ("Input", 1),
        ("Convolution", 1),
    }
    assert _peak(model, image, 1) > 1e6


@pytest.mark.parametrize("name", ["model.ncnn.bin", "metadata.json"])
def test_a_file_without_another_is_told(model: Path, name: str) -> None:
    model.with_name(name).unlink()
    with pytest.raises(InputError, match=f"model_ncnn/model.ncnn.param has no {name}"):
        input_of(model)


def test_layers_are_told_apart() -> None:
    lines = ["1 0 0 0 0", "2 0 0 0 10", "3 0 0 0 20", "4 0 0 0 120"]
    # Computed and read, then read again: 130 and 30, 30 and 30 with 5 more, 75 and 30.
    taken, now = [(130, 30), (35, 30), (75, 30)], 1000
    for first, again in taken:
        lines += [f"32 0 0 0 {now}", f"clock 0 0 0 {now + 1}", f"33 0 0 0 {now + first}"]
        lines += [f"34 0 0 0 {now + first + again}"]
        now += 1000
    kinds = ["Convolution", "Split", "BinaryOp"]
    layers = [{"name": kind.lower(), "type": kind} for kind in kinds]
    found = read_counts("\n".join(lines), [], layers)
    assert [(each.type, each.instructions) for each in found.operators] == [
        ("Convolution", 95),
        ("Split", 0),
        ("BinaryOp", 40),
    ]


@pytest.mark.slow
def test_it_runs_on_the_board_and_in_half_precision(
    ready: Sysroot, model: Path, tmp_path: Path
) -> None:
    board = find_target("rpi5")
    try:
        system = prepare(board, ARM_CACHE, lambda _name: None)
    except InputError as error:
        pytest.skip(f"no emulation here: {error}")
    found = check_folder(model.parent, None, board, system, (), tmp_path, lambda _name: None)
    names = [file.file for file in found.files]
    assert names == [name_of(model), f"{name_of(model)}, half precision"]
    whole, half = found.files
    assert found.passed
    assert half.runtime == f"{whole.runtime}, half precision"
    assert [each.type for each in whole.operators] == ["Convolution"]
    assert whole.apart.worst < 1e-6 < half.apart.worst
    assert whole.size_bytes == size_of(model)
    # Half precision is no check of the file itself.
    assert earlier_checks([model], board, tmp_path)[name_of(model)] == whole


def test_a_board_of_32_bits_has_no_runtime_for_it(ready: Sysroot, model: Path) -> None:
    board = find_target("rpi4-32")
    with pytest.raises(InputError, match=r"param: .*32 bits has no runtime for it, but for \.tfl"):
        check_folder(model, None, board, ready, (), model.parent, lambda _name: None)


@pytest.mark.slow
def test_two_files_are_timed_in_turn(model: Path) -> None:
    found = blocks_here(model, model, 1)(2, 60.0)
    assert len(found) == 2
    assert all(ratio > 0 for ratio in found)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_it_runs_on_a_board_over_ssh(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssh_server import serving

    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)
    (tmp_path / "ssh").mkdir()
    try:
        with serving(tmp_path / "ssh", ARM_CACHE) as server:
            told = lambda _name: None  # noqa: E731
            found = check_board(model, None, "rpi4", server.board(), (), 5, 1, told)
    except InputError as error:
        if "ssh server" in str(error):
            pytest.skip(f"no ssh server here: {error}")
        raise
    (file,) = found.files
    assert file.file == name_of(model)
    assert file.parity
    assert file.median_ms > 0
