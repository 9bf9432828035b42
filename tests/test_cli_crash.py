"""What is written where something fails that nobody foresaw, and what the system's errors say."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from toolchain import cli

Fail = Callable[[BaseException], list[str]]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fail:
    """Make ``shrink`` raise an error with a network at hand; return the words to run."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("TOOLCHAIN_DEBUG", raising=False)

    def prepare(error: BaseException) -> list[str]:
        def load(*_: object, **__: object) -> None:
            network = nn.Sequential(nn.Conv2d(3, 7, 5, bias=False), nn.BatchNorm2d(7))
            assert network is not None
            raise error

        monkeypatch.setattr("toolchain.workflows.stages.starting.load_start", load)
        return ["shrink", "eresfd", "--formats", "onnx", "--out", str(tmp_path / "out")]

    return prepare


def test_an_unforeseen_error_leaves_a_file_and_names_it(
    fail: Fail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(fail(ZeroDivisionError("oops"))) == 70
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    told = re.search(r"internal error, please report it \(with the file (\S+)\): (.*)", printed)
    assert told is not None
    assert told[2] == "ZeroDivisionError: oops"
    content = (tmp_path / "here" / told[1]).read_text()
    assert "command: toolchain shrink eresfd" in content
    assert re.search(r"^torch 2\.", content, re.MULTILINE)
    assert "Traceback" in content
    assert "0: Conv2d(3, 7, kernel_size=(5, 5)" in content
    assert "weight (7, 3, 5, 5) torch.float32" in content
    assert [path.name for path in (tmp_path / "here").iterdir()] == [told[1]]


@pytest.mark.parametrize("kind", [EOFError, BrokenPipeError, TypeError])
def test_an_error_of_any_kind_is_told_as_what_it_is(
    kind: type[Exception], fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(fail(kind("oops"))) == 70
    assert f"{kind.__name__}: oops" in capsys.readouterr().err


def test_two_errors_leave_two_files(fail: Fail, tmp_path: Path) -> None:
    words = fail(ZeroDivisionError("oops"))
    assert cli.run(words) == cli.run(words) == 70
    assert len(list((tmp_path / "here").iterdir())) == 2


def test_the_file_lies_elsewhere_where_the_folder_cannot_be_written(
    fail: Fail,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from toolchain.cli import crash

    write = crash.write_bytes

    def only_elsewhere(path: Path, data: bytes) -> None:
        if path.parent == Path():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        write(path, data)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(crash, "write_bytes", only_elsewhere)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    assert cli.run(fail(ZeroDivisionError("oops"))) == 70
    (path,) = (tmp_path / "elsewhere").iterdir()
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2, "a/b: the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "the disk quota is used up"),
        (MemoryError(), 2, "there is not enough memory; give a smaller --size or --batch"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "there is not enough memory"),
        (SystemExit(3), 2, "the network's own code ended the program (SystemExit: 3)"),
        (KeyboardInterrupt(), 130, "stopped; nothing half-made is left"),
    ],
)
def test_what_the_user_can_mend_is_no_internal_error(
    error: BaseException,
    code: int,
    words: str,
    fail: Fail,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(fail(error)) == code
    assert words in capsys.readouterr().err
    assert list((tmp_path / "here").iterdir()) == []
