"""Names of tensors as training scripts write them: prefixes, keys, averages, several at once."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from strangers import (
    AVERAGED,
    OTHERS,
    PLAIN_WEIGHTS,
    Small,
    assert_same,
    load,
    refusal,
    saved,
    under,
)
from tiny import Convolutions
from torch import nn

from toolchain import cli
from toolchain.models.choosing import PLAIN, Choice

# Prefixes and wrappers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "lit.student.body_."]
)
def test_a_common_prefix_is_taken_off_and_told(tmp_path: Path, prefix: str) -> None:
    found, notes = load(saved(tmp_path, under(prefix, PLAIN_WEIGHTS)))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == (f"Took the tensors of w.pth, without the prefix {prefix!r}.",)


def test_a_plain_state_dict_needs_no_words(tmp_path: Path) -> None:
    found, notes = load(saved(tmp_path, PLAIN_WEIGHTS))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == ()


KEYS = [
    "state_dict", "model_state_dict", "model", "net", "params", "weights", "generator", "network",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_state_dict_is_found_under_any_key(tmp_path: Path, key: str) -> None:
    content = {"epoch": 3, "acc": 93.1, key: PLAIN_WEIGHTS, "history": [0.5, 0.25], "note": None}
    found, notes = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == (f"Took {key!r} of w.pth.",)


def test_a_state_dict_two_keys_deep(tmp_path: Path) -> None:
    content = {"checkpoint": {"model": under("module.", PLAIN_WEIGHTS), "step": 4}}
    found, notes = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == ("Took 'checkpoint.model' of w.pth, without the prefix 'module.'.",)


def test_what_lightning_writes(tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict(under("model.", PLAIN_WEIGHTS) | {"loss.weight": torch.ones(4)}),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
    }
    found, notes = load(saved(tmp_path, content, "lit.ckpt"))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == (
        "Took 'state_dict' of lit.ckpt, without the prefix 'model.'.",
        "Left out of lit.ckpt: 1 tensor beside these (loss.weight).",
    )


def test_parameters_in_an_optimiser_are_no_second_choice(tmp_path: Path) -> None:
    state = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(8)}}
    adam = {"state": state, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {"model": PLAIN_WEIGHTS, "optimizer": {"params": OTHERS}, "adam": adam}
    found, _ = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)


@pytest.mark.parametrize("part", ["module", "_orig_mod", "_fsdp_wrapped_module"])
def test_parts_of_wrapped_modules_are_taken_out_of_names(tmp_path: Path, part: str) -> None:
    content = {name.replace("body.", f"body.{part}."): t for name, t in PLAIN_WEIGHTS.items()}
    found, notes = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == ("Took the tensors of w.pth, without what wrappers put into the names.",)


class Wrapped(nn.Module):
    """A network that has the other inside."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Small()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_prefix_of_the_networks_own_is_put_before(tmp_path: Path, prefix: str) -> None:
    found, notes = load(saved(tmp_path, under(prefix, PLAIN_WEIGHTS)), network=Wrapped())
    assert_same(found, under("model.", PLAIN_WEIGHTS))
    taken = f", without the prefix {prefix!r}" if prefix else ""
    assert notes == (f"Took the tensors of w.pth{taken}, with 'model.' before each name.",)


def test_a_prefix_in_safetensors_too(tmp_path: Path) -> None:
    save_file(under("model.", PLAIN_WEIGHTS), tmp_path / "w.safetensors")
    found, notes = load(tmp_path / "w.safetensors")
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == ("Took the tensors of w.safetensors, without the prefix 'model.'.",)


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(PLAIN_WEIGHTS, tmp_path / "pytorch_model.bin")
    found, _ = load(tmp_path / "pytorch_model.bin")
    assert_same(found, PLAIN_WEIGHTS)


# Averaged weights, and several state dicts --------------------------------------------------------

EMA_KEYS = ["ema", "ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "netEMA", "swa"]


@pytest.mark.parametrize("key", EMA_KEYS)
def test_plain_weights_are_taken_unless_ema_is_asked(tmp_path: Path, key: str) -> None:
    path = saved(tmp_path, {key: AVERAGED, "model": PLAIN_WEIGHTS})
    found, notes = load(path)
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == (
        "Took 'model' of w.pth.",
        f"w.pth holds averaged (EMA) weights too ({key!r}), which were not taken; --ema takes "
        f"them.",
    )
    found, notes = load(path, Choice(ema=True))
    assert_same(found, AVERAGED)
    assert notes == (
        f"Took {key!r} of w.pth.",
        "These are the averaged (EMA) weights of w.pth; the plain ones are 'model'.",
    )


@pytest.mark.parametrize("choice", [PLAIN, Choice(ema=True)])
def test_averaged_weights_alone_are_taken_and_told(tmp_path: Path, choice: Choice) -> None:
    content = {"epoch": 3, "ema": {"module": under("module.", AVERAGED), "updates": 20}}
    found, notes = load(saved(tmp_path, content), choice)
    assert_same(found, AVERAGED)
    assert notes == (
        "Took 'ema.module' of w.pth, without the prefix 'module.'.",
        "These are the averaged (EMA) weights of w.pth; it holds no others that fit.",
    )


def test_ema_on_a_file_without_is_refused_with_what_is_there(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"state_dict": PLAIN_WEIGHTS}), Choice(ema=True))
    assert message == (
        "w.pth has no averaged (EMA) weights for --ema to take; it has 'state_dict'; leave out "
        "--ema, or name one of them by --ckpt-key"
    )


def test_averages_of_parameters_alone_do_not_fit(tmp_path: Path) -> None:
    shadow = {name: t for name, t in AVERAGED.items() if name in dict(Small().named_parameters())}
    path = saved(tmp_path, {"model": PLAIN_WEIGHTS, "ema": shadow})
    found, notes = load(path)
    assert_same(found, PLAIN_WEIGHTS)
    assert notes[1:] == ("w.pth holds averaged (EMA) weights too ('ema'), which do not fit.",)
    message = refusal(path, Choice(ema=True))
    assert "'ema': 2 tensors missing (body.1.running_mean, body.1.running_var)" in message


def test_what_torch_itself_averages(tmp_path: Path) -> None:
    network = Small()
    network.load_state_dict(AVERAGED)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    assert "n_averaged" in averaged.state_dict()
    found, notes = load(saved(tmp_path, {"ema": averaged.state_dict(), "net": PLAIN_WEIGHTS}))
    assert_same(found, PLAIN_WEIGHTS)
    found, notes = load(tmp_path / "w.pth", Choice(ema=True))
    assert_same(found, AVERAGED)
    assert notes[0] == "Took 'ema' of w.pth, without the prefix 'module.'."


@pytest.mark.parametrize("plain", ["", "model."])
def test_averages_inside_the_state_dict_itself(tmp_path: Path, plain: str) -> None:
    content = {"state_dict": under(plain, PLAIN_WEIGHTS) | under("ema.module.", AVERAGED)}
    path = saved(tmp_path, content)
    found, notes = load(path)
    assert_same(found, PLAIN_WEIGHTS)
    assert "averaged (EMA) weights too ('state_dict.ema.module')" in notes[-1]
    found, _ = load(path, Choice(ema=True))
    assert_same(found, AVERAGED)


def test_two_that_fit_and_differ_are_refused_with_the_choices(tmp_path: Path) -> None:
    path = saved(tmp_path, {"student": PLAIN_WEIGHTS, "teacher": OTHERS, "ema": AVERAGED})
    assert refusal(path) == (
        "w.pth holds 2 state dicts that fit mine:Small and differ: 'student', 'teacher'; choose "
        "one by --ckpt-key NAME"
    )
    for key, state in (("student", PLAIN_WEIGHTS), ("teacher", OTHERS), ("ema", AVERAGED)):
        found, notes = load(path, Choice(key=key))
        assert_same(found, state)
        assert notes[0] == f"Took {key!r} of w.pth."


def test_two_prefixes_that_fit_are_chosen_by_name(tmp_path: Path) -> None:
    content = {"state_dict": under("student.", PLAIN_WEIGHTS) | under("teacher.", OTHERS)}
    path = saved(tmp_path, content)
    assert "'state_dict.student', 'state_dict.teacher'; choose one" in refusal(path)
    found, notes = load(path, Choice(key="state_dict.teacher"))
    assert_same(found, OTHERS)
    assert "Left out of w.pth: 8 tensors beside these (student.body.0.weight, " in notes[1]


def test_the_same_twice_is_no_question(tmp_path: Path) -> None:
    copies = {name: tensor.clone() for name, tensor in PLAIN_WEIGHTS.items()}
    found, _ = load(saved(tmp_path, {"model": PLAIN_WEIGHTS, "best": copies}))
    assert_same(found, PLAIN_WEIGHTS)


def test_tensors_that_cannot_be_compared_are_no_error(tmp_path: Path) -> None:
    sparse = PLAIN_WEIGHTS | {"head.bias": torch.ones(4).to_sparse()}
    path = saved(tmp_path, {"a": sparse, "b": sparse})
    assert "2 state dicts that fit mine:Small and differ" in refusal(path)
    assert "head.bias must be a dense tensor" in refusal(path, Choice(key="a"))


def test_only_what_fits_is_taken(tmp_path: Path) -> None:
    content = {"discriminator": {"0.weight": torch.ones(3, 3)}, "generator": PLAIN_WEIGHTS}
    found, notes = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)
    assert notes == ("Took 'generator' of w.pth.",)


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path, {"a": PLAIN_WEIGHTS, "b": OTHERS}), Choice(key="c"))
    assert message == "w.pth has no state dict 'c' (--ckpt-key); it has 'a', 'b'"


# At the command line ------------------------------------------------------------------------------


@pytest.fixture
def two_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plain weights, and averaged ones whose first three filters are zero."""
    monkeypatch.chdir(Path(__file__).parent)
    network = Convolutions()
    plain = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        network.inner.weight[:3] = 0
        assert network.inner.bias is not None
        network.inner.bias[:3] = 0
    return saved(tmp_path, {"state_dict": plain, "state_dict_ema": network.state_dict()})


def inspected(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    arguments = ["inspect", str(path), "--model", "tiny:Convolutions", "--size", "64x64"]
    assert cli.run([*arguments, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_inspect_takes_what_was_asked_and_says_so(
    two_kinds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = inspected(two_kinds, capsys)
    assert plain["nonzero_parameters"] == plain["parameters"]
    assert "--ema takes them" in plain["notes"][1]
    for options in (["--ema"], ["--ckpt-key", "state_dict_ema"]):
        averaged = inspected(two_kinds, capsys, *options)
        assert averaged["parameters"] - averaged["nonzero_parameters"] == 3 * (16 * 9 + 1)
        assert averaged["notes"][0] == "Took 'state_dict_ema' of w.pth."
    arguments = ["inspect", str(two_kinds), "--model", "tiny:Convolutions", "--size", "64x64"]
    assert cli.run([*arguments, "--ema"]) == 0
    assert "These are the averaged (EMA) weights of w.pth" in capsys.readouterr().out


@pytest.mark.slow
def test_shrink_takes_what_was_asked_and_reports_it(
    two_kinds: Path, quick_latency: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = two_kinds.parent / "out"
    arguments = ["shrink", "tiny:Convolutions", "--ckpt", str(two_kinds), "--size", "64x64"]
    assert cli.run([*arguments, "--ema", "--formats", "onnx", "--out", str(out)]) == 0
    assert "Took 'state_dict_ema' of w.pth." in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["notes"][0] == "Took 'state_dict_ema' of w.pth."
    before, after = report["deployed_parameters"]["before"], report["deployed_parameters"]["after"]
    assert before - after == 3 * (16 * 9 + 1 + 16 * 9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["shrink", "tiny:Convolutions", "--size", "32x48", "--ema"],
            "among the weights of a file; give --ckpt",
        ),
        (
            ["shrink", "eresfd", "--ckpt-key", "a"],
            "among the weights of a file; give --ckpt",
        ),
        (["plan", "eresfd", "--parameters", "52k", "--ema"], "give --ckpt"),
        (["inspect", "w.pth", "--ema", "--ckpt-key", "a"], "--ema and --ckpt-key both choose"),
        (["cost", "eresfd", "--ema", "--ckpt-key", "a"], "--ema and --ckpt-key both choose"),
    ],
)
def test_a_choice_of_nothing_is_refused(
    arguments: list[str], words: str, two_kinds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([str(two_kinds) if each == "w.pth" else each for each in arguments]) == 2
    assert words in capsys.readouterr().err
