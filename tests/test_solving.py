"""Layers in closed form: what is solved for is what gave the outputs, or as near as can be."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toolchain.models.registry import build
from toolchain.recipe import PruneSection, default_recipe
from toolchain.train import solving
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.solving import Equations, Slopes, equations_of
from toolchain.train.teacher_outputs import teacher_outputs, tensors

torch.set_num_threads(1)


def crops(count: int, channels: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, channels, 20, 24, generator=generator).relu() for _ in range(count)]


def taught(layer: nn.Module, wanted: nn.Module, given: list[Tensor]) -> None:
    """Solve ``layer`` for what ``wanted`` gives, the cells weighing differently."""
    equations = Equations(layer)
    with torch.no_grad():
        for number, image in enumerate(given):
            gave = wanted(image)
            pixels = torch.linspace(1, 5 + number, gave[0, 0].numel()).view(1, 1, *gave.shape[2:])
            equations.add(image, gave, pixels)
    equations.solve()


def pair(seed: int, channels: int = 6, **settings: Any) -> nn.Sequential:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for value in (norm.running_mean, norm.weight, norm.bias):
            assert value is not None
            value.normal_()
    return nn.Sequential(nn.Conv2d(6, channels, 3, padding=1, **settings), norm).eval()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 6), (2, 6), (1, 2)])
def test_a_convolution_and_its_batch_norm_are_found_again(
    stride: int, groups: int, bias: bool
) -> None:
    settings = {"stride": stride, "groups": groups, "bias": bias}
    wanted, layer = pair(1, **settings), pair(2, **settings)
    taught(layer, wanted, crops(6, 6))
    (other,) = crops(1, 6, seed=1)
    with torch.no_grad():
        assert torch.allclose(layer(other), wanted(other), atol=1e-4)


def test_a_batch_norm_takes_over_mean_and_spread_of_what_comes_out() -> None:
    """So that it gives the same by the batch as by what it averaged."""
    layer = pair(2, bias=False)
    given = crops(6, 6)
    taught(layer, pair(1, bias=False), given)
    norm = layer[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        gave = torch.cat([layer[0](image) for image in given])
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, gave.mean(dim=(0, 2, 3)), atol=0.1)
    assert torch.allclose(norm.running_var, gave.var(dim=(0, 2, 3)), rtol=0.2)


@pytest.mark.parametrize("bias", [False, True])
def test_what_has_no_batch_norm_has_its_bias_or_nothing(bias: bool) -> None:
    torch.manual_seed(0)
    wanted, layer = (nn.Conv2d(6, 4, 1, bias=bias) for _ in range(2))
    taught(layer, wanted, crops(3, 6))
    assert torch.allclose(layer.weight, wanted.weight, atol=1e-5)
    if bias:
        assert layer.bias is not None
        assert wanted.bias is not None
        assert torch.allclose(layer.bias, wanted.bias, atol=1e-5)


def test_what_lacks_a_channel_comes_as_near_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as the least squares of NumPy over all cells, weighed."""
    monkeypatch.setattr(solving, "CELLS", 10**6)
    torch.manual_seed(0)
    wanted, layer = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
    (image,) = crops(1, 3)
    image[:, 2] = image[:, 0] + 0.5 * image[:, 2]  # so that the others can stand in for it
    pixels = torch.rand(1, 1, 20, 24)
    equations = Equations(layer)
    without = image * torch.tensor([1.0, 1, 0]).view(1, 3, 1, 1)
    with torch.no_grad():
        gave = wanted(image)
        equations.add(without, gave, pixels)
    equations.solve()
    root = pixels.flatten().sqrt().double().numpy()[:, None]
    seen = np.concatenate([image[0, :2].flatten(1).T.double().numpy(), np.ones((480, 1))], axis=1)
    found = np.linalg.lstsq(seen * root, gave[0].flatten(1).T.double().numpy() * root)[0]
    assert layer.weight[:, :2, 0, 0].detach().numpy() == pytest.approx(found[:2].T, abs=1e-5)
    assert float(layer.weight[:, 2].detach().abs().max()) < 1e-6
    assert layer.bias is not None
    assert layer.bias.detach().numpy() == pytest.approx(found[2], abs=1e-5)


@pytest.mark.parametrize("slopes", [1, 6])
def test_slopes_are_found_again(slopes: int) -> None:
    wanted, layer = nn.PReLU(slopes), nn.PReLU(slopes)
    with torch.no_grad():
        wanted.weight.copy_(torch.linspace(-0.5, 2, slopes))
    equations = Slopes(layer)
    for image in crops(2, 6):
        equations.add(image - 1, wanted(image - 1).detach(), torch.ones(1, 1, 20, 24))
    equations.solve()
    assert torch.allclose(layer.weight, wanted.weight, atol=1e-6)


def test_a_slope_that_saw_nothing_below_zero_stays() -> None:
    layer = nn.PReLU(6)
    equations = Slopes(layer)
    for image in crops(2, 6):
        equations.add(image, image, torch.ones(1, 1, 20, 24))
    equations.solve()
    assert layer.weight.tolist() == [0.25] * 6


def test_only_what_is_linear_in_its_weights_is_solved() -> None:
    layers = {
        "a": nn.Conv2d(3, 2, 1), "b": nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"),
        "c": nn.PReLU(), "d": pair(1), "e": nn.BatchNorm2d(3),
    }  # fmt: skip
    assert {name: type(found).__name__ for name, found in equations_of(layers).items()} == {
        "a": "Equations", "c": "Slopes", "d": "Equations",
    }  # fmt: skip


def course_of(
    model: str, rate: float, images: list[Tensor], last: str | None = None
) -> tuple[DistillationTrainer, nn.Module]:
    """A student that is to solve its layers, and its teacher, both of random weights.

    Layers behind those that begin with ``last`` stay as they are: no layer looks at those behind.
    """
    recipe, anchors = default_recipe(model), default_recipe(model).anchors
    assert anchors is not None
    teacher, student = build(model, 1).train(), build(model, 2)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average, so that it lets through what there is
    with torch.no_grad():
        teacher(torch.cat(images))
    prune = PruneSection(rate or None, "fpgm", "group", recipe.prune.protected)
    course = DistillationTrainer(
        model, student, copy.deepcopy(teacher.eval()), DistillationPlan(0, 0, 1, solves=True),
        prune, torch.zeros(1, 3, 128, 128), anchors, recipe.decode.variances,
    )  # fmt: skip
    course.choose_in_teacher()
    if last is not None:
        end = max(i for i, name in enumerate(course.layers) if name.startswith(last))
        course.layers = dict([*course.layers.items()][: end + 1])
    course.look(torch.cat(images))
    course.to_solve = lambda: images
    return course, teacher


def noise(count: int) -> list[Tensor]:
    """Return crops, three at a time, for a network runs them together in little more time."""
    generator = torch.Generator().manual_seed(0)
    every = torch.randn(count, 3, 128, 128, generator=generator) * 60
    return list(every.split(3))


def apart(student: nn.Module, teacher: nn.Module, block: str, images: list[Tensor]) -> float:
    """Return the mean square of the difference of what a block gives, by that of the teacher's."""
    with torch.no_grad():
        pairs = [
            [
                next(iter(tensors(seen.gave)))
                for each in (student, teacher)
                for seen in teacher_outputs(each.eval(), image, [block]).seen
            ]
            for image in images
        ]
    error = sum(float((ours - theirs).square().mean()) for ours, theirs in pairs)
    return error / sum(float(theirs.square().mean()) for _, theirs in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_a_student_of_the_same_widths_is_its_teacher_again(model: str) -> None:
    """Where it is fine enough for a few crops to show cells enough."""
    images = noise(3)
    block = {"eresfd": "base.m0.b2_1", "extd": "base.1"}[model]
    course, teacher = course_of(model, 0.0, images, block)
    told: list[tuple[int, int]] = []
    course.on_solved = lambda done, of: told.append((done, of))
    course.before(0)
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]  # up to the last
    assert len(told) > 2
    assert apart(course.student, teacher, block, images) < 1e-6


@pytest.mark.slow
def test_layers_make_up_for_what_those_before_them_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved on the student's own inputs too, its features are nearer; what goes stays zero."""
    images = noise(6)
    block, found = "base.m0.b2_2", {}
    for own in (False, True):
        course, teacher = course_of("eresfd", 0.25, images, block)
        if not own:
            monkeypatch.setattr(course, "_called_once", list)
            course.filters.prune = dataclasses.replace(course.filters.prune, protected=())
        course.before(0)
        found[own] = apart(course.student, teacher, block, images)
        filters = course.student.get_submodule("base.m0.b2_2.0.res_layer.0").weight
        assert isinstance(filters, Tensor)
        assert int((~filters.flatten(1).bool().any(dim=1)).sum()) == 4
    assert found[True] < 0.7 * found[False]


@pytest.mark.slow
def test_the_last_layer_of_a_sum_makes_up_for_the_rest_of_it() -> None:
    images, block, found = noise(6), "base.m0.b2_1", {}
    for sums in (True, False):
        course, teacher = course_of("eresfd", 0.25, images, block)
        if not sums:
            course._sums = {}
        course.before(0)
        found[sums] = apart(course.student, teacher, block, images)
    assert found[True] < 0.95 * found[False]


@pytest.mark.slow
def test_a_layer_that_is_called_several_times_is_solved_on_its_teachers_inputs_alone() -> None:
    course, _ = course_of("extd", 0.25, noise(2))
    once = course._called_once()
    assert once[:4] == ["base.0.0", "base.0.2", "base.1.conv.0", "base.1.conv.2"]
    assert {name.split(".")[0] for name in once[5:]} == {"upfeat", "loc", "conf"}
