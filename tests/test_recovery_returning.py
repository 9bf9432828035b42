"""Filters that come back from the teacher, and those that go, in a recovery that goes on."""

from __future__ import annotations

import copy

import torch
from torch import nn

from toolchain.recovery.returning import give_back, take_out

MASKS = {"0.weight": torch.tensor([True, True, True, False]).view(4, 1, 1, 1).expand(4, 3, 3, 3)}


def pair() -> tuple[nn.Sequential, nn.Sequential]:
    """The teacher, and a student that lost two filters, also from what batch norm remembers."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 2))
    for _ in range(20):
        teacher(torch.randn(4, 3, 9, 9) * 3 + 1)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for each in (*student[0].parameters(), *student[1].parameters()):
            each[2:] = 0.0
        student[1].running_var[2:] = 0.0
    return teacher.eval(), student.eval()


def test_what_comes_back_gives_what_the_teachers_gives() -> None:
    teacher, student = pair()
    image = torch.randn(1, 3, 9, 9)
    assert not torch.equal(student(image), teacher(image))
    assert give_back(teacher, student, {}) == {"0": 2}
    assert torch.equal(student(image), teacher(image))


def test_what_is_to_go_does_not_come_back() -> None:
    teacher, student = pair()
    assert give_back(teacher, student, MASKS) == {"0": 1}
    assert torch.equal(student[0].weight[2], teacher[0].weight[2])
    assert not student[0].weight[3].any()


def test_what_goes_is_counted_once() -> None:
    teacher, _ = pair()
    assert take_out(teacher, MASKS) == {"0": 1}
    assert not teacher[0].weight[3].any()
    assert take_out(teacher, MASKS) == {}


def test_filters_of_a_transposed_convolution_are_its_columns() -> None:
    teacher, student = pair()
    with torch.no_grad():
        student[2].weight[:, 1] = 0.0
        student[2].bias[1] = 0.0
    assert give_back(teacher, student, {}) == {"0": 2, "2": 1}
    assert torch.equal(student[2].weight, teacher[2].weight)
