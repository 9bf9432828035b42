"""What a recovery learns by: nothing is lost where nothing is pruned, and losses say what is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from teaching import Detector, Mobile, Residual, plain
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError, RecipeError
from toolchain.models.arguments import Arguments
from toolchain.recovery import teaching
from toolchain.recovery.agreement import agreement, by_class
from toolchain.recovery.block import Block
from toolchain.recovery.blocks import find_blocks
from toolchain.recovery.channels import known_of
from toolchain.recovery.course import Batch, Lesson, RecoveryCourse
from toolchain.recovery.fed import demand_fed_alike
from toolchain.recovery.feeding import LoaderFeed
from toolchain.recovery.norms import average_batch_norm
from toolchain.recovery.outputs import Output, outputs_of, seen_kinds
from toolchain.recovery.plan import RecoveryPlan
from toolchain.recovery.planning import Beside
from toolchain.recovery.solving import solvable, solve
from toolchain.recovery.teaching import look_at

EXAMPLE = torch.zeros(1, 3, 16, 16)
CPU = torch.device("cpu")


def trained(network: nn.Module, size: int = 16) -> nn.Module:
    """A network whose batch norms know what comes in, so that it tells images apart."""
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(5):
            network.train()(images(8, size))
    return network.eval()


def images(count: int, size: int = 16) -> Tensor:
    """Smooth shapes and a little noise, which differ."""
    coarse = torch.nn.functional.interpolate(
        torch.randn(count, 3, 3, 3), (size, size), mode="bicubic"
    )
    return coarse + 0.1 * torch.randn(count, 3, size, size)


def course_of(network: nn.Module, student: nn.Module, plan: RecoveryPlan) -> RecoveryCourse:
    torch.manual_seed(1)
    batches = [Batch(((images(4),), {}), None) for _ in range(3)]
    blocks = find_blocks(network, EXAMPLE)
    inputs = [batch.inputs for batch in batches]
    known = known_of(copy.deepcopy(student), EXAMPLE, network, inputs, blocks.blocks)
    with torch.no_grad():
        given = [network(batch.inputs[0][0]) for batch in batches]
    outputs = outputs_of(given, {}, seen_kinds(network, EXAMPLE))
    return RecoveryCourse(student, network, {}, Lesson(blocks, known, outputs, batches), plan)


@pytest.mark.parametrize("size", [1e-3, 2.0])
def test_a_step_is_as_large_as_weights_are(size: float) -> None:
    """Small where a convolution reads pixels from 0 to 255, into which batch norm was folded;
    large in depthwise filters, whose inputs are few.
    """
    torch.manual_seed(0)
    network = trained(Residual())
    student = copy.deepcopy(network)
    first = next(each for each in student.modules() if isinstance(each, nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(size)
    before = first.weight.detach().clone()
    course = course_of(network, student, RecoveryPlan(0, 10))
    course.take(0, Batch(((images(4),), {}), None))
    step = (first.weight - before).square().mean().sqrt() / before.square().mean().sqrt()
    assert 0.005 < step < 0.1


@pytest.mark.parametrize("norm", [nn.Identity, lambda: nn.BatchNorm2d(4)])
def test_where_batch_norm_was_folded_no_step_is_longer_than_usual(
    norm: Callable[[], nn.Module],
) -> None:
    """It made weights large; one that was never trained may stand in its place."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), norm(), nn.Conv2d(4, 4, 3)).eval()
    with torch.no_grad():
        network[0].weight.mul_(10)
    course = course_of(network, copy.deepcopy(network), RecoveryPlan(0, 10))
    assert {group["factor"] for group in course.optimizer.param_groups} == {1.0}


@pytest.mark.parametrize("build", [Residual, Mobile, Detector, plain])
def test_a_student_that_lost_nothing_has_nothing_to_learn(build: type[nn.Module]) -> None:
    """Whatever its blocks write into, in place, and however often they are called."""
    network = trained(build())
    course = course_of(network, copy.deepcopy(network), RecoveryPlan(1, 1))
    batch = course.lesson.settling[0]
    assert float(course.computed(0, batch)) == 0.0
    assert float(course.computed(1, batch).detach()) == pytest.approx(0.0, abs=1e-9)


def test_every_parameter_in_a_block_learns_alone_and_all_learn_end_to_end() -> None:
    network = trained(Residual())
    student = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.1)
    course = course_of(network, student, RecoveryPlan(1, 1))
    for step in (0, 1):
        course.computed(step, course.lesson.settling[0])
        assert all(
            parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            for parameter in student.parameters()
        )


def test_what_the_student_lacks_is_neither_fed_nor_asked_for() -> None:
    network = trained(plain())
    student = copy.deepcopy(network)
    with torch.no_grad():
        for name in ("0", "1"):
            for parameter in student.get_submodule(name).parameters():
                parameter[2] = 0.0
    course = course_of(network, student, RecoveryPlan(1, 1))
    known = course.lesson.known
    first, second = known["0", 0], known["4", 0]
    assert first.asked[0].tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert second.given[0].mask.tolist() == [index != 2 for index in range(8)]
    fed = second.feed(((torch.ones(1, 8, 2, 2),), {}))[0][0]
    assert fed[0, :, 0, 0].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]


def test_a_channel_that_holds_a_constant_is_fed_with_it() -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 2, 1)))
    student = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in student.get_submodule("0").parameters():
            parameter[1] = 0.0
    known = course_of(network, student, RecoveryPlan(1, 1)).lesson.known
    fed = known["2", 0].feed(((torch.ones(1, 4, 2, 2),), {}))[0][0]
    assert fed[0, :, 0, 0].tolist() == [1, 0.5, 1, 1]


def test_a_redundant_filter_is_made_up_for_exactly_in_closed_form() -> None:
    """One channel is the sum of two others, so that its reader can do without it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5))
    first = network[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.weight[3] = first.weight[0] + first.weight[1]
        first.bias[3] = first.bias[0] + first.bias[1]
    network = trained(network)
    student = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in student.get_submodule("0").parameters():
            parameter[3] = 0.0
    inputs = [((images(8),), {}) for _ in range(4)]
    layers = solvable(network, EXAMPLE)
    assert [block.modules for block in layers] == [("0",), ("1", "2")]
    known = known_of(copy.deepcopy(student), EXAMPLE, network, inputs, layers)
    before = copy.deepcopy(student)
    solve(student, network, layers, known, inputs)
    with torch.no_grad():
        student.get_submodule("0").weight[3] = 0.0  # type: ignore[index, operator]
        student.get_submodule("0").bias[3] = 0.0  # type: ignore[index, operator]
        other = images(4)
        wanted = network(other)
        far, near = ((each(other) - wanted).abs().max() for each in (before, student))
    assert float(near) < 0.02 * float(far)


def test_batch_norm_is_averaged_and_nothing_else_is_in_training_mode() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3))
    given = [images(4), images(4)]
    average_batch_norm(network, [((each,), {}) for each in given])
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    mean = torch.stack([each.mean(dim=(0, 2, 3)) for each in given]).mean(dim=0)
    assert torch.allclose(norm.running_mean, mean, atol=1e-6)
    assert norm.momentum == 0.3
    assert not any(module.training for module in network.modules())


def test_time_is_turned_into_steps_of_both_kinds() -> None:
    plan = RecoveryPlan.within(seconds=60, local_seconds=0.5, joint_seconds=1.0)
    assert (plan.local_steps, plan.joint_steps) == (21, 49)  # 59.5 s
    assert RecoveryPlan.within(0.1, 1.0, 1.0).steps == 2


def test_of_the_minutes_what_is_no_step_is_taken_off() -> None:
    few = Beside(spent=10, look=1, after=2, settle=3)
    assert few.left(100) == 100 - 15 - (8.5 + 1)  # looking stops at a tenth, and one look more
    assert few.left(200) == 200 - 15 - 12  # as often as it is looked
    assert few.left(5) < 0
    none = Beside(spent=0, look=0, after=0, settle=0)
    assert none.left(60) == 60


def test_a_few_steps_are_short_ones() -> None:
    few, many = RecoveryPlan.of(5), RecoveryPlan.of(500)
    assert few.joint_rate == pytest.approx(many.joint_rate / 10)
    assert few.local_rate == pytest.approx(many.local_rate / 10)
    assert RecoveryPlan.of(50).joint_rate == many.joint_rate == 1e-3


# Outputs ----------------------------------------------------------------------------------------


class Gives(nn.Module):
    """Gives one output of each kind that can be seen, moved about."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        classes = x.flatten(2).softmax(dim=1).permute(0, 2, 1)
        scores = torch.cat([x[:, :1].sigmoid().flatten(1), x[:, 1:].sigmoid().flatten(1)], dim=1)
        return {"classes": classes, "scores": scores, "doubled": 2 * x.sigmoid(), "plain": x}


def test_what_a_softmax_or_a_sigmoid_gave_is_seen() -> None:
    network = Gives()
    kinds = seen_kinds(network, EXAMPLE)
    assert kinds == ["probabilities", "scores", "values", "values"]
    given = [network(images(4)) for _ in range(2)]
    outputs = outputs_of(given, {"3": "boxes", "scores": "values"}, kinds)
    assert [output.kind for output in outputs] == ["probabilities", "values", "values", "boxes"]
    assert outputs[0].dim == 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"clases": "logits"}, "gives no 'clases'.*classes"),
        ({"0": "logit"}, "must be one of"),
        (["logits"], "must be a dict, such as"),
        ({7: "logits"}, "gives no '7'"),
    ],
)
def test_outputs_that_there_are_not_are_refused(told: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        outputs_of([Gives()(images(4))], told, [])


def test_distances_are_shares_of_what_the_teacher_varies() -> None:
    theirs = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    values = Output("x", "values", 1, torch.tensor([1.0, 100.0]), torch.zeros(1, 2))
    assert float(values.distance(theirs + torch.tensor([1.0, 10.0]), theirs)) == pytest.approx(1.0)
    boxes = Output("x", "boxes", 1, torch.tensor([1.0, 100.0]), torch.zeros(1, 2))
    far = theirs + torch.tensor([100.0, 0.0])  # smooth L1 of 100 deviations: 99.5
    assert float(boxes.distance(far, theirs)) == pytest.approx(2 * 99.5 / 2)
    ours, wanted = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    (logits,) = outputs_of([torch.tensor([[9.0, 0.0], [0.0, 9.0]])], {"0": "logits"}, [])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    squares = (math.log(3.0) ** 2 / 2) / (math.log(3.0) ** 2 / 4)
    expected = (divergence / float(logits.spread) + squares) / 2
    assert float(logits.distance(ours, wanted)) == pytest.approx(expected, rel=1e-4)
    assert float(logits.spread) == pytest.approx(math.log(2), rel=0.01)


def test_agreement_is_one_for_the_same_and_nought_for_the_mean() -> None:
    theirs = [torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])]
    outputs = outputs_of(theirs, {"0": "logits"}, [])
    assert agreement(outputs, theirs, theirs) == {"output": 1.0, "output same class": 1.0}
    plain_outputs = outputs_of(theirs, {}, [])
    assert agreement(plain_outputs, [torch.ones(3, 3)], theirs) == {"output": 0.0}


def test_agreement_on_a_single_image_is_a_share_of_what_others_vary() -> None:
    """By the mean of other images: one has no mean of its own to be told from."""
    theirs = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0]])]  # of mean 2
    (output,) = outputs_of(theirs, {}, [])
    assert agreement([output], [torch.tensor([[3.0]])], [torch.tensor([[4.0]])]) == {"output": 0.75}


def test_agreement_where_images_differ_in_size_is_about_the_mean_of_channels() -> None:
    theirs = [torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 3), 3.0)]  # of mean 2
    (output,) = outputs_of(theirs, {}, [])
    ours = [torch.full((1, 1, 2, 2), 1.5), torch.full((1, 1, 2, 3), 3.5)]
    assert agreement([output], ours, theirs) == {"output": 0.75}


def test_agreement_by_class_is_of_where_the_teacher_finds_it() -> None:
    one = torch.eye(3)
    theirs = [one[[0, 0, 0, 1]]]
    outputs = outputs_of(theirs, {"0": "logits"}, [])
    found = by_class(outputs, [one[[0, 0, 2, 2]]], theirs)
    assert found == {"output": {0: (3, pytest.approx(2 / 3)), 1: (1, 0.0)}}
    assert by_class(outputs_of(theirs, {}, []), theirs, theirs) == {}


def test_agreement_of_yes_and_no_counts_what_any_says_yes_to() -> None:
    theirs = [torch.tensor([[0.9, 0.8, 0.1, 0.1]])]
    outputs = outputs_of([torch.rand(4, 4), *theirs], {"0": "scores"}, [])
    found = agreement(outputs, [torch.tensor([[0.9, 0.2, 0.7, 0.6]])], theirs)
    assert found["output same yes"] == 0.4  # 2 of 1 in both, over 3 and 2
    none = agreement(outputs, [torch.zeros(1, 4)], [torch.zeros(1, 4)])
    assert "output same yes" not in none


# Batches ----------------------------------------------------------------------------------------


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


def test_blocks_that_run_several_times_are_known_call_by_call() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.again(self.first(x)))

    network = trained(Again())
    block = Block("again", ("again",), "Conv2d", ("again",), (16, 16), 2)
    inputs = [((images(2),), {}), ((images(2),), {})]
    known = known_of(copy.deepcopy(network), EXAMPLE, network, inputs, [block])
    assert set(known) == {("again", 0), ("again", 1)}
