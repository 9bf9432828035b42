"""``compare --runtime``: ONNX files by MNN and by OpenCV's own engine, here and on the board."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from conftest import ARM_CACHE
from test_comparison import save_relu

from toolchain.arm import peers
from toolchain.arm.comparing import subject_of
from toolchain.arm.counting import Counts
from toolchain.arm.emulation import Emulated, Peer
from toolchain.arm.kept import earlier_checks
from toolchain.arm.peers import PeerRuntime, check_peer, open_peer
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import find_target
from toolchain.bench.runs import open_run
from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.records.timings import Instructions
from toolchain.workflows import comparison

OPENCV = PeerRuntime("opencv", "opencv 5", ())
MNN = PeerRuntime("mnn", "mnn 3", ())
SYSROOT = Sysroot(*(Path(name) for name in ("host", "root", "site", "plugin", "emulator")))


def has_mnn() -> bool:
    try:
        return bool(metadata.version("MNN"))
    except metadata.PackageNotFoundError:
        return False


def asked_for(*words: object) -> int:
    return run_cli(["compare", *map(str, words), "--target", "rpi4", "--seconds", "0"])


def emulated(factor: float, seen: list[Peer]) -> object:
    """What stands for the board: the outputs of a file of two convolutions, times ``factor``."""

    def emulate(path: Path, peer: Peer, inputs: dict[str, object], *_: object) -> Emulated:
        seen.append(peer)
        outputs = {
            name: tuple(factor * each for each in open_run(path, image, 1)())  # type: ignore
            for name, image in inputs.items()
        }
        count = Instructions(3, 2, 1, 1)
        return Emulated(outputs, Counts(count, count, ()), 1000)

    return emulate


@pytest.mark.parametrize("peer", [OPENCV, pytest.param(MNN, marks=pytest.mark.skipif(
    not has_mnn(), reason="the extra mnn is not installed"
))])  # fmt: skip
def test_a_peer_gives_here_what_onnxruntime_gives_and_says_nothing(
    peer: PeerRuntime, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save_relu(tmp_path / "two.onnx", 16, 2)
    image = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    (expected,) = open_run(path, image, 1)()  # type: ignore[misc]
    (found,) = open_peer(path, peer, image, 1)()  # type: ignore[misc]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    (again,) = open_peer(path, peer, image + 1, 1)()  # type: ignore[misc]
    assert np.abs(again - expected).max() > 1
    assert capfd.readouterr() == ("", "")


def test_a_row_of_a_peer_is_beside_the_onnx_file_by_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, seen = save_relu(tmp_path / "two.onnx", 16, 2), list[Peer]()
    subject, board = subject_of(path, None, ()), find_target("rpi4")
    monkeypatch.setattr(peers, "emulate_peer", emulated(1.0, seen))
    found = check_peer(path, subject, OPENCV, board, SYSROOT, tmp_path)
    assert (found.file, found.runtime) == ("two.onnx, opencv", "opencv 5")
    assert (found.instructions_per_inference, found.parity) == (7, True)
    assert seen[0].asked == {"entry": "image", "exits": ["y1"]}
    check_peer(path, subject, OPENCV, board, SYSROOT, tmp_path)
    assert len(seen) == 1  # what was found is kept
    assert earlier_checks([path], board, tmp_path) == {}  # and is no check of the file
    monkeypatch.setattr(peers, "emulate_peer", emulated(1.5, seen))
    other = PeerRuntime("opencv", "opencv 6", ())
    apart = check_peer(path, subject, other, board, SYSROOT, tmp_path)
    assert not apart.parity
    share = apart.apart.worst_share("largest")
    assert share is not None
    assert 0.2 < share < 0.6


def test_what_takes_pixels_is_no_file_for_a_peer(tmp_path: Path) -> None:
    path = save_relu(tmp_path / "two.onnx", 16, 2)
    subject = subject_of(path, None, ())
    pixels = {"noise": np.zeros((1, 3, 16, 16), np.uint8)}
    with pytest.raises(InputError, match=r"two.onnx: takes pixels, and opencv 5 is fed floats"):
        check_peer(
            path,
            dataclasses.replace(subject, inputs=pixels),
            OPENCV,
            find_target("rpi4"),
            SYSROOT,
            tmp_path,
        )


def test_runtimes_are_known_and_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_relu(tmp_path / "two.onnx", 16, 2)
    out = ("--out", tmp_path / "out", "--cache", tmp_path)
    assert asked_for(path, "--runtime", "tvm", *out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--runtime tvm: known are onnxruntime, litert, ncnn, mnn, opencv" in said

    def absent(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", absent)
    assert asked_for(path, "--runtime", "mnn", *out) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--runtime mnn needs MNN, which is not installed; run " in said
    assert "mnn" in said.rpartition("run")[2]


def test_no_board_of_32_bits_has_a_peer() -> None:
    board = find_target("rpi4-32")
    with pytest.raises(InputError, match=r"--runtime opencv: .*32 bits has no wheel of it"):
        peers.prepare_peer("opencv", board, SYSROOT, Path(), lambda _name: None)


def test_own_runtimes_leave_out_other_files_and_peers_add_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = save_relu(tmp_path / "two.onnx", 16, 2)
    site = tmp_path / "site"
    (site / "cv2").mkdir(parents=True)
    sysroot = Sysroot(tmp_path, tmp_path, site, tmp_path, tmp_path)
    monkeypatch.setattr(peers, "emulate_peer", emulated(1.0, []))

    def compared(*runtimes: str) -> Sequence[str]:
        board = find_target("rpi4")
        found = comparison.compare_files(
            [path], board, sysroot, tmp_path, 1, 0.0, lambda _name: None, runtimes
        )
        return [each.label for each in found.candidates]

    assert compared("litert", "opencv") == ["two.onnx, opencv"]
    with pytest.raises(InputError, match="nothing to run by litert: give other files"):
        compared("litert")


@pytest.mark.long
def test_peers_are_counted_on_the_board(
    ready: Sysroot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready.has_opencv
    path = save_relu(tmp_path / "two.onnx", 32, 2)
    names = [*(["mnn"] if has_mnn() else []), "opencv"]
    words = [word for name in names for word in ("--runtime", name)]
    common = ["--seconds", "0", "--cache", str(ARM_CACHE), "--out", str(tmp_path / "out"), "--json"]
    assert run_cli(["compare", str(path), *words, *common]) == 0
    own, *rows = json.loads(capsys.readouterr().out)["candidates"]
    assert [each["label"] for each in rows] == [f"two.onnx, {name}" for name in names]
    for each in rows:
        assert each["parity"]
        assert each["runtime"].split()[0] in each["label"]
        assert each["multiply_add"] > 0
        assert each["instructions"] != own["instructions"]
