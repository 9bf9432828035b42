"""The command line of the program for the board."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import BLUE, IN_PICTURE, NOISE, metadata, photo, picture, run, write_model

from toolchain.deploy import detect
from toolchain.deploy.detect import Detector


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", metadata())


def test_a_runtime_is_loaded_with_the_file_that_needs_it() -> None:
    module = "toolchain.deploy.detect"
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    runtimes = {"onnxruntime", "ai_edge_litert", "tflite_runtime", "torch"}
    assert not runtimes & set(loaded.stdout.split())


def test_a_line_for_people(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = photo(tmp_path / "a.png")
    code, out, err = run(capsys, model, path)
    assert (code, err) == (0, [])
    assert len(out) == 1
    assert out[0].startswith(f"{path}: 1 face (best 1.00), 128x128, ")
    assert out[0].endswith(" ms")


def test_a_line_of_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = photo(tmp_path / "a.png")
    code, out, err = run(capsys, model, path, "--json")
    assert (code, err, len(out)) == (0, [], 1)
    facts = json.loads(out[0])
    assert facts.pop("ms") > 0
    faces = [{"box": IN_PICTURE, "score": 1.0}]
    assert facts == {"image": str(path), "width": 128, "height": 128, "faces": faces}


def test_a_bad_photo_does_not_stop_the_others(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "c.png"):
        photo(folder / name)
    (folder / "b.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "._a.png").write_text("not looked at either")
    code, out, err = run(capsys, model, folder, tmp_path / "missing", "--json")
    assert (code, err) == (2, [])
    facts = [json.loads(line) for line in out]
    names = [Path(fact["image"]).name for fact in facts]
    assert names == ["missing", "a.png", "b.jpg", "c.png"]
    assert ["error" in fact for fact in facts] == [True, False, True, False]
    code, out, err = run(capsys, model, folder)
    assert (code, len(out), len(err)) == (2, 2, 1)
    assert "b.jpg: is no picture" in err[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "cannot be read (No such file or directory)"),
        ("empty-folder", "holds no pictures"),
        ("text.mp4", "is no video that OpenCV reads"),
        ("pipe", "is no file, folder or camera"),
        ("name\0.jpg", "cannot be read"),
    ],
)
def test_an_input_that_is_none_is_one_line(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "text.mp4").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    code, out, err = run(capfd, model, tmp_path / name)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"detect.py: {tmp_path}")
    assert message in err[0]


def test_a_camera_that_is_not_there_is_one_line(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, model, "9876")
    assert (code, out, len(err)) == (2, [], 1)
    assert "9876: no such camera" in err[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as a model (No such file or directory)"),
        (b"a text", "is no ONNX file that can be run"),
        (b"", "is no ONNX file that can be run"),
    ],
)
def test_a_model_that_is_none_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(capfd, path, photo(tmp_path / "a.png"))
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_an_untrained_file_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path / "m.onnx", metadata(trained=False))
    code, out, err = run(capsys, path, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    assert (code, len(out), len(err)) == (0, 2, 1)
    assert "warning: the weights are random (untrained)" in err[0]


def test_the_threshold_can_be_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    _, out, _ = run(capsys, model, path, "--json", "--threshold", "0")
    assert len(json.loads(out[0])["faces"]) == 16


@pytest.mark.parametrize(
    "option",
    [
        ["--threshold", "1.5"],
        ["--threshold", "nan"],
        ["--threshold", "high"],
        ["--size", "64"],
        ["--size", "8x9000"],
        ["--limit", "0"],
        ["--threads", "-1"],
        ["--benchmark", "many"],
    ],
)
def test_a_wrong_option_ends_with_2(
    model: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        detect.main([str(model), "a.png", *option])
    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        detect.main(["--help"])
    assert ended.value.code == 0
    assert "detect.py eresfd.onnx photos --out found" in capsys.readouterr().out


def test_the_benchmark_gives_each_stage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    code, out, _ = run(capsys, model, path, "--benchmark", "3", "--threads", "1", "--json")
    facts = json.loads(out[0])
    assert (code, facts["runs"], facts["threads"]) == (0, 3, 1)
    assert (facts["height"], facts["width"]) == (64, 64)
    for stage in ("preprocessing", "inference", "postprocessing", "total"):
        values = facts["ms"][stage]
        assert 0 < values["p10"] <= values["median"] <= values["p90"] <= values["p99"]
    code, out, _ = run(capsys, model, path, "--benchmark", "2")
    assert code == 0
    assert [line.split()[0] for line in out[1:]] == ["median", *facts["ms"]]


def test_quantiles_of_the_benchmark_are_those_of_its_runs(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1000.0] * 5 + [5.0, 1.0, 3.0])  # five to warm up, then three that count
    none = np.empty((0, 4), np.float32)

    def measure(self: Detector, image: Any) -> detect.Detection:
        return detect.Detection(none, none[:, 0], 1.0, next(times), 2.0)

    monkeypatch.setattr(Detector, "measure", measure)
    stages = detect.benchmark(Detector(model), picture(), 3)
    assert stages["inference"]["median"] == 3.0
    assert stages["total"]["median"] == 6.0
    assert stages["total"]["p90"] == pytest.approx(3 + 3 + 0.8 * 2)


# Writing ----------------------------------------------------------------------------------------


def test_pictures_of_the_same_name_do_not_collide(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = photo(tmp_path / "one" / "a.png")
    second = photo(tmp_path / "two" / "A.png", picture(color=BLUE))
    third = photo(tmp_path / "three" / "a.jpg")
    before = first.read_bytes()
    code, out, _ = run(capsys, model, first, second, third, "--out", tmp_path / "new" / "out")
    assert code == 0
    written = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert written == ["A-2.png", "a.jpg", "a.png"]
    assert out[1].endswith(f" -> {tmp_path / 'new' / 'out' / 'A-2.png'}")
    assert first.read_bytes() == before
    drawn = detect.read_image(tmp_path / "new" / "out" / "a.png")
    np.testing.assert_array_equal(
        drawn,
        detect.draw(picture(), np.array([IN_PICTURE], np.float32), np.ones(1, np.float32)),
    )


def test_an_input_is_never_written_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photos" / "a.png")
    before = path.read_bytes()
    for out in (path.parent, tmp_path / "photos" / ".." / "photos"):
        code, _, err = run(capsys, model, path, "--out", out)
        assert (code, len(err)) == (2, 1)
        assert "give another --out" in err[0]
    (tmp_path / "link").symlink_to(path.parent)
    assert run(capsys, model, path, "--out", tmp_path / "link")[0] == 2
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_old_output_that_links_elsewhere_is_replaced_not_written_through(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = photo(tmp_path / "photos" / "a.png")
    before = original.read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(original)
    assert run(capsys, model, original, "--out", tmp_path / "out")[0] == 0
    assert original.read_bytes() == before
    assert not (tmp_path / "out" / "a.png").is_symlink()


def test_a_folder_that_cannot_be_made_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    for out in (path, path / "below"):
        code, lines, err = run(capsys, model, path, "--out", out)
        assert (code, lines, len(err)) == (2, [], 1)
        assert "cannot be written" in err[0]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    old = photo(out / "a.png", NOISE).read_bytes()

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png")]
    monkeypatch.setattr(Path, "write_bytes", half)
    code, _, err = run(capsys, model, *paths, "--out", out)
    assert (code, len(err)) == (2, 1)
    assert "a.png: cannot be written (No space left on device)" in err[0]
    assert [path.name for path in out.iterdir()] == ["a.png"]
    assert (out / "a.png").read_bytes() == old
