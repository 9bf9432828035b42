"""What a training is given and cannot use: told in one line, or left out and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from widerface import make_wider

from toolchain import cli
from toolchain.errors import DataError, InputError
from toolchain.models.registry import build
from toolchain.recipe import PruneSection, default_recipe, override
from toolchain.train.filters import check_rate
from toolchain.train.photos import Photo, prepare_photos
from toolchain.train.training import train

TEACHER = str(ROOT / "toolchain" / "zoo" / "eresfd-0.safetensors")
SHORT = "--threads 1 --sample 0 --epochs 1 --set train.hold_epochs=0 --set crops.side=96".split()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_wider(tmp_path / "wider", 1, train=3)


def told(data: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a training of few steps; return its exit code and what it said, a line each."""
    command = ["train", "eresfd", "--data", str(data), *SHORT, "--batch", "2"]
    command += ["--cache", str(data / "cache"), "--out", str(data / "out"), *arguments]
    code = cli.run(command)
    return code, capsys.readouterr().err


def list_of(data: Path) -> Path:
    return data / "wider_face_split" / "wider_face_train_bbx_gt.txt"


def photos_of(data: Path) -> list[Path]:
    return sorted((data / "WIDER_train").rglob("*.jpg"))


def _no_photo(data: Path) -> None:
    for photo in photos_of(data):
        photo.unlink()


def _no_good_photo(data: Path) -> None:
    for photo in photos_of(data):
        photo.write_bytes(b"")


def _not_a_number(data: Path) -> None:
    lines = list_of(data).read_text().splitlines()
    lines[2] = "nan " + lines[2].split(" ", 1)[1]
    list_of(data).write_text("\n".join(lines) + "\n")


def _other_network(data: Path) -> None:
    torch.save(build("extd").state_dict(), data / "extd.pth")


def _half_a_file(data: Path) -> None:
    whole = Path(TEACHER).read_bytes()
    (data / "half.safetensors").write_bytes(whole[: len(whole) // 2])


def _nothing(data: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (_no_photo, "", "holds none of the 3 photos that the lists name"),
        (_no_good_photo, "", "no photo to train on: none of those listed can be read"),
        (_not_a_number, "", "bbx_gt.txt, line 3: expected 4 to 10 finite numbers"),
        (_other_network, "--teacher {data}/extd.pth --images 100", "extd"),
        (_other_network, "--from {data}/extd.pth", "extd"),
        (_half_a_file, "--from {data}/half.safetensors", "half.safetensors"),
        (_nothing, "--from {data}/absent.pth", "absent.pth"),
        (_nothing, "--rate 0.97 --align 1", "leaves 1 of 8 filters in"),
        (_nothing, "--rate 1", "rate must be >= 0 and < 1"),
        (_nothing, "--batch 1", "batch norm cannot learn from one crop of 96 pixels"),
        (_nothing, "--set crops.side=1", "crops.side must be"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    spoil: Callable[[Path], None],
    arguments: str,
    words: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(data)
    code, said = told(data, arguments.format(data=data).split(), capsys)
    assert code == 2
    assert len(said.splitlines()) == 1, said
    assert words in said
    assert not (data / "out").exists()


def test_a_broken_photo_and_odd_faces_are_left_out_and_said(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A face outside of its photo counts as left out; one of no size is flagged by the list."""
    text = list_of(data).read_text()
    count, first = text.splitlines()[1:3]
    odd = ["9000 9000 30 30 0 0 0 0 0 0", "10 10 0 30 0 0 0 0 0 0"]
    new = "\n".join([str(int(count) + 2), *odd, first])
    list_of(data).write_text(text.replace(f"{count}\n{first}", new, 1))
    broken = photos_of(data)[-1]
    broken.write_bytes(broken.read_bytes()[:2000])
    code, said = told(data, [], capsys)
    assert code == 0
    assert f"left out: {broken.parent.name}/{broken.stem} (is cut off" in said
    assert "1 faces of no size or outside their photo" in said
    assert "2 photos" in (data / "out" / "train.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--teacher", TEACHER, "--images", "100"]])
def test_a_loss_that_runs_away_in_a_short_run_stops_it(
    arguments: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three steps, each a figure of its own; and fifty with a teacher."""
    rates = "--set train.learning_rate=1e4 --set teach.local_rate=1e4 --epochs 3".split()
    code, said = told(data, [*rates, *arguments], capsys)
    assert code == 1
    last = said.splitlines()[-1]
    assert "the loss is" in last
    assert "train with a lower learning rate" in last
    assert not (data / "out" / "model.safetensors").exists()


def test_weights_that_are_no_numbers_are_not_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss that made them was finite, and so is told nowhere else."""
    from toolchain.data.wider import read_split
    from toolchain.errors import ProofError
    from toolchain.models.reading import read_pickle
    from toolchain.train.job import TrainingJob
    from toolchain.train.labels import LabelCourse

    def take(self: LabelCourse, step: int, batch: object) -> float:
        if step == 1:
            with torch.no_grad():
                next(self.student.parameters()).mul_(float("nan"))
        return 1.0

    monkeypatch.setattr(LabelCourse, "take", take)
    values = {"train.epochs": 1, "train.hold_epochs": 0, "train.batch": 1, "crops.side": 192}
    recipe = override(default_recipe("eresfd"), values)
    job = TrainingJob(recipe, data / "out", data / "cache", keep_every_seconds=0.0)
    with pytest.raises(ProofError, match=r"is not finite after step 2; .* of step 1, is kept"):
        train(job, read_split(data, "train"), None, lambda *_: None, lambda *_: None)
    assert read_pickle(data / "out" / "state.pt")["step"] == 1


@pytest.mark.parametrize(
    ("model", "rate", "fits"),
    [("eresfd", 0.87, True), ("eresfd", 0.875, False), ("extd", 0.97, True), ("extd", 0.99, False)],
)
def test_a_rate_must_leave_two_filters_of_many(model: str, rate: float, fits: bool) -> None:
    """Of 8 in EResFD floor(0.875 * 8) = 7 go, of 64 in EXTD floor(0.99 * 64) = 63."""
    example = torch.zeros(1, 3, 128, 128)
    if fits:
        check_rate(build(model), example, PruneSection(rate=rate))
    else:
        with pytest.raises(InputError, match=r"leaves 1 of (8|64) filters in .*; use a rate below"):
            check_rate(build(model), example, PruneSection(rate=rate))


def test_a_photo_that_vanishes_is_found_or_told(data: Path) -> None:
    from toolchain.data.wider import read_split

    split = read_split(data, "train")
    photos = prepare_photos(split, data / "cache", on_photo=lambda *_: None).photos
    before = photos[0].pixels(1024).copy()
    assert photos[0].cached is not None
    photos[0].cached.unlink()
    assert (photos[0].pixels(1024) == before).all()
    gone = Photo("gone", data / "gone.jpg", None, photos[0].faces)
    with pytest.raises(DataError, match=r"gone.jpg: cannot be read .*when the training began"):
        gone.pixels(1024)
