"""``tc.evaluate``: how good a network or a file is, by whatever tells it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from toolchain.errors import InputError
from toolchain.evaluating.model import Model, network_model
from toolchain.evaluating.opening import plan_model
from toolchain.evaluating.running import evaluator
from toolchain.library.handing_over import demand_network, name_of
from toolchain.library.shrinking import Shrunk
from toolchain.library.taking import copied, undisturbed
from toolchain.library.wording import in_python_words
from toolchain.recipe import Recipe, load_recipe, override

Place: TypeAlias = str | os.PathLike[str]
Evaluation: TypeAlias = str | Callable[[Model, Path], Mapping[str, float]]
"""``top``, ``miou``, ``coco``, ``points``, ``module:function``, or a function itself."""


@in_python_words()
def evaluate(
    what: Shrunk | torch.nn.Module | Place,
    data: Place,
    *,
    function: Evaluation | None = None,
    recipe: Recipe | Place | None = None,
) -> dict[str, float]:
    """Return figures by name, of a network or a file.

    Args:
        what: a network; or the path of weights, an output folder, or one of its files.
        data: the folder that the evaluation takes.
        function: ``top``, ``miou``, ``coco``, ``points``, ``module:function``, or a function that
            takes a model and the folder and returns figures by name; the recipe's
            ``evaluate.function`` by default. ``model(picture)`` gives all outputs for a path or
            pixels uint8 (H, W, 3), blue first, fed as on the board; ``model.run(inputs)`` for
            inputs as the network takes them.
        recipe: how pictures become inputs; files of an output folder know it.

    Raises:
        InputError: no recipe tells how pictures become inputs, the data are not what the function
            takes, or it raised or gave no numbers.

    Example:
        >>> tc.evaluate("out/mine/model_int8.onnx", "photos", function="top")
        {'top1': 0.9633, 'top5': 0.9983}
    """
    told = load_recipe(Path(recipe)) if isinstance(recipe, str | os.PathLike) else recipe
    if isinstance(what, str | os.PathLike):
        plan = plan_model(Path(what), told)
        found, opened = plan.recipe, lambda: plan.open()
    else:
        if told is None:
            raise InputError(
                "recipe must be given with a network: it says how pictures become inputs"
            )
        live = demand_network(what.network if isinstance(what, Shrunk) else what, "what")
        found = told

        def opened() -> Model:
            return network_model(name_of(live), told, copied(live).cpu().float().eval())

    return _figures(opened, found, Path(data), function)


def _figures(
    opened: Callable[[], Model], recipe: Recipe, data: Path, function: Evaluation | None
) -> dict[str, float]:
    recipe, score = named(recipe, function)
    evaluation = evaluator(recipe, data, score=score)
    with undisturbed():
        model = opened()
        model.recipe = dataclasses.replace(model.recipe, evaluate=recipe.evaluate)
        return dict(evaluation.figures(model).values)


def named(recipe: Recipe, function: Evaluation | None) -> tuple[Recipe, Any]:
    """Return a recipe that names the function, or the function itself."""
    if function is None or callable(function):
        return recipe, function
    return override(recipe, {"evaluate.function": function}), None
