"""Baselines are safe files, and their history is read from git or from copies."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from gate_records import LIMITS, record

from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.gate.baselines import (
    locked,
    parse,
    read_baseline,
    to_json,
    with_accepted,
    write_baseline,
)
from toolchain.gate.comparing import accepted_of, compare, let_through
from toolchain.gate.history import read_history
from toolchain.report.document.html import html
from toolchain.report.gate.history import history_document


def test_a_baseline_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.json"
    write_baseline(path, record(), None)
    assert read_baseline(path) == record()
    text = path.read_text()
    assert to_json(read_baseline(path)).decode() == text
    assert '  "metrics": {\n    "model.onnx/instructions": 1000000,\n' in text
    moved = record(instructions=999_999)
    write_baseline(path, moved, record())
    lines = set(path.read_text().splitlines()) ^ set(text.splitlines())
    assert len(lines) == 4  # the figure and the hash, before and after
    assert [entry.name for entry in path.parent.iterdir()] == ["small.json"]


def test_an_accepted_count_reads_back_to_the_same_bytes(tmp_path: Path) -> None:
    """A count is an integer where it is measured, and a float where it is read."""
    name = "model.onnx/instructions"
    old = dataclasses.replace(record(), metrics={**record().metrics, name: 1_000_000})
    new = dataclasses.replace(record(), metrics={**record().metrics, name: 2_000_000})
    verdict = let_through(compare(old, new, LIMITS), [name], "wider on purpose")
    written = with_accepted(old, new, accepted_of(verdict))
    write_baseline(tmp_path / "a.json", written, None)
    read = read_baseline(tmp_path / "a.json")
    assert (read.accepted[0].before, read.accepted[0].after) == (1e6, 2e6)
    assert to_json(read) == (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("1000000", "1000001"), "was edited by hand"),
        (lambda text: text[:200], "is no JSON, or was cut off"),
        (lambda text: text.replace('"schema": 2', '"schema": 3'), "has schema 3; .* a newer one"),
        (lambda text: text.replace('"schema": 2', '"schema": 1'), "is of an older toolchain"),
        (lambda text: "[]", "is no baseline"),
        (lambda text: "{}", "is no baseline"),
        (lambda text: "[" * 100_000, "is no JSON"),
    ],
)
def test_a_broken_baseline_is_told(change: object, message: str, tmp_path: Path) -> None:
    text = change(to_json(record()).decode())  # type: ignore[operator]
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_baseline(tmp_path / "a.json")


def test_a_strange_metric_is_told() -> None:
    strange = dataclasses.replace(record(), metrics={"model.onnx/wings": 2})
    with pytest.raises(InputError, match=r"model\.onnx/wings is no metric"):
        parse(to_json(strange), "a.json")
    with pytest.raises(InputError, match=r"is no baseline that .* knows .*files"):
        parse(to_json(dataclasses.replace(record(), files={"a": 3})), "a.json")  # type: ignore[dict-item]


def test_an_absent_baseline_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"make it by toolchain gate FOLDER --baseline .* --update"
    ):
        read_baseline(tmp_path / "a.json")


def test_two_gates_do_not_write_one_baseline(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with locked(path), pytest.raises(InputError, match="another gate is writing it"):
        write_baseline(path, record(), None)
    write_baseline(path, record(), None)
    with pytest.raises(InputError, match="was changed while the gate ran"):
        write_baseline(path, record(parameters=3), record(parameters=2))
    assert read_baseline(path) == record()


# History ------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_history_is_read_from_commits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "baselines" / "small.json"
    git(tmp_path, "init", "-q")
    last = None
    for count in (1_000_000, 990_000, 2_000_000):
        write_baseline(path, record(instructions=count), last)
        last = record(instructions=count)
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", f"<{count}> instructions")
    write_baseline(path, record(), last)
    (points,) = read_history(tmp_path / "baselines").values()
    assert [point.record.metrics["model.onnx/instructions"] for point in points] == [
        1_000_000, 990_000, 2_000_000, 1_000_000,
    ]  # fmt: skip
    assert points[-1].subject == "not committed"
    worse = [[row.metric for row in point.rows if row.status == "worse"] for point in points]
    assert worse == [[], [], ["model.onnx/instructions"], []]
    page = html(history_document({"small": points}))
    assert "Worse: model.onnx/instructions." in page
    assert "<2000000>" not in page
    assert run_cli(["history", str(path), "--out", str(tmp_path / "h.html")]) == 0
    assert "4 versions, 1 figures got worse" in capsys.readouterr().out
    assert (tmp_path / "h.html").stat().st_size > 1000


def test_history_is_read_from_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("1.json", 5), ("2.json", 6)):
        write_baseline(tmp_path / name, record(parameters=count), None)
    (points,) = read_history(tmp_path).values()
    assert [point.commit for point in points] == ["1.json", "2.json"]
    assert run_cli(["history", str(tmp_path / "absent")]) == 2
    assert "is not there" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run_cli(["history", str(tmp_path / "empty")]) == 2
    assert "has no baseline" in capsys.readouterr().err


# The project's own --------------------------------------------------------------------------------


def test_the_shipped_baselines_can_be_read() -> None:
    found = sorted((ROOT / "recipes" / "baselines").rglob("*.json"))
    assert len(found) >= 2
    for path in found:
        kept = read_baseline(path)
        assert (kept.name, kept.target) == (path.stem, path.parent.name)
        assert kept.made
        assert to_json(kept) == path.read_bytes()
