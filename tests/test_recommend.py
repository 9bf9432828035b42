"""What to put on a board: the table, the wish, what is beaten, and the lines to copy."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from conftest import ROOT

from toolchain import cli
from toolchain.arm.targets import Target, find_target, read_targets
from toolchain.cli.app import app
from toolchain.records.recommendation import (
    Candidate,
    CandidateAccuracy,
    CandidateCost,
    Recommendation,
    Wish,
)
from toolchain.records.timings import Estimate
from toolchain.report.recommendation import rows
from toolchain.workflows.recommending import commands
from toolchain.workflows.recommending.answering import recommend
from toolchain.workflows.recommending.choosing import ahead, beats, choose, judged, nearest, rule_of
from toolchain.workflows.recommending.shipped import shipped_candidates
from toolchain.zoo.reading import members

BOARDS = [board for board in read_targets().values() if "ncnn" in board.runtimes.values()]
NOWHERE = Path("nowhere")


def candidate(
    name: str, ap: float | None, ms: float | None, *, size: int = 320, photos: int = 403
) -> Candidate:
    """A network of one AP at all levels."""
    accuracy = None if ap is None else CandidateAccuracy(ap, ap, ap, "single", photos)
    cost = None
    if ms is not None:
        span = Estimate(0.75 * ms, ms, 1.25 * ms)
        cost = CandidateCost("model_ncnn", "ncnn 1", "estimated", span, round(4e6 * ms), 1000)
    return Candidate(name, "shipped", "eresfd", (size, size), accuracy, 1000, cost, ())


GOOD, MIDDLE, SWIFT = (
    candidate("good", 0.9, 40),
    candidate("middle", 0.8, 20),
    candidate("swift", 0.6, 5),
)
ALL = (GOOD, MIDDLE, SWIFT)


# What beats what ------------------------------------------------------------------------------


def test_one_beats_another_that_is_slower_and_nowhere_better() -> None:
    assert beats(GOOD, candidate("worse", 0.9, 41))
    assert beats(GOOD, candidate("worse", 0.89, 40))
    assert not beats(candidate("slower", 0.95, 41), GOOD)
    assert not beats(candidate("equal", 0.9, 40), GOOD)


def test_a_better_level_saves_a_network_from_being_beaten() -> None:
    hard = replace(GOOD, accuracy=CandidateAccuracy(0.5, 0.5, 0.91, "single", 403))
    assert not beats(GOOD, hard)


@pytest.mark.parametrize(
    "other",
    [
        candidate("unknown AP", None, 90),
        candidate("unknown time", 0.1, None),
        candidate("another size", 0.1, 90, size=480),
        candidate("other photos", 0.1, 90, photos=7),
    ],
    ids=lambda other: other.name,
)
def test_what_cannot_be_compared_is_not_beaten(other: Candidate) -> None:
    assert not beats(GOOD, other)


def test_the_beaten_name_the_most_accurate_that_beats_them() -> None:
    found = judged((*ALL, candidate("worst", 0.5, 50)))
    assert [each.beaten_by for each in found] == [None, None, None, "good"]


# Wishes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        (Wish(), "middle"),  # 40 ms are more than a camera's 33
        (Wish(min_ap=0.7), "middle"),
        (Wish(min_ap=0.85), "good"),
        (Wish(max_ms=10), "swift"),
        (Wish(max_ms=100), "good"),
        (Wish(min_ap=0.7, max_ms=30), "middle"),
        (Wish(min_ap=0.7, max_ms=10), None),
        (Wish(min_ap=0.95), None),
    ],
)
def test_a_wish_chooses(wish: Wish, name: str | None) -> None:
    chosen = choose(ALL, wish)
    assert (None if chosen is None else chosen.name) == name


def test_a_level_of_its_own_may_be_wished() -> None:
    low = replace(SWIFT, accuracy=CandidateAccuracy(0.86, 0.5, 0.2, "single", 403))
    chosen = choose((GOOD, low), Wish(min_ap=0.85, level="easy"))
    assert chosen is not None
    assert chosen.name == "swift"


def test_without_times_the_most_accurate_is_taken_and_without_accuracy_the_fastest() -> None:
    timeless = [candidate("a", 0.5, None), candidate("b", 0.6, None)]
    unmeasured = [candidate("a", None, 3), candidate("b", None, 2)]
    assert [choose(some, Wish()).name for some in (timeless, unmeasured)] == ["b", "b"]  # type: ignore[union-attr]
    assert rule_of(Wish(), timeless).endswith("for no time is known")
    assert rule_of(Wish(), unmeasured).startswith("the fastest")


def test_what_few_were_measured_on_does_not_rank() -> None:
    """A high figure on seven photos is no better network."""
    lucky = candidate("lucky", 0.99, 1, photos=7)
    chosen = choose((*ALL, lucky), Wish())
    assert chosen is not None
    assert chosen.name == "middle"


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        (Wish(min_ap=0.95), "good"),
        (Wish(max_ms=1), "swift"),
        (Wish(min_ap=0.7, max_ms=10), "swift"),
        (Wish(min_ap=0.7, max_ms=1), "swift"),
    ],
)
def test_the_nearest_to_a_wish_that_nothing_meets_is_known(wish: Wish, name: str) -> None:
    found = nearest(ALL, wish)
    assert found is not None
    assert found.name == name


def test_a_peer_stands_beside_and_is_never_taken() -> None:
    peer = replace(candidate("peer", 0.99, 1), kind="peer")
    chosen = choose((*ALL, peer), Wish())
    assert chosen is not None
    assert chosen.name == "middle"
    assert {each.beaten_by for each in judged((*ALL, peer))} == {"peer", None}


def test_a_peer_that_would_come_first_is_told() -> None:
    slow = replace(candidate("peer", 0.99, 500), kind="peer")
    assert ahead((*ALL, slow), Wish()) is None
    assert ahead((*ALL, slow), Wish(max_ms=600)) == slow
    assert ahead(ALL, Wish()) is None
    told = [recommend(["eresfd"], find_target("rpi5"), wish, None, NOWHERE).notes
            for wish in (Wish(), Wish(max_ms=7))]  # fmt: skip
    said = [any("YuNet-n would come first" in note for note in notes) for notes in told]
    assert said == [True, False]


# What ships -----------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.key)
def test_every_shipped_network_has_a_cost_on_every_board_of_ncnn(board: Target) -> None:
    models = ("eresfd", "extd", "yunet")
    found = [c for model in models for c in shipped_candidates(model, board)]
    assert len(found) == sum(len(members(model)) for model in models)
    assert all(each.cost is not None and each.cost.how == "estimated" for each in found)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.key)
def test_peers_were_measured_as_those_that_ship(board: Target) -> None:
    found = recommend(["eresfd"], board, Wish(), None, NOWHERE)
    first, peer = found.candidates[0], found.candidates[-1]
    assert (peer.name, peer.kind) == ("YuNet-n", "peer")
    assert first.accuracy is not None
    assert peer.accuracy is not None
    assert first.accuracy.is_like(peer.accuracy)
    assert peer.cost is not None
    assert peer.cost.how == "counted"


def test_times_are_those_of_the_board() -> None:
    slow, fast = (
        next(shipped_candidates("eresfd", find_target(key))).cost for key in ("rpi-zero2", "rpi5")
    )
    assert slow is not None
    assert fast is not None
    assert slow.milliseconds.mid > 5 * fast.milliseconds.mid
    assert fast.milliseconds.low < fast.milliseconds.mid < fast.milliseconds.high


def test_another_size_is_scaled_by_pixels_and_said_to_be() -> None:
    board = find_target("rpi5")
    (usual, *_), (wide, *_) = (
        list(shipped_candidates("eresfd", board, size)) for size in ((320, 320), (640, 320))
    )
    assert usual.cost is not None
    assert wide.cost is not None
    assert wide.cost.instructions == 2 * (usual.cost.instructions or 0)
    assert wide.cost.how == "scaled"
    notes = recommend(["eresfd"], board, Wish(), (640, 320), NOWHERE).notes
    assert any("scaled by pixels" in note for note in notes)


def test_a_board_without_ncnn_has_no_times_and_says_why() -> None:
    found = recommend(["eresfd"], find_target("rpi4-32"), Wish(), None, NOWHERE)
    assert all(each.cost is None for each in found.candidates)
    assert any("this board runs tflite-runtime" in note for note in found.notes)


@pytest.mark.parametrize("by_make", [True, False])
@pytest.mark.parametrize("key", ["rpi5", "rpi4-32"])
def test_the_lines_to_copy_are_taken_as_they_stand(
    by_make: bool, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is one that make, or the command line, knows."""
    monkeypatch.setattr(commands, "is_made_by_make", lambda: by_make)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    for each in shipped_candidates("eresfd", find_target(key)):
        for line in each.next:
            program, name, *words = shlex.split(line)
            assert program == ("make" if by_make else "toolchain")
            if by_make:
                assert re.search(rf"^{name}:", makefile, re.MULTILINE)
                for word in words:
                    assert re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.MULTILINE)
            else:
                group.commands[name].make_context(name, words)  # type: ignore[attr-defined]


# The table and the command ----------------------------------------------------------------------


@pytest.mark.parametrize("shares", [[], ["--shares"]], ids=["sizes", "shares"])
@pytest.mark.parametrize("key", [board.key for board in BOARDS])
def test_the_table_fits_into_eighty_columns(
    key: str, shares: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["recommend", "--target", key, *shares]) == 0
    printed = capsys.readouterr().out.splitlines()
    table = [line.rstrip() for line in printed if re.match(r"^[*-]? +(eresfd|extd)-", line)]
    assert len(table) == len(members("eresfd")) + len(members("extd"))
    assert max(map(len, table)) <= 80


def test_shares_are_of_the_unpruned_network_and_of_its_plain_export() -> None:
    (whole, *others) = shipped_candidates("eresfd", find_target("rpi4"))
    assert whole.cost is not None
    assert whole.cost.of_unpruned == 1
    assert whole.cost.of_plain == pytest.approx(26.4 / 65.1, abs=1e-3)
    assert all(each.cost and each.cost.of_unpruned for each in others)
    uncounted = next(iter(shipped_candidates("extd", find_target("rpi5")))).cost
    assert uncounted is not None
    assert uncounted.of_plain is None  # EXTD's plain export was not counted on that core


def test_the_one_to_take_is_marked_and_its_lines_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["recommend", "eresfd", "--target", "rpi5", "--min-ap", "easy=0.85"]) == 0
    printed = capsys.readouterr().out
    marked = re.findall(r"^\* (\S+)", printed, re.MULTILINE)
    assert len(marked) == 2  # its row, and what the mark says
    assert f"Next, for {marked[0]}:" in printed
    assert "the fastest of those with Easy AP of at least 0.85" in printed
    assert "estimated" in printed


def test_a_range_that_goes_beyond_the_wish_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for most, told in (("5", True), ("100", False)):
        words = ["recommend", "eresfd", "--target", "rpi5", "--max-ms", most]
        assert cli.run(words) == 0
        assert ("its range goes to" in capsys.readouterr().out) == told


def test_json_holds_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recommend", "eresfd", "--target", "rpi5", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    names = [each["name"] for each in content["candidates"]]
    assert content["chosen"] in names
    first = content["candidates"][0]
    assert first["accuracy"]["mean"] == pytest.approx(0.837, abs=1e-3)
    assert set(first["cost"]) >= {"instructions", "milliseconds", "how", "file", "runtime"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["eresfdd"],
            "is no model that ships (eresfd, extd, yunet) and no output folder",
        ),
        (["eresfdd"], "did you mean 'eresfd'?"),
        (["--target", "rpi55"], "did you mean 'rpi5'?"),
        (["."], "is no output folder of toolchain shrink, for it has no certificate.json"),
        (["--min-ap", "85"], "85 % is 0.85"),
        (["--min-ap", "eazy=0.5"], "did you mean 'easy'?"),
        (["--size", "5x5"], "must have sides >= 32"),
        (["--size", "big"], "--size must be HEIGHTxWIDTH"),
    ],
)
def test_bad_words_are_told_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["recommend", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min-ap", "0.85"], "nearest is eresfd-0 with mean AP 0.837"),
        (["--min-ap", "0.87"], "extd-0 would do"),
        (["--min-ap", "0.85"], "(--min-ap easy=0.85)"),
        (["--max-ms", "1"], "toolchain plan eresfd --target rpi5 --latency 1ms"),
        (["--max-ms", "2"], "a smaller input would do, about 192x192"),
        (["--target", "rpi4-32", "--max-ms", "9"], "what they take there is not known"),
    ],
)
def test_a_wish_that_nothing_meets_says_what_would_and_ends_with_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["recommend", "eresfd", "--target", "rpi5", *words]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_wish_that_nothing_meets_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recommend", "eresfd", "--max-ms", "0.1", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["code"] == 1
    assert "a time of at most 0.1 ms" in content["error"]


def test_what_is_not_known_has_a_question_mark() -> None:
    found = Recommendation(
        "rpi5", "Pi", "core", 10**9, Wish(), "", (candidate("x", None, None),), None, ()
    )
    ((mark, name, *cells, parameters),) = rows(found)
    assert (mark, name, set(cells), parameters) == ("", "x", {"?"}, "1,000")
