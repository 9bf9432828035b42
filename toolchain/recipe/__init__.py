"""Recipes: TOML in, frozen dataclasses out.

A recipe says everything that a run depends on besides the weights. Unknown or mistyped fields
and values out of range raise :class:`~toolchain.errors.RecipeError` with the file's line.
"""

from toolchain.recipe.checking import Range
from toolchain.recipe.evaluate_section import BUILT_IN, EvaluateSection
from toolchain.recipe.limit_sections import BudgetSection, GateSection, Limit, ProofSection
from toolchain.recipe.loading import (
    default_recipe,
    load_recipe,
    models_with_recipe,
    override,
    parse_assignment,
    parse_recipe,
)
from toolchain.recipe.sections import (
    REWRITES,
    AnchorSection,
    Criterion,
    DecodeSection,
    ExportSection,
    InputSection,
    ModelSection,
    PruneSection,
    Recipe,
    Rewrite,
    Scope,
)
from toolchain.recipe.task_section import Activation, Kind, TaskSection
from toolchain.recipe.training_sections import CropSection, TeachSection, TrainSection

__all__ = [
    "BUILT_IN",
    "REWRITES",
    "Activation",
    "AnchorSection",
    "BudgetSection",
    "Criterion",
    "CropSection",
    "DecodeSection",
    "EvaluateSection",
    "ExportSection",
    "GateSection",
    "InputSection",
    "Kind",
    "Limit",
    "ModelSection",
    "ProofSection",
    "PruneSection",
    "Range",
    "Recipe",
    "Rewrite",
    "Scope",
    "TaskSection",
    "TeachSection",
    "TrainSection",
    "default_recipe",
    "load_recipe",
    "models_with_recipe",
    "override",
    "parse_assignment",
    "parse_recipe",
]
