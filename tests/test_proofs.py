"""What is proved of a surgery: exact in float64, and in its own type no further from that."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from toolchain.checking.pictures import smooth_input
from toolchain.checking.proofs import EXACT_LIMIT, Pair, analysis_example, prove_surgery
from toolchain.errors import ParityError
from toolchain.recipe import ModelSection, Recipe, override
from toolchain.records.stages import Surgery

RECIPE = override(Recipe(ModelSection("a:network")), {"input.height": 32, "input.width": 32})


class BoxesAndScores(nn.Module):
    """Boxes in pixels beside scores that hardly move."""

    def __init__(self, bias: float = -4.0, std: float = 0.05) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.box, self.score = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 1, 3, padding=1)
        nn.init.normal_(self.score.weight, std=std)
        nn.init.constant_(self.score.bias, bias)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return self.box(y) * 640, self.score(y / 64).sigmoid()


def pair_of(soft: nn.Module, exact: nn.Module | None, shrunk: nn.Module | None = None) -> Pair:
    example = torch.zeros(1, 3, 32, 32)
    if shrunk is None:
        assert exact is not None
        shrunk = copy.deepcopy(exact).float()
    pictures = (smooth_input(example, 0, (-128.0, 128.0)),)
    names = ("output_0", "output_1")
    return Pair(
        soft, shrunk, exact, Surgery(1, (), ()), (example,), (example,), (), pictures, names
    )


def test_the_same_network_is_exact_and_its_rounding_is_told() -> None:
    soft = BoxesAndScores()
    proof = prove_surgery(pair_of(soft, copy.deepcopy(soft).double()), RECIPE)
    assert proof.exact is not None
    assert proof.exact.worst == 0
    assert proof.rounded.worst is not None
    assert 0 < proof.rounded.worst < 1e-5  # float32 against float64
    inputs = {case.input for case in proof.exact.cases}
    assert {"all zero", "bright", "dark", "a bright pixel in each corner", "a ramp"} < inputs
    assert any(case.shape[0] == 2 for case in proof.exact.cases)


@pytest.mark.parametrize("share", [1 / 3, 1e-4, 1e-8])
def test_scores_that_are_wrong_beside_boxes_in_pixels_are_found(share: float) -> None:
    """What one range for all outputs called 1e-5 of it."""
    soft = BoxesAndScores()
    exact = copy.deepcopy(soft).double()
    with torch.no_grad():
        exact.score.weight *= 1 + share
    with pytest.raises(ParityError, match=r"in float64: .*worst in output_1, ") as caught:
        prove_surgery(pair_of(soft, exact), RECIPE)
    assert f"more than {EXACT_LIMIT:.2g}" in str(caught.value)


def test_only_the_border_of_one_channel_wrong_is_found() -> None:
    soft = BoxesAndScores()

    class OtherBorder(BoxesAndScores):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            boxes, scores = super().forward(x)
            scores[:, :, 0, 0] += 1e-7
            return boxes, scores

    exact = OtherBorder().double()
    with pytest.raises(ParityError, match=r"in float64: .*output_1"):
        prove_surgery(pair_of(soft, exact, shrunk=OtherBorder()), RECIPE)


def test_what_is_wrong_in_small_images_alone_is_found() -> None:
    class OtherWhenSmall(BoxesAndScores):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            boxes, scores = super().forward(x)
            return boxes, scores + (1e-7 if min(x.shape[2:]) < 16 else 0)

    with pytest.raises(ParityError, match=r"in float64: .*on random 1x5x5"):
        prove_surgery(
            pair_of(BoxesAndScores(), OtherWhenSmall().double(), shrunk=BoxesAndScores()), RECIPE
        )


def test_an_output_that_hardly_varies_beside_its_size_is_proved() -> None:
    """Class logits of a fresh detector: -4.6, give or take a thousandth."""

    class Logits(BoxesAndScores):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.body(x)
            return self.box(y), self.score(y / 64)

    soft = Logits(bias=-4.595, std=0.0003)
    exact = copy.deepcopy(soft).double()
    order = torch.tensor([3, 1, 0, 2, 7, 5, 6, 4])  # the same sums in another order: all may differ
    with torch.no_grad():
        for module in (exact.body[0], exact.body[1]):
            for tensor in [*module.parameters(), *module.buffers()]:
                if tensor.ndim:
                    tensor.copy_(tensor[order].clone())
        for head in (exact.box, exact.score):
            head.weight.copy_(head.weight[:, order].clone())
    proof = prove_surgery(pair_of(soft, exact), RECIPE)
    assert proof.exact is not None
    assert proof.exact.passed
    assert proof.rounded.passed


def test_a_shrunk_network_that_rounds_worse_than_the_soft_one_is_refused() -> None:
    soft = BoxesAndScores()
    exact = copy.deepcopy(soft).double()
    rough = copy.deepcopy(soft)
    with torch.no_grad():
        rough.box.weight.copy_(rough.box.weight.half().float())
    with pytest.raises(ParityError, match=r"rounded: .*output_0"):
        prove_surgery(pair_of(soft, exact, shrunk=rough), RECIPE)


def test_what_does_not_run_in_float64_is_compared_in_its_own_type() -> None:
    soft = BoxesAndScores()
    proof = prove_surgery(pair_of(soft, None, shrunk=copy.deepcopy(soft)), RECIPE)
    assert proof.exact is None
    assert proof.rounded.worst == 0
    wrong = copy.deepcopy(soft)
    with torch.no_grad():
        wrong.score.weight *= 1.01
    with pytest.raises(ParityError, match="output_1"):
        prove_surgery(pair_of(soft, None, shrunk=wrong), RECIPE)


class FailsOnSome(nn.Module):
    """Takes other sizes than 32x32 for some values alone, as an unpooling of odd sides does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2:] != (32, 32) and float(image.abs().max()) > 0:
            raise RuntimeError("an index lies beyond")
        out: Tensor = self.layer(image)
        return out


def test_inputs_on_which_the_network_itself_fails_are_left_out_and_told() -> None:
    soft = FailsOnSome().eval()
    found = prove_surgery(pair_of(soft, copy.deepcopy(soft).double()), RECIPE)
    assert found.exact is not None
    assert any(case.input.startswith("random 1x32x32") for case in found.exact.cases)
    assert any("(does not run)" in words for words in found.left_out)


@pytest.mark.parametrize(
    ("side", "pooled", "expected"),
    [(64, False, (64, 64)), (32, False, (64, 64)), (64, True, (128, 128)), (224, True, (320, 256))],
)
def test_the_surgery_looks_at_twice_the_size_where_maps_are_of_few_cells(
    side: int, pooled: bool, expected: tuple[int, int]
) -> None:
    """At an eighth of the size: 64 pixels leave eight cells, 32 leave four, and a mean one."""
    last = nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity()
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)), last).eval()
    own = replace(RECIPE, anchors=None)
    look = analysis_example(network, (torch.zeros(1, 3, side, side),), own)
    assert tuple(look[0].shape[2:]) == expected
