"""A real board over ssh: a server of one's own takes its place, with the real ssh on both sides."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ARM_CACHE
from ssh_server import Server, serving

from toolchain.arm import remote
from toolchain.arm.remote import Board
from toolchain.arm.targets import find_target
from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.gate.times import blocks_there

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ssh")
    try:
        with serving(folder, ARM_CACHE) as started:
            yield started
    except InputError as error:
        pytest.skip(f"no ssh server here: {error}")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)


def test_words_arrive_as_they_are(server: Server, tmp_path: Path) -> None:
    odd = ["a b", "it's", '"', "$(touch nothing)", "`x`", "; exit 3", "\n", "ä", "*", "", "-n"]
    out = server.board().run(["printf", "<%s>", *odd]).decode()
    assert out == "".join(f"<{word}>" for word in odd)


def test_files_go_there_and_back_and_nothing_stays(server: Server) -> None:
    board = server.board()
    with board.folder() as place:
        board.send(place, {"a.bin": bytes(range(256)), "empty": b""})
        assert board.fetch(place, ["a.bin", "empty"]) == {"a.bin": bytes(range(256)), "empty": b""}
        with pytest.raises(InputError, match="nothing came back"):
            board.fetch(place, ["absent"])
        assert Path(place).is_dir()  # the board is this machine
    assert not Path(place).exists()


def test_a_failed_job_is_told_and_its_folder_goes(server: Server) -> None:
    board, places = server.board(), []

    def fail() -> None:
        with board.folder() as place:
            places.append(Path(place))
            board.job(place, ["sh", "-c", "echo out of luck >&2; exit 4"], 30)

    with pytest.raises(InputError, match=r"fails there \(out of luck\)"):
        fail()
    assert not places[0].exists()


def test_a_job_outlives_its_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TRIES", 40)  # lines drop faster here than a busy machine connects
    board, dropped = server.board(), 0
    with board.folder() as place:
        stop = threading.Event()

        def drop() -> None:
            nonlocal dropped
            while not stop.is_set():
                found = server.drop_connections()
                dropped += found
                time.sleep(1.0 if found else 0.02)  # time for the next to get through

        dropper = threading.Thread(target=drop)
        start = time.monotonic()
        board.job(place, ["true"], 30)
        board.run(["rm", f"{place}/code"])
        dropper.start()
        try:
            board.job(place, ["sh", "-c", "sleep 3; echo whole > result"], 60)
        finally:
            stop.set()
            dropper.join()
        assert board.fetch(place, ["result"]) == {"result": b"whole\n"}
        assert time.monotonic() - start > 3
    assert dropped > 0


def test_a_job_that_takes_too_long_is_given_up(server: Server) -> None:
    with server.board().folder() as place, pytest.raises(InputError, match="not done after 1 s"):
        server.board().job(place, ["sleep", "20"], 1)


def test_who_is_not_let_in_is_told_at_once(server: Server) -> None:
    with pytest.raises(InputError, match="Permission denied"):
        server.board(key=server.folder / "another key").run(["true"])


def test_another_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    other = (server.folder / "another key.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    (tmp_path / "client").write_text(f"Host *\n  UserKnownHostsFile {tmp_path}/known\n")
    with pytest.raises(InputError, match="verification failed"):
        server.board(config=tmp_path / "client").run(["true"])


def test_an_unreachable_board_is_told_with_what_to_try(server: Server) -> None:
    with pytest.raises(InputError, match=r"cannot be reached by ssh \(.*refused.*\); try: ssh "):
        server.board(port=1).run(["true"])


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "a b", "pi@host\n"])
def test_a_host_that_is_an_option_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="--ssh must be user@host"):
        Board(host).run(["true"])


@pytest.mark.long
def test_a_board_is_calibrated(
    server: Server, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes out is a table that the other commands read."""
    board, out = server.board(), tmp_path / "mine.toml"
    options = ["--ssh", board.host, "--port", str(server.port), "--key", str(board.key)]
    options += ["--ssh-config", str(board.config), "--runs", "5", "--out", str(out)]
    options += ["--cache", str(ARM_CACHE)]
    code = run_cli(["calibrate", str(made), *options])
    printed = capsys.readouterr()
    if code == 2 and ("emulat" in printed.err or "apt cannot" in printed.err):
        pytest.skip(f"no emulation here: {printed.err}")
    assert code == 0
    assert "is no 64-bit ARM board" in printed.out
    found = find_target("rpi4", out)
    assert found.cycles_per_instruction > 0
    assert "2 files, onnxruntime" in found.fitted_on
    assert found.name == "Raspberry Pi 4B"


@pytest.mark.long
def test_a_folder_is_run_and_timed(
    server: Server, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an environment that is made there; the folder has an odd name."""
    folder = Path(shutil.copytree(made, tmp_path / "it's $(odd) ä"))
    board, out = server.board(), tmp_path / "out"
    options = ["--ssh", board.host, "--port", str(server.port), "--key", str(board.key)]
    options += ["--ssh-config", str(board.config), "--runs", "5", "--out", str(out)]
    assert run_cli(["check", str(folder), "--target", "rpi4", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "board.json").read_text())
    assert [file["file"] for file in found["files"]] == ["model.onnx", "model_int8.onnx"]
    assert all(
        case["largest"]["difference"] == 0
        for file in found["files"]
        for case in file["apart"]["cases"]
    )  # the very same processor
    assert all(file["median_ms"] > 0 and file["runs"] == 5 for file in found["files"])
    (place,) = (server.home / ".cache" / "toolchain").iterdir()
    (place / "whole").unlink()  # as if it had been cut off while it was made
    assert run_cli(["check", str(folder), "--file", "model.onnx", *options]) == 0
    assert (place / "whole").is_file()
    assert "Measured on" in capsys.readouterr().out


def test_two_files_are_timed_in_turn(server: Server, made: Path) -> None:
    """What the gate asks of a board where wall-clock is wanted."""
    with blocks_there(server.board(), made / "model.onnx", made / "model.onnx", 1) as more:
        found = [*more(3, 30.0), *more(2, 30.0)]
    assert len(found) == 5
    assert all(0.1 < ratio < 10 for ratio in found)
