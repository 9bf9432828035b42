"""What a recovery learns by: nothing is lost where nothing is pruned, and losses say what is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from teaching import Detector, Mobile, Residual, images, plain, trained
from torch import Tensor, nn

from toolchain.recovery.block import Block
from toolchain.recovery.blocks import find_blocks
from toolchain.recovery.channels import known_of
from toolchain.recovery.course import Batch, Lesson, RecoveryCourse
from toolchain.recovery.norms import average_batch_norm
from toolchain.recovery.outputs import Seen, outputs_of, seen_kinds
from toolchain.recovery.plan import RecoveryPlan, crops_of_step
from toolchain.recovery.planning import Beside
from toolchain.recovery.solving import solvable, solve

EXAMPLE = torch.zeros(1, 3, 16, 16)


def course_of(network: nn.Module, student: nn.Module, plan: RecoveryPlan) -> RecoveryCourse:
    torch.manual_seed(1)
    batches = [Batch(((images(4),), {}), None) for _ in range(3)]
    blocks = find_blocks(network, EXAMPLE)
    inputs = [batch.inputs for batch in batches]
    known = known_of(copy.deepcopy(student), EXAMPLE, network, inputs, blocks.blocks)
    with torch.no_grad():
        given = [network(batch.inputs[0][0]) for batch in batches]
    outputs = outputs_of(given, {}, seen_kinds(network, EXAMPLE))
    heard = [*zip(batches, given, strict=True)]
    lesson = Lesson(blocks, known, outputs, batches, heard)
    return RecoveryCourse(student, network, {}, lesson, plan)


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


def test_the_teacher_is_not_run_again_to_tell_what_comes_nearer() -> None:
    network = trained(Residual())
    course = course_of(network, copy.deepcopy(network), RecoveryPlan(1, 1))
    assert course.error() == pytest.approx(0, abs=1e-9)
    network.register_forward_pre_hook(lambda *_: pytest.fail("the teacher was run"))
    course.settle()
    assert course.error() < 0.1


def test_without_batch_norm_there_is_nothing_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained(Residual())
    course = course_of(network, copy.deepcopy(network), RecoveryPlan(1, 1))
    staying = frozenset(name for name, _ in network.named_modules())
    monkeypatch.setattr(course, "lesson", replace(course.lesson, staying=staying))
    monkeypatch.setattr(course, "error", lambda: pytest.fail("looked at all the same"))
    course.settle()


def test_time_is_turned_into_steps_of_both_kinds() -> None:
    plan = RecoveryPlan.within(seconds=60, local_seconds=0.5, joint_seconds=1.0, images=8)
    assert (plan.local_steps, plan.joint_steps) == (21, 49)  # 59.5 s
    assert RecoveryPlan.within(0.1, 1.0, 1.0, images=8).steps == 2
    going_on = RecoveryPlan.within(60, 0.5, 1.0, images=8, goes_on=True)
    assert (going_on.local_steps, going_on.joint_steps) == (0, 60)


def test_of_the_minutes_what_is_no_step_is_taken_off() -> None:
    few = Beside(spent=10, look=1, after=2, settle=3)
    assert few.left(100) == 100 - 15 - (8.5 + 1)  # looking stops at a tenth, and one look more
    assert few.left(200) == 200 - 15 - 12  # as often as it is looked
    assert few.left(5) < 0
    none = Beside(spent=0, look=0, after=0, settle=0)
    assert none.left(60) == 60


def test_a_few_steps_are_short_ones() -> None:
    few, many = RecoveryPlan.of(5, images=8), RecoveryPlan.of(500, images=8)
    assert few.joint_rate == pytest.approx(many.joint_rate / 10)
    assert few.local_rate == pytest.approx(many.local_rate / 10)
    assert RecoveryPlan.of(50, images=8).joint_rate == many.joint_rate == 1e-3


@pytest.mark.parametrize("goes_on", [False, True])
def test_steps_of_few_images_are_shorter_end_to_end(goes_on: bool) -> None:
    one, two, eight, many = (
        RecoveryPlan.of(500, images=images, goes_on=goes_on) for images in (1, 2, 8, 64)
    )
    assert eight.joint_rate == pytest.approx(2 * two.joint_rate)
    assert two.joint_rate == pytest.approx(math.sqrt(2) * one.joint_rate)
    assert many.joint_rate == eight.joint_rate  # a rate that is whole stays so
    assert one.local_rate == many.local_rate  # maps of many cells, as steady as batches
    assert RecoveryPlan.of(500, images=0).joint_rate > 0  # inputs that are no batch


@pytest.mark.parametrize(
    ("size", "device", "processes", "crops"),
    [
        ((640, 640), "cpu", 1, 1),
        ((480, 480), "cpu", 1, 1),
        ((320, 320), "cpu", 1, 2),
        ((32, 32), "cpu", 1, 8),
        ((640, 640), "cuda", 1, 8),
        ((640, 640), "cpu", 2, 2),
        ((32, 32), "cpu", 3, 9),
    ],
)
def test_a_step_takes_few_crops_where_they_are_large(
    size: tuple[int, int], device: str, processes: int, crops: int
) -> None:
    assert crops_of_step(*size, device, processes) == crops


def test_features_lead_at_first_where_outputs_tell_of_few_cells() -> None:
    torch.manual_seed(0)
    network = trained(Residual())
    student = copy.deepcopy(network)
    with torch.no_grad():
        next(student.parameters()).mul_(0.9)
    lesson = course_of(network, student, RecoveryPlan(0, 10)).lesson
    batch = Batch(((images(4),), {}), None)

    def of_features(seen: Seen | None, step: int, plan: RecoveryPlan) -> float:
        outputs = tuple(replace(output, seen=seen) for output in lesson.outputs)
        course = RecoveryCourse(student, network, {}, replace(lesson, outputs=outputs), plan)
        ours, theirs = (each(batch.inputs[0][0]) for each in (student, network))
        return float((course.loss(step, batch) - course.distance(ours, theirs)).detach())

    few, plan = Seen(0.0, 0.01), RecoveryPlan.of(100, images=8)
    usual = of_features(None, 30, plan)
    assert usual > 0
    assert of_features(None, 99, plan) == pytest.approx(usual, rel=1e-3)
    assert of_features(few, 30, plan) == pytest.approx(10 * usual, rel=1e-3)
    assert of_features(few, 65, plan) == pytest.approx(5.5 * usual, rel=1e-3)
    assert of_features(few, 99, plan) == pytest.approx(usual, rel=0.02)
    going_on = RecoveryPlan.of(100, images=8, goes_on=True)
    assert of_features(few, 0, going_on) == pytest.approx(usual, rel=1e-3)


# Outputs ----------------------------------------------------------------------------------------


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
