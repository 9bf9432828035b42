"""The gate: comparing is pure, baselines are safe, and a real model passes or is stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from toolchain.arm.sysroot import Sysroot, prepare
from toolchain.arm.targets import find_target
from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.gate.baselines import locked, parse, read_baseline, to_json, write_baseline
from toolchain.gate.comparing import accepted_of, compare, difference, let_through
from toolchain.gate.history import read_history
from toolchain.gate.metrics import KINDS, kind_of
from toolchain.gate.times import LOOKS, decide
from toolchain.recipe import GateSection, Limit
from toolchain.report.gate.history import history_html
from toolchain.report.gate.junit import gate_junit
from toolchain.report.gate.markdown import gate_markdown
from toolchain.report.gate.page import gate_html
from toolchain.timings import OperatorCount, OutputSample
from toolchain.verdicts import Accepted, FileRecord, Record

CACHE = ROOT / ".cache" / "arm"
LIMITS = GateSection()
BOXES = ((1.0, 2.0, 11.0, 12.0), (50.0, 50.0, 80.0, 90.0))


def sample(shift: float = 0.0, boxes: object = BOXES) -> OutputSample:
    return OutputSample("photo a.png", (0.0 + shift, 1.0, 2.0), 0.0, 2.0, boxes)  # type: ignore[arg-type]


def file_record(**changes: object) -> FileRecord:
    operators = (OperatorCount("a", "Conv", 900_000), OperatorCount("b", "Add", 100_000))
    return dataclasses.replace(FileRecord("ab", operators, (sample(),)), **changes)


def record(**metrics: float) -> Record:
    """A record of one file; ``metrics`` change its figures, with _ for /."""
    figures = {
        "model.onnx/instructions": 1_000_000,
        "model.onnx/multiply_adds": 400_000,
        "model.onnx/operators/Conv": 3,
        "model.onnx/size_bytes": 10_000,
        "model.onnx/peak_memory_bytes": 60_000_000,
        "model.onnx/parity/board": 0.01,
        "network/parameters": 1_000,
        "network/average_precision/easy": 0.8,
    }
    for name, value in metrics.items():
        (key,) = [key for key in figures if key.split("/", 1)[1].replace("/", "_") == name]
        figures[key] = value
    return Record(
        "small", "eresfd", "rpi4", {"board": "rpi4", "runtime of model.onnx": "onnxruntime 1"},
        figures, {"conv1": 8}, {"torch": "2"}, {"model.onnx": file_record()}, LIMITS, (), (),
    )  # fmt: skip


def with_file(found: Record, **changes: object) -> Record:
    return dataclasses.replace(found, files={"model.onnx": file_record(**changes)})


# Comparing ----------------------------------------------------------------------------------------


def test_a_model_against_itself_is_the_same() -> None:
    verdict = compare(record(), record(), LIMITS)
    assert verdict.passed
    assert not verdict.improved
    assert {row.status for row in verdict.rows} == {"same"}
    # Every figure, the operators' number, and how far outputs and boxes are from the baseline's.
    assert len(verdict.rows) == 10
    assert verdict.reasons.operators == ()


@pytest.mark.parametrize(
    ("name", "worse", "within", "better"),
    [
        ("instructions", 1_006_000, 1_004_000, 990_000),
        ("multiply_adds", 404_000, 401_000, 300_000),
        ("operators_Conv", 4, 3, 2),
        ("size_bytes", 10_200, 10_050, 9_000),
        ("peak_memory_bytes", 64_000_000, 62_000_000, 50_000_000),
        ("parity_board", 0.2, 0.1, None),
        ("parameters", 1_001, 1_000, 999),
        ("average_precision_easy", 0.798, 0.7995, 0.81),
    ],
)
def test_each_figure_has_its_limit(
    name: str, worse: float, within: float, better: float | None
) -> None:
    for figure, status in ((worse, "worse"), (within, "same"), (better, "better")):
        if figure is None:
            continue
        verdict = compare(record(), record(**{name: figure}), LIMITS)
        moved = [row for row in verdict.rows if row.status != "same"]
        assert [row.status for row in moved] == ([] if status == "same" else [status])
        assert verdict.passed == (status != "worse")
        assert verdict.improved == (status == "better")


@given(st.sampled_from(["instructions", "size_bytes", "parameters"]), st.floats(1, 3))
def test_worse_stays_worse(name: str, factor: float) -> None:
    """What is stopped is stopped, too, if it gets even worse."""
    base = record()
    (metric,) = [key for key in base.metrics if key.endswith(name)]
    figure = base.metrics[metric] * factor
    once = compare(base, record(**{name: figure}), LIMITS)
    twice = compare(base, record(**{name: figure * 1.01}), LIMITS)
    assert once.passed or not twice.passed


@given(st.permutations(sorted(record().metrics)))
def test_the_order_of_figures_does_not_matter(order: list[str]) -> None:
    base = record(instructions=2_000_000)
    mixed = dataclasses.replace(base, metrics={name: base.metrics[name] for name in order})
    assert compare(record(), mixed, LIMITS) == compare(record(), base, LIMITS)
    assert to_json(mixed) == to_json(base)


@given(st.floats(0, 0.5), st.floats(0, 1e6))
def test_the_larger_limit_holds(relative: float, absolute: float) -> None:
    limits = dataclasses.replace(LIMITS, instructions=Limit(relative, absolute))
    rows = compare(record(), record(instructions=1_300_000), limits).rows
    (row,) = [row for row in rows if row.metric == "model.onnx/instructions"]
    assert row.allowed == max(relative * 1_000_000, absolute)
    assert (row.status == "worse") == (row.allowed < 300_000)


def test_other_outputs_and_boxes_are_seen() -> None:
    moved = with_file(record(), outputs=(sample(0.001),))
    (worse,) = [row for row in compare(record(), moved, LIMITS).rows if row.status == "worse"]
    assert (worse.metric, worse.after) == ("model.onnx/outputs", pytest.approx(0.0005))
    lost = with_file(record(), outputs=(sample(boxes=BOXES[:1]),))
    (worse,) = [row for row in compare(record(), lost, LIMITS).rows if row.status == "worse"]
    assert (worse.metric, worse.after) == ("model.onnx/boxes", 0.5)


def test_outputs_of_another_shape_differ_wholly() -> None:
    short = dataclasses.replace(sample(), values=(1.0,))
    assert difference(sample(), short) == 1.0
    assert difference(sample(), dataclasses.replace(sample(), high=float("inf"))) == 1.0


def test_what_cannot_be_compared_is_named() -> None:
    base = record()
    other = dataclasses.replace(
        base, model="extd", conditions={"board": "rpi5", "runtime of model.onnx": "onnxruntime 1"}
    )
    with pytest.raises(InputError, match=r"is of eresfd, the candidate of extd; board was rpi4"):
        compare(base, other, LIMITS)
    with pytest.raises(InputError, match=r"the candidate has no model.onnx$"):
        compare(base, dataclasses.replace(base, files={}), LIMITS)
    fewer = {name: value for name, value in base.metrics.items() if "average" not in name}
    with pytest.raises(InputError, match=r"no network/average_precision/easy \(give --data\)"):
        compare(base, dataclasses.replace(base, metrics=fewer), LIMITS)
    with pytest.raises(InputError, match=r"the baseline saw photo a.png.*by --photo"):
        compare(base, with_file(base, outputs=()), LIMITS)


def test_a_file_that_the_baseline_lacks_is_told() -> None:
    more = dataclasses.replace(
        record(), files={"model.onnx": file_record(), "model.tflite": file_record()},
        metrics=record().metrics | {"model.tflite/instructions": 3},
    )  # fmt: skip
    verdict = compare(record(), more, LIMITS)
    assert verdict.passed
    assert "model.tflite is not in the baseline" in verdict.notes[0]
    assert not any("tflite" in row.metric for row in verdict.rows)


def test_reasons_are_joined_by_name_and_type() -> None:
    operators = (OperatorCount("a", "Conv", 990_000), OperatorCount("c", "Add", 100_000))
    after = dataclasses.replace(
        with_file(record(instructions=1_090_000), operators=operators),
        widths={"conv1": 9}, versions={"torch": "3"},
        limits=dataclasses.replace(LIMITS, parameters=Limit(relative=1.0)),
    )  # fmt: skip
    found = compare(record(), after, after.limits).reasons
    assert [(each.name, each.before, each.after) for each in found.operators] == [
        ("b", 100_000, 0), ("c", 0, 100_000), ("a", 900_000, 990_000),
    ]  # fmt: skip
    assert found.widths == {"conv1": (8, 9)}
    assert found.versions == {"torch": ("2", "3")}
    same = with_file(record(), operators=operators)
    assert compare(record(), same, LIMITS).reasons.operators == ()  # no more than noise in all
    assert found.limits == ("parameters: from 0.00% or 0 to 100.00% or 0",)


def test_what_got_worse_is_let_through_by_name() -> None:
    verdict = compare(record(), record(instructions=2e6, parameters=2e3), LIMITS)
    passed = let_through(verdict, ["instructions", "network/parameters"], "wider on purpose")
    assert passed.passed
    assert accepted_of(passed) == (
        Accepted("model.onnx/instructions", 1e6, 2e6, "wider on purpose"),
        Accepted("network/parameters", 1e3, 2e3, "wider on purpose"),
    )
    assert not let_through(verdict, ["parameters"], "why").passed
    with pytest.raises(InputError, match="--accept size_bytes: is nothing that got worse"):
        let_through(verdict, ["size_bytes"], "why")


def test_every_kind_has_a_limit_in_the_recipe() -> None:
    fields = {field.name for field in dataclasses.fields(GateSection)}
    assert {kind.limit for kind in KINDS.values()} == fields
    assert kind_of("model.onnx/operators/Conv").starts_at_zero


# Renderings ---------------------------------------------------------------------------------------


def test_four_renderings_say_the_same() -> None:
    bad = dataclasses.replace(record(instructions=2e6), widths={"<b>": 9})
    verdict = let_through(compare(record(), bad, LIMITS), (), "")
    markdown, xml, page = gate_markdown([verdict]), gate_junit([verdict]), gate_html([verdict])
    assert gate_junit([verdict]) == xml
    tree = ElementTree.fromstring(xml)
    suite = tree[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(verdict.rows)), "1")
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert [case.get("name") for case in failed] == ["model.onnx/instructions"]
    for text in (markdown, page):
        assert "REGRESSION in" in text
        assert "2,000,000" in text
        assert "<b>" not in text
    assert "❌" in markdown
    assert "✅" in gate_markdown([compare(record(), record(), LIMITS)])


# Baselines ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("1000000", "1000001"), "was edited by hand"),
        (lambda text: text[:200], "is no JSON, or was cut off"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "has schema 2; .* a newer one"),
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


# Wall-clock ---------------------------------------------------------------------------------------


def blocks_of(ratio: float, noise: float, seed: int) -> object:
    """Blocks of a busy machine: a ratio with noise, and now and then something else running."""
    dice = np.random.default_rng(seed)

    def more(count: int, seconds: float) -> list[float]:
        busy = np.where(dice.random(count) < 0.1, dice.uniform(0.5, 2, count), 1.0)
        return list(ratio * busy * np.exp(noise * dice.standard_normal(count)))

    return more


def test_equal_models_are_not_called_slower() -> None:
    outcomes = [
        decide(blocks_of(1.0, 0.04, seed), 0.03, 60, "", seed).outcome for seed in range(200)
    ]  # type: ignore[arg-type]
    assert outcomes.count("slower") == 0
    assert outcomes.count("not slower") > 150


def test_a_tenth_slower_is_caught() -> None:
    outcomes = [
        decide(blocks_of(1.1, 0.04, seed), 0.03, 60, "", seed).outcome for seed in range(50)
    ]  # type: ignore[arg-type]
    assert outcomes.count("slower") >= 45


def test_a_clear_case_is_decided_at_the_first_look() -> None:
    found = decide(blocks_of(2.0, 0.01, 0), 0.03, 60, "here")  # type: ignore[arg-type]
    assert (found.outcome, found.blocks, found.where) == ("slower", LOOKS[0], "here")
    assert found.low < found.ratio < found.high


def test_a_clock_that_jumps_is_told() -> None:
    with pytest.raises(InputError, match="does the clock jump"):
        decide(lambda count, _seconds: [float("nan"), 0.0, 1e9] * count, 0.03, 60, "")


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
    page = history_html({"small": points})
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


# For real -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ready() -> Sysroot:
    try:
        return prepare(find_target("rpi4"), CACHE, lambda _name: None)
    except InputError as error:
        pytest.skip(f"no emulation here: {error}")


def gate(*words: object) -> int:
    return run_cli(["gate", *map(str, words), "--cache", str(CACHE)])


@pytest.mark.slow
def test_a_folder_passes_its_own_baseline_and_a_change_is_stopped(
    ready: Sysroot, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base.json"
    assert gate(made, "--baseline", base) == 2
    assert "make it by toolchain gate" in capsys.readouterr().err
    assert gate(made, "--baseline", base, "--update", "--keep-model") == 0
    first = base.read_bytes()
    assert gate(made, "--baseline", base, "--update") == 0
    assert base.read_bytes() == first
    assert gate(made, "--baseline", base, "--rebase") == 0
    assert "measured again" in capsys.readouterr().out
    # A baseline with fewer instructions stands for a candidate with more.
    kept = read_baseline(base)
    name = "model.onnx/instructions"
    lower = dataclasses.replace(kept, metrics=kept.metrics | {name: kept.metrics[name] * 0.99})
    write_baseline(base, lower, kept)
    assert gate(made, "--baseline", base) == 1
    assert gate(made, "--baseline", base, "--update") == 1
    assert read_baseline(base) == lower
    assert gate(made, "--baseline", base, "--accept", "instructions") == 2
    assert "belong together" in capsys.readouterr().err
    words = ["--accept", "model.onnx/instructions", "--why", "for a test"]
    assert gate(made, "--baseline", base, *words, "--json") == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["passed"]
    (accepted,) = read_baseline(base).accepted
    assert (accepted.metric, accepted.why) == (name, "for a test")
    assert gate(made, "--baseline", base) == 0
    written = sorted(entry.name for entry in (tmp_path / "out" / "gate").iterdir())
    assert written == ["gate.html", "gate.json", "gate.md", "gate.xml"]
    # Other conditions are no verdict.
    moved = dataclasses.replace(read_baseline(base), conditions=kept.conditions | {"threads": "2"})
    write_baseline(base, moved, read_baseline(base))
    assert gate(made, "--baseline", base) == 2
    assert "threads was 2 and is 1" in capsys.readouterr().err
    assert gate(made, "--baseline", base, "--rebase") == 0


@pytest.mark.slow
def test_bad_candidates_are_told(
    ready: Sysroot, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--baseline", tmp_path / "base.json", "--update", "--out", tmp_path / "out"]
    assert gate(tmp_path / "absent", *base) == 2
    assert "is no folder" in capsys.readouterr().err
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    model = onnx.load(folder / "model.onnx")
    model.producer_name = "somebody else"
    onnx.save(model, folder / "model.onnx")
    assert gate(folder, *base) == 2
    assert "model.onnx: was changed; toolchain verify" in capsys.readouterr().err
    (folder / "model.onnx").unlink()
    assert gate(folder, *base) == 2
    assert "model.onnx: is missing" in capsys.readouterr().err
    (folder / "certificate.json").unlink()
    assert gate(folder, *base) == 2
    assert "give an output folder of toolchain shrink" in capsys.readouterr().err
    assert not (tmp_path / "base.json").exists()
    assert gate("--target", "rpi5", "--baseline", tmp_path) == 2
    assert "has no baselines" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plugin_gates_beside_a_teams_tests(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    assert gate(made, "--baseline", base, "--update", "--out", tmp_path / "out") == 0
    (tmp_path / "test_model.py").write_text(
        f"def test_it(model_gate):\n"
        f"    assert model_gate({str(made)!r}, baseline={str(base)!r}).passed\n"
    )
    words = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio"]
    words += ["--toolchain-cache", str(CACHE)]

    def outcome(*more: str) -> str:
        done = subprocess.run(
            [*words, *more, "test_model.py"], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        return done.stdout

    assert "1 skipped" in outcome()
    assert "1 passed" in outcome("--toolchain-gate")
    kept = read_baseline(base)
    lower = {**kept.metrics, "network/parameters": 1}
    write_baseline(base, dataclasses.replace(kept, metrics=lower), kept)
    text = outcome("--toolchain-gate")
    assert "1 failed" in text
    assert "REGRESSION in network/parameters" in text


# Templates ----------------------------------------------------------------------------------------


def github_commands() -> tuple[dict[str, str], list[str]]:
    content = yaml.safe_load((ROOT / "deploy" / "ci" / "github.yml").read_text())
    steps = content["jobs"]["gate"]["steps"]
    return content["env"], [step["run"] for step in steps if "run" in step]


def test_both_templates_run_the_same_commands() -> None:
    job = yaml.safe_load((ROOT / "deploy" / "ci" / "gitlab.yml").read_text())["model gate"]
    assert job["artifacts"]["reports"]["junit"] == "out/gate/gate.xml"
    variables, lines = github_commands()
    assert variables.items() <= job["variables"].items()
    words = " ".join(lines).split()
    for line in (*job["before_script"], *job["script"]):
        assert line in " ".join(words)


@pytest.mark.slow
def test_a_template_does_what_it_says(ready: Sysroot, tmp_path: Path) -> None:
    """The commands are run as they stand, but for the installation, which this machine has."""
    variables, lines = github_commands()
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "arm").symlink_to(CACHE)
    small = {"SHRINK": "eresfd --rate 0.5 --size 96x128 --formats onnx"}
    summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    environment = {**os.environ, **variables, **small, **summary}

    def bash(line: str) -> int:
        words = ["bash", "-e", "-c", line]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
        return done.returncode

    installing = [line for line in lines if "pip install" in line]
    making, *rest = [line for line in lines if line not in installing]
    assert installing
    assert bash(making) == 0
    assert bash('.venv/bin/toolchain gate out/model --baseline "$BASELINE" --update') == 0
    for line in rest:
        assert bash(line) == 0, line
    suite = ElementTree.parse(tmp_path / "out" / "gate" / "gate.xml").getroot()[0]
    assert suite.get("failures") == "0"
    assert "passed" in (tmp_path / "summary.md").read_text()
