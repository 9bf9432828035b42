"""What a teacher is given, and whether what it says can be learnt from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from teaching import Residual, images, trained
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError
from toolchain.models.arguments import Arguments
from toolchain.recovery import teaching
from toolchain.recovery.fed import demand_fed_alike
from toolchain.recovery.feeding import LoaderFeed
from toolchain.recovery.norms import average_batch_norm
from toolchain.recovery.teaching import look_at

EXAMPLE = torch.zeros(1, 3, 16, 16)
CPU = torch.device("cpu")


def feed_of(given: object, example: Tensor = EXAMPLE, kept_out: object = None) -> LoaderFeed:
    return LoaderFeed(given, Arguments((example,)), CPU, kept_out)


def test_of_what_can_be_counted_a_tenth_is_kept_out_and_never_learnt_from() -> None:
    numbered = [torch.full((2, 3, 4, 4), float(number)) for number in range(20)]
    feed = feed_of(numbered, torch.zeros(1, 3, 4, 4))
    out = {float(batch.inputs[0][0].max()) for batch in feed.kept_out}
    seen = [float(batch.inputs[0][0].max()) for batch in feed.batches(0, 40)]
    assert len(out) == 2
    assert not out & set(seen)
    assert seen == [*range(2, 20), *range(2, 20), 2, 3, 4, 5]
    assert not feed.notes


def test_a_loaders_labels_are_for_the_users_own_loss_alone() -> None:
    labelled = [(torch.zeros(2, 3, 4, 4), torch.tensor([1, 2]))] * 3
    feed = feed_of(labelled, torch.zeros(1, 3, 4, 4))
    (batch,) = feed.batches(0, 1)
    assert len(batch.inputs[0]) == 1
    assert batch.whole[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "single batch|nothing to learn"),
        ([torch.zeros(1, 3, 16, 16)], "single batch"),
        (torch.zeros(3, 16, 16), "must be a DataLoader"),
        ("photos", "must be a DataLoader"),
        ([torch.zeros(2, 1, 16, 16)] * 2, "channels, must be the same"),
        ([torch.zeros(2, 3, 16, 16, dtype=torch.uint8)] * 2, "after its preprocessing"),
        ([{"image": 3}] * 2, "got a dict|must begin|begin with the 1|a list of 0"),
        ([*torch.zeros(4, 3, 16, 16)], "got a single image .*; stack them"),
        (torch.zeros(4, 3, 16, 16).numpy(), "torch.as_tensor makes one"),
        ([torch.zeros(1, 3, 16, 16)] * 2, "one image alone to learn from"),
    ],
)
def test_batches_that_do_not_fit_are_refused_in_a_line(given: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        feed_of(given)
    assert "\n" not in str(caught.value)


def test_nothing_to_look_at_is_told_apart_from_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match="kept_out gives nothing to look at"):
        feed_of(torch.zeros(8, 3, 16, 16), kept_out=[])


def test_what_can_be_gone_through_once_alone_says_so_when_it_ends() -> None:
    feed = feed_of(torch.zeros(64, 3, 16, 16) for _ in range(3))
    with pytest.raises(InputError, match="once alone"):
        list(feed.batches(0, 9))


# Teachers that do not teach ---------------------------------------------------------------------


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.mean(dim=(2, 3)), 0.5, training=True)


def test_outputs_that_differ_from_run_to_run_are_refused() -> None:
    feed = feed_of(list(images(8).split(2)))
    with pytest.raises(ModelError, match="differs from run to run"):
        look_at(Noisy(), feed, {}, [])


class Faint(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 1000 + x.mean(dim=(2, 3)) * 1e-3, x.mean(dim=(2, 3)) * self.share

    share = 0.0


def test_a_teacher_that_says_the_same_of_all_images_is_refused() -> None:
    feed = feed_of(list(images(8).split(2)))
    with pytest.raises(InputError, match=r"nearly the same for all images.*scale, mean"):
        look_at(Faint(), feed, {}, [])
    network = Faint()
    network.share = 1.0
    notes = look_at(network, feed, {}, []).notes
    assert notes[0] == "output_0 is nearly the same for all images, and teaches nothing."
    assert notes[1].startswith("output_1 is compared as plain numbers; if they are scores")
    assert len(notes) == 2
    assert len(look_at(network, feed, {1: "logits"}, []).notes) == 1  # type: ignore[dict-item]


def test_of_large_outputs_some_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "HELD_BYTES", 8 * 4 * 4)  # of 4 images with 8 outputs
    feed = feed_of(list(images(40).split(1)), kept_out=list(images(20).split(1)))
    taught = look_at(trained(Residual(classes=8)), feed, {}, [])
    assert len(taught.theirs) == len(taught.kept_out) == 4
    assert taught.kept_out[1] is feed.kept_out[5]


def test_photos_that_are_all_alike_are_refused_though_recolouring_tells_them_apart() -> None:
    feed = LoaderFeed(images(32), Arguments((EXAMPLE,)), CPU, [torch.zeros(4, 3, 16, 16)])
    network = trained(Residual())
    with pytest.raises(InputError, match="for all images kept out"):
        look_at(network, feed, {}, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 100 * x, r"\(bn1\) varies .* times as much as what .* check scale, mean, std"),
        (lambda x: x + 500, r"\(bn1\) lies .* standard deviations off"),
        (lambda x: x / 1000, r"\(bn1\) varies 0.00.* times as much"),
    ],
)
def test_images_that_are_fed_otherwise_than_in_training_are_refused(
    change: Callable[[Tensor], Tensor], words: str
) -> None:
    network = fully_trained(Residual())
    given = images(32)
    assert demand_fed_alike(network, [((given,), {})]) == ()
    assert demand_fed_alike(network, [((8 * given,), {})])[0].startswith("Look again at scale")
    with pytest.raises(InputError, match=words):
        demand_fed_alike(network, [((change(given),), {})])
    assert demand_fed_alike(Residual().eval(), [((change(given),), {})]) == ()


def fully_trained(network: nn.Module) -> nn.Module:
    """A network whose batch norms have seen many images."""
    average_batch_norm(network, [((images(32),), {}) for _ in range(4)])
    return network


class Training(Residual):
    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return super().forward(x)


def test_a_teacher_that_puts_itself_in_training_mode_is_refused() -> None:
    with pytest.raises(ModelError, match=r"bn1 is in training mode after a run"):
        demand_fed_alike(Training().eval(), [((images(4),), {})])
