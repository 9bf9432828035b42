"""Learning from a teacher: the losses by hand, and what blocks and channels are looked at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.detector import teachable
from toolchain.models.registry import build
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.train.channels import Channels, channels_of, spread_like, start_like
from toolchain.train.distillation import (
    LossWeights,
    end_to_end_loss,
    feature_error,
    local_loss,
    relative_errors,
)
from toolchain.train.masks import apply_masks, choose_masks, zeroed_share
from toolchain.train.teacher_outputs import (
    Seen,
    TeacherOutputs,
    face_map,
    layers_by_name,
    level_shapes,
    names_of,
    teacher_outputs,
    tensors,
    watching,
)

IMAGES = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 60
STRIDES = (4, 8, 16, 32, 64, 128)
GROUP = PruneSection(rate=0.25, criterion="fpgm", scope="group")


def trained(name: str, seed: int) -> nn.Module:
    """A network whose batch norm knows the images, so that no channel runs away."""
    network = build(name, seed).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average over what is given
    with torch.no_grad():
        network(IMAGES)
    return network.eval()


def known(channels: int, variance: float = 1.0, alive: tuple[float, ...] | None = None) -> Channels:
    mask = torch.ones(channels) if alive is None else torch.tensor(alive)
    mask = mask.view(1, -1, 1, 1)
    return Channels((mask,), (mask,), (torch.full((channels,), variance),))


def mean_error(*arguments: Any) -> float:
    return float(torch.cat(relative_errors(*arguments)).mean())


def test_the_error_is_relative_to_the_teachers_variance() -> None:
    wanted, found = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    found[0, 0] = 2.0
    nothing = torch.zeros(1, 1, 4, 4)
    # Channel 0: 4 / 8; channel 1: 0; the mean of both.
    assert mean_error(found, wanted, known(2, 8.0), nothing, 4.0) == pytest.approx(0.25)
    alone = known(2, 8.0, alive=(1.0, 0.0))
    assert mean_error(found, wanted, alone, nothing, 4.0) == pytest.approx(0.5)


def test_pixels_on_faces_weigh_more() -> None:
    """One pixel of four is on a face and weighs 1 + 4 = 5 of 8."""
    wanted, found = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    found[0, 0, 0, 0] = 1.0
    faces = torch.zeros(1, 1, 4, 4)
    faces[0, 0, 1, 1] = 1.0
    assert mean_error(found, wanted, known(1), faces, 4.0) == pytest.approx(5 / 8)
    assert mean_error(found, wanted, known(1), faces, 0.0) == pytest.approx(1 / 4)


def test_a_channel_that_is_far_off_pulls_no_more_than_its_share() -> None:
    """The error e = 3 counts 3 / (1 + 3), with the gradient of log(1 + e)."""
    wanted = torch.zeros(1, 2, 1, 1)
    found = torch.tensor([3.0**0.5, 0.0]).view(1, 2, 1, 1).requires_grad_()
    error = feature_error(found, wanted, known(2), torch.zeros(1, 1, 4, 4), 4.0)
    assert error.item() == pytest.approx((3 / 4 + 0) / 2)
    error.backward()
    other = found.detach().clone().requires_grad_()
    (torch.log1p(other.square()).sum() / 2).backward()
    torch.testing.assert_close(found.grad, other.grad)


def test_levels_are_laid_on_the_finest() -> None:
    shapes = level_shapes(8, 16, (4, 8))
    assert shapes == [(2, 4), (1, 2)]
    face = torch.tensor([[0.0, 0, 0, 0, 0, 0.9, 0, 0, 0.3, 0.7]])
    expected = torch.tensor([[0.3, 0.3, 0.7, 0.7], [0.3, 0.9, 0.7, 0.7]])
    torch.testing.assert_close(face_map(face, shapes)[0, 0], expected)


@pytest.mark.parametrize(("model", "blocks"), [("eresfd", 45), ("extd", 23)])
def test_every_layer_learns_in_some_block(model: str, blocks: int) -> None:
    network = build(model)
    names = names_of(network, teachable(model).blocks)
    assert len(names) == blocks
    covered = {
        parameter
        for name in names
        for parameter in network.get_submodule(name).parameters(recurse=True)
    }
    assert covered == set(network.parameters())
    assert set(names_of(network, teachable(model).features)) <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_every_parameter_learns_in_its_layer(model: str) -> None:
    """A batch norm with its convolution, so each parameter in one layer: but for EResFD's pyramid,
    which holds the fusion weights and is a layer as a whole.
    """
    network = trained(model, 1)
    layers = layers_by_name(network, IMAGES[:1])
    held = [parameter for layer in layers.values() for parameter in layer.parameters()]
    assert set(held) == set(network.parameters())
    pyramid = layers.get("base.m0.fpn", nn.Sequential())
    assert len(held) == len(set(held)) + len(list(pyramid.parameters())) - (model == "eresfd")
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert sum(isinstance(layer, nn.Sequential) for layer in layers.values()) == norms


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_layers_equal_to_the_folded_teachers_have_no_loss(model: str) -> None:
    network = trained(model, 1)
    layers = layers_by_name(network, IMAGES[:1])
    teacher = fold_batch_norm(network, IMAGES[:1])
    channels = channels_of(teacher, network, IMAGES, list(layers))
    taught = teacher_outputs(teacher, IMAGES, list(layers))
    faces = face_map(taught.face, level_shapes(96, 96, STRIDES))
    assert local_loss(layers, taught, faces, channels, 4.0).item() < 1e-8
    others = layers_by_name(trained(model, 2), IMAGES[:1])
    assert local_loss(others, taught, faces, channels, 4.0).item() > 0.5


@pytest.mark.slow
def test_each_call_of_a_shared_block_has_its_own_variance() -> None:
    teacher = trained("extd", 1)
    channels = channels_of(teacher, teacher, IMAGES, ["base.2"])
    assert list(channels) == [("base.2", number) for number in range(6)]
    seen = teacher_outputs(teacher, IMAGES, ["base.2"]).seen
    for number in (0, 3):
        found = channels["base.2", number].variance[0]
        torch.testing.assert_close(found, tensors(seen[number].gave)[0].var(dim=(0, 2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_a_student_equal_to_its_teacher_has_no_loss(model: str) -> None:
    teacher = trained(model, 1)
    names = names_of(teacher, teachable(model).blocks)
    features = names_of(teacher, teachable(model).features)
    channels = channels_of(teacher, teacher, IMAGES, names)
    taught = teacher_outputs(teacher, IMAGES, names)
    faces = face_map(taught.face, level_shapes(96, 96, STRIDES))
    assert local_loss(dict(teacher.named_modules()), taught, faces, channels, 4.0).item() < 1e-8
    with watching(teacher, features) as seen:
        outputs = teacher(IMAGES)
    loss = end_to_end_loss(
        outputs, seen, teacher_outputs(teacher, IMAGES, features), faces, channels, LossWeights()
    )
    assert loss.item() < 1e-6
    other = trained(model, 2)
    assert local_loss(dict(other.named_modules()), taught, faces, channels, 4.0).item() > 0.5


def test_what_the_student_alone_takes_for_a_face_weighs_as_one() -> None:
    """Of four anchors that are background, the student sees a face at the first: weight 1.05."""
    theirs = torch.tensor([5.0, 0.0]).expand(1, 4, 2)
    ours = theirs.clone()
    ours[0, 0] = torch.tensor([0.0, 5.0])
    boxes, nothing = torch.zeros(1, 4, 4), torch.zeros(1, 1, 2, 2)
    feature = Seen(("f", 0), nothing, nothing)
    taught = TeacherOutputs(boxes, theirs, torch.zeros(1, 4), (feature,))
    only = LossWeights(features=0.0, scores=0.0, logits=1.0, boxes=0.0)
    found = end_to_end_loss((boxes, ours), [feature], taught, nothing, {("f", 0): known(1)}, only)
    assert found.item() == pytest.approx(1.05 * (10 - 0.5) / (1.05 + 3 * 0.05))


def test_missing_channels_are_neither_fed_nor_asked_for() -> None:
    """A teacher with zeroed groups, and a student with other weights in just those channels."""
    teacher = trained("eresfd", 1)
    example = torch.zeros(1, 3, 96, 96)
    pruned = zero_filters(teacher, example, GROUP).eval()
    names = names_of(teacher, teachable("eresfd").blocks)
    channels = channels_of(teacher, pruned, IMAGES, names)
    stream = channels["base.m0.b2_1.0", 0]
    assert stream.given_alive[0].sum() == 12
    assert stream.gave_alive[0].sum() == 12
    assert channels["base.conv1", 0].given_alive[0].sum() == 3
    assert all(mask.all() for mask in channels["loc.0", 0].gave_alive)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["group", "layer"])
def test_masks_hold_what_was_chosen(scope: str) -> None:
    network = trained("eresfd", 1)
    prune = PruneSection(rate=0.25, criterion="fpgm", scope=scope)  # type: ignore[arg-type]
    masks = choose_masks(network, torch.zeros(1, 3, 96, 96), prune)
    share = zeroed_share(masks)
    assert 0.1 < share < 0.3
    other = build("eresfd", 5)
    apply_masks(other, masks)
    zeroed = zero_filters(network, torch.zeros(1, 3, 96, 96), prune)
    for (name, one), two in zip(other.named_parameters(), zeroed.parameters(), strict=True):
        dead = (two == 0) & (network.get_parameter(name) != 0)
        assert not one[dead].any()
    assert masks["loc.0.weight"].all()


def test_shifts_that_are_zero_by_chance_are_held_where_their_channel_is() -> None:
    """Fresh batch norms have no shift yet: those of chosen channels stay so, others may grow."""
    network = trained("eresfd", 1)
    masks = choose_masks(network, torch.zeros(1, 3, 96, 96), GROUP)
    shift, scale = (masks[f"base.m0.b2_1.0.res_layer.4.{key}"] for key in ("bias", "weight"))
    assert not network.base.m0.b2_1[0].res_layer[4].bias.any()
    assert torch.equal(shift, scale)
    assert shift.sum() == 12


def test_a_student_starts_with_its_teachers_mean_and_spread() -> None:
    teacher, student = trained("eresfd", 1), build("eresfd", 2)
    with torch.no_grad():
        for module in teacher.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)
                module.bias.uniform_(-1, 1)
    filters = student.base.conv4.res_layer[0].weight.clone()
    start_like(student, teacher, names_of(student, teachable("eresfd").blocks))
    last, theirs = student.base.conv4.res_layer[4], teacher.base.conv4.res_layer[4]
    torch.testing.assert_close(last.weight, theirs.weight.abs())
    torch.testing.assert_close(last.bias, theirs.bias)
    torch.testing.assert_close(student.loc[0].bias, teacher.loc[0].bias)
    assert torch.equal(student.base.conv4.res_layer[0].weight, filters)


def test_a_channel_that_a_damaged_teacher_closes_is_still_taught() -> None:
    """Without the others a ReLU may never open again; the student's own may."""
    teacher = trained("eresfd", 1)
    pruned = zero_filters(teacher, torch.zeros(1, 3, 96, 96), GROUP).eval()
    with torch.no_grad():
        norm = pruned.base.m0.fpn.laterals[2].conv[1]
        norm.bias[norm.weight != 0] = -1000.0
    names = names_of(teacher, teachable("eresfd").blocks)
    channels = channels_of(teacher, pruned, IMAGES, names)
    assert channels["base.m0.fpn.laterals.2", 0].gave_alive[0].sum() == 12
    for (name, _), known_channels in channels.items():
        expected = {2, 4, 6, 12} if name != "base.m0.fpn" else {12}
        assert {int(mask.sum()) for mask in known_channels.gave_alive} <= expected, name


def test_layers_start_with_the_mean_and_spread_of_what_the_teachers_give() -> None:
    """A filter that is dead in the teacher starts with a small scale, so that it may learn."""
    teacher, student = trained("eresfd", 1), build("eresfd", 2)
    with torch.no_grad():
        teacher.base.conv2[0].weight[3] = 0
    folded = fold_batch_norm(teacher, IMAGES[:1])
    layers = layers_by_name(student, IMAGES[:1])
    spread_like(layers, folded, [IMAGES])
    (seen,) = teacher_outputs(folded, IMAGES, ["base.conv2.0"]).seen
    (gave,) = tensors(seen.gave)
    norm = student.base.conv2[1]
    torch.testing.assert_close(norm.bias, gave.mean(dim=(0, 2, 3)))
    spread = gave.std(dim=(0, 2, 3))
    alive = torch.arange(len(spread)) != 3
    torch.testing.assert_close(norm.weight[alive], spread[alive])
    assert spread[3] < 1e-6 < 0.01 * spread.mean() < norm.weight[3] < 0.2 * spread.mean()
