"""Results appear whole or not at all, and nothing of anyone else's is ever replaced."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from toolchain.errors import ExportError, InputError
from toolchain.system.files import output_folder, sha256_of, write_bytes

OURS = json.dumps({"tool": "toolchain 0.1.0", "files": {}})
"""The manifest that the pipeline writes last."""


def tree(folder: Path) -> dict[str, str | None]:
    """All that is in a folder, hidden files too: path -> content, or None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_text()
        for path in sorted(folder.rglob("*"))
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(target: Path, content: str) -> None:
    with output_folder(target) as folder:
        (folder / "model.onnx").write_text(content)
        (folder / "sub").mkdir()
        (folder / "sub" / "more").write_text(content)
        (folder / "manifest.json").write_text(OURS)


def filled(content: str) -> dict[str, str | None]:
    return {"model.onnx": content, "sub": None, "sub/more": content, "manifest.json": OURS}


def refusal(target: Path) -> str:
    """Return the message with which ``target`` is refused, before the block runs; one line."""
    with pytest.raises(InputError) as caught, output_folder(target):
        pytest.fail("the block ran")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Success ----------------------------------------------------------------------------------------


def test_a_new_folder_appears_with_all_that_was_written(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "out", "1")
    assert tree(tmp_path / "deep" / "out") == filled("1")
    assert names(tmp_path / "deep") == ["out"]


def test_nothing_is_at_the_target_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with output_folder(target) as folder:
        assert folder.parent == tmp_path
        assert not target.exists()
    assert target.is_dir()
    assert names(tmp_path) == ["out"]


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    fill(target, "1")
    (target / "old.onnx").write_text("of an older version")
    with output_folder(target) as folder:
        assert tree(target)["model.onnx"] == "1"
        (folder / "manifest.json").write_text(OURS)
    assert tree(tmp_path) == {"out": None, "out/manifest.json": OURS}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", "1")
    assert tree(tmp_path / "out") == filled("1")
    assert names(tmp_path) == ["out"]


def test_others_may_read_the_folder(tmp_path: Path) -> None:
    fill(tmp_path / "out", "1")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_a_relative_target_is_taken_from_the_folder_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with output_folder(Path("out")) as folder:
        (folder / "manifest.json").write_text(OURS)
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert tree(tmp_path) == {"elsewhere": None, "out": None, "out/manifest.json": OURS}


# Failure ----------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def fail(target: Path, error: BaseException) -> None:
    with output_folder(target) as folder:
        (folder / "half").write_text("half")
        (folder / "sub").mkdir()
        raise error


@pytest.mark.parametrize("error", [Broken(), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_leaves_an_earlier_result_as_it_was(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out"
    fill(target, "1")
    before = tree(tmp_path)
    with pytest.raises(type(error)):
        fail(target, error)
    assert tree(tmp_path) == before


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(Broken):
        fail(tmp_path / "out", Broken())
    assert tree(tmp_path) == {}


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fail(tmp_path / "out", OSError(28, "No space left on device"))
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'out'}: the disk is full; ")
    assert tree(tmp_path) == {}


def test_an_earlier_result_survives_a_failed_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    fill(target, "1")
    rename = Path.rename

    def refuse(self: Path, new: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(5, "Input/output error")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match="Input/output error"):
        fill(target, "2")
    assert tree(target) == filled("1")
    assert names(tmp_path) == ["out"]


# Refusals ---------------------------------------------------------------------------------------


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    assert "holds files that are not the toolchain's" in refusal(tmp_path / "out")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "manifest",
    ['{"name": "my web app", "start_url": "/"}', "[]", '"toolchain"', "no JSON", "", "\xff"],
)
def test_a_folder_with_someone_elses_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    """Web apps, browser extensions and others have a manifest.json too."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("years of work")
    (tmp_path / "out" / "manifest.json").write_text(manifest, encoding="latin-1")
    assert "not the toolchain's" in refusal(tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text() == "years of work"


def test_a_hidden_file_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".git").write_text("x")
    assert "not the toolchain's" in refusal(tmp_path / "out")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert refusal(tmp_path / "out") == f"{tmp_path / 'out'} is a file; --out must name a folder"
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize("below", ["out", "deep/out"])
def test_a_place_below_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("a file")
    message = refusal(tmp_path / "file" / below)
    assert message.startswith(f"cannot write to {(tmp_path / 'file' / below).parent}: ")
    assert "choose another folder by --out" in message


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_too_long_is_refused(tmp_path: Path, length: int) -> None:
    assert "File name too long" in refusal(tmp_path / ("x" * length))
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in refusal(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_a_place_that_denies_writing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for root, for whom nothing is unwritable."""

    def deny(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", deny)
    message = refusal(tmp_path / "out")
    assert message.startswith(f"cannot write to {tmp_path}: Permission denied; choose another")
    assert names(tmp_path) == []


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    """The link stays a link, and nothing hidden is left beside it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fill(tmp_path / "link", "1")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real") == filled("1")
    assert names(tmp_path) == ["link", "real"]


# Single files -----------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"first, which is longer")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"first")

    def deny(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", deny)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 5000])
def test_sha256(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # the example of FIPS 180-2
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "f") == expected


def _failed_by(error: Exception) -> ExportError:
    failed = ExportError("the network cannot be exported")
    failed.__cause__ = error
    return failed


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: No space left on device (os error 28)"),
        _failed_by(OSError(errno.EDQUOT, "Disk quota exceeded")),
    ],
)
def test_a_full_disk_is_told_with_what_was_written(error: Exception, tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(bytes(2_000_000))
        raise error

    with pytest.raises(InputError) as caught, output_folder(tmp_path / "out") as folder:
        write(folder)
    words = str(caught.value)
    assert words.startswith(f"cannot write {tmp_path / 'out'}: the disk is full; 2.0 MB were")
    assert words.endswith("make room, or choose another folder by --out")
    assert list(tmp_path.iterdir()) == []
