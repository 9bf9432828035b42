"""Recipes: TOML in, frozen dataclasses out.

A recipe says everything that a run depends on besides the weights. Unknown or mistyped fields
and values out of range raise :class:`~toolchain.errors.RecipeError` with the file's line.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from toolchain.errors import RecipeError

Criterion = Literal["fpgm", "l1"]
Scope = Literal["group", "layer"]


@dataclass(frozen=True)
class Range:
    """The values a number may take; attached to a field by ``Annotated``."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        left = ">" if self.low_open else ">="
        right = "<" if self.high_open else "<="
        return f"{left} {self.low:g} and {right} {self.high:g}"


Pixels = typing.Annotated[int, Range(16, 8192)]
Finite = typing.Annotated[float, Range(-1e6, 1e6)]
Share = typing.Annotated[float, Range(0, 1)]
Positive = typing.Annotated[float, Range(0, 1e6, low_open=True)]


@dataclass(frozen=True)
class ModelSection:
    """Which network, and how it starts when there are no weights."""

    name: str
    """``eresfd``, ``extd``, or ``module:factory`` for a network of your own."""
    seed: typing.Annotated[int, Range(0, 2**31 - 1)] = 0
    """Seed of the random weights and of the random inputs of the proofs."""


@dataclass(frozen=True)
class InputSection:
    """What the network is fed: an image of float32 (1, 3, height, width), mean subtracted."""

    height: Pixels = 480
    """Pixels. The exported file has this height unless it is made dynamic."""
    width: Pixels = 640
    """Pixels."""
    color_order: Literal["RGB", "BGR"] = "RGB"
    """Order of the three input channels."""
    mean: tuple[Finite, Finite, Finite] = (123.0, 117.0, 104.0)
    """Subtracted from each channel, in ``color_order``; there is no scaling."""


@dataclass(frozen=True)
class AnchorSection:
    """One anchor per cell, centred at (i + 0.5) * stride."""

    sizes: tuple[Positive, ...]
    """Anchor width in pixels, per level."""
    strides: tuple[typing.Annotated[int, Range(1, 1024)], ...]
    """Pixels per cell, per level, fine to coarse; level i has ceil(height / stride) rows."""
    aspect_ratio: typing.Annotated[float, Range(0.1, 10)] = 1.0
    """Anchor height over width. Belongs to the weights; a known layout overrides it."""


@dataclass(frozen=True)
class DecodeSection:
    """From raw outputs to boxes (SSD's encoding)."""

    variances: tuple[Positive, Positive] = (0.1, 0.2)
    """Scale of the centre offsets and of the log sizes."""
    score_threshold: Share = 0.4
    """Boxes with a lower face probability are not shown."""
    nms_iou: Share = 0.3
    """Of two boxes that overlap more than this, the lower score goes."""
    max_detections: typing.Annotated[int, Range(1, 100_000)] = 750
    """At most so many boxes per image."""


@dataclass(frozen=True)
class PruneSection:
    """Which filters are zeroed when a rate is given."""

    rate: typing.Annotated[float, Range(0, 1, high_open=True)] | None = None
    """floor(rate * n) of the n filters go; None zeroes nothing and removes what is zero."""
    criterion: Criterion = "fpgm"
    """``fpgm``: nearest to the geometric median first; ``l1``: smallest first."""
    scope: Scope = "group"
    """``layer``: each convolution on its own (the paper); ``group``: the same channel in every
    layer of a dependency group, so that all of it can be removed."""
    protected: tuple[str, ...] = ("loc.*", "conf.*")
    """Layers, as shell patterns, that are never zeroed."""


Epochs = typing.Annotated[int, Range(0, 100_000)]


@dataclass(frozen=True)
class TrainSection:
    """Training by the data set's own faces: soft filter pruning, then the zeros held.

    The values are those of "Filter-Pruning of Lightweight Face Detectors Using a Geometric Median
    Criterion" (WACV workshops 2024), but for ``batch``, which it does not tell.
    """

    epochs: Epochs = 200
    """With soft filter pruning: what was zeroed may come back."""
    choose_every: typing.Annotated[int, Range(1, 100_000)] = 1
    """Epochs after which filters are chosen anew and zeroed. The paper says 1; the scripts that
    were published with it use 5."""
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Share = 0.9
    """Of ``sgd``."""
    weight_decay: typing.Annotated[float, Range(0, 1)] = 5e-4
    drops: tuple[Epochs, ...] = (50, 100)
    """Epochs at which the learning rate is multiplied by ``drop_factor``."""
    drop_factor: Positive = 0.1
    hold_epochs: Epochs = 10
    """After the soft ones, with the zeros held."""
    hold_learning_rate: Positive = 1e-3
    hold_drops: tuple[Epochs, ...] = (5,)
    """The same as ``drops``, counted from where the zeros are held."""
    batch: typing.Annotated[int, Range(1, 4096)] = 16
    """Crops in a step."""


@dataclass(frozen=True)
class CropSection:
    """How the square crops that a network learns from are drawn; shares are probabilities."""

    side: Pixels = 480
    """Pixels of a crop's side. In smaller crops the coarsest levels are all border."""
    near_face: Share = 0.4
    """Share of crops that are centred near a face, scaled to a side drawn from ``face_sides``."""
    face_sides: tuple[Positive, Positive] = (8.0, 390.0)
    """Pixels, smallest and largest, drawn evenly on a logarithmic scale."""
    own_scale: Share = 0.6
    """Share of the other crops that keep the photo's scale; the rest draw from ``scales``."""
    scales: tuple[Positive, Positive] = (0.35, 1.6)
    """Smallest and largest."""
    smallest_face: typing.Annotated[float, Range(0, 8192)] = 6.0
    """Pixels: smaller faces of a crop are no targets."""
    brightness: typing.Annotated[float, Range(0, 255)] = 24.0
    """Largest shift of all colours, of 255."""
    contrast: Share = 0.2
    """Largest change of the contrast, as a share."""
    saturation: Share = 0.3
    """Largest change of the saturation, as a share."""


@dataclass(frozen=True)
class TeachSection:
    """Training with a teacher: block by block first, then end to end."""

    batch: typing.Annotated[int, Range(1, 4096)] = 1
    """Crops in a step."""
    local_share: typing.Annotated[float, Range(0, 0.95)] = 0.4
    """Of the crops, learnt from block by block."""
    settle_share: typing.Annotated[float, Range(0, 0.5)] = 0.1
    """Of the crops, at the start, with batch norm by the batch; then it is averaged and frozen."""
    local_rate: Positive = 1e-2
    """Adam's learning rate block by block; falls to zero as a cosine, as the next one does."""
    joint_rate: Positive = 8e-4
    """End to end."""
    features: typing.Annotated[float, Range(0, 1000)] = 10.0
    """Weight of the teacher's features, end to end; in the last quarter a tenth of it."""
    labels: typing.Annotated[float, Range(0, 100)] = 0.0
    """Weight of the data set's own faces beside the teacher's word, end to end."""
    soft_share: typing.Annotated[float, Range(0, 0.95)] = 0.0
    """Of the end-to-end steps, with soft filter pruning: filters are chosen anew, zeroed, and may
    come back. 0 chooses once, in the teacher, before the first step."""
    choices: typing.Annotated[int, Range(1, 10_000)] = 10
    """How often filters are chosen in that share."""


@dataclass(frozen=True)
class ProofSection:
    """How far two sides may differ before the export is stopped."""

    surgery_limit: typing.Annotated[float, Range(0, 1e-3)] = 1e-5
    """Soft against shrunk network: largest difference as a share of the output's range."""
    onnx_limit: typing.Annotated[float, Range(0, 1e-2)] = 1e-4
    """Shrunk network against the ONNX file: largest absolute difference. Outputs whose range is
    over 10 may differ in proportion, by a tenth of the limit times the range."""


@dataclass(frozen=True)
class Recipe:
    """All of it."""

    model: ModelSection
    input: InputSection = InputSection()
    anchors: AnchorSection | None = None
    """None for a network that is no anchor-based detector."""
    decode: DecodeSection = DecodeSection()
    prune: PruneSection = PruneSection()
    train: TrainSection = TrainSection()
    teach: TeachSection = TeachSection()
    crops: CropSection = CropSection()
    proof: ProofSection = ProofSection()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; raise :class:`RecipeError` naming the file, the line and what was expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe ({error})") from error
    return parse_recipe(text, str(path))


def default_recipe(model: str) -> Recipe:
    """Return the recipe that ships for ``model``, or a plain one for a network of one's own."""
    if ":" in model:
        return Recipe(
            model=ModelSection(name=model),
            input=InputSection(height=224, width=224),
            prune=PruneSection(protected=()),
        )
    resource = resources.files("recipes").joinpath(f"{model}.toml")
    if not resource.is_file():
        raise RecipeError(
            f"no recipe for model {model!r}; there are: {', '.join(shipped_models())}"
        )
    return parse_recipe(resource.read_text(encoding="utf-8"), f"recipes/{model}.toml")


def shipped_models() -> list[str]:
    """Return the names that have a recipe of their own."""
    files = resources.files("recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".toml"))


def parse_recipe(text: str, name: str) -> Recipe:
    """Make a :class:`Recipe` of TOML ``text``; ``name`` is what errors call it."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # huge numbers, deep nesting
        raise RecipeError(f"{name}: not valid TOML: {error}") from error
    recipe = _Reader(text, name).section(Recipe, table, ())
    anchors = recipe.anchors
    if anchors is not None and not anchors.sizes:
        line = _Reader(text, name).line(("anchors", "sizes"))
        raise RecipeError(f"{name}:{line}: anchors.sizes must have at least one entry (got [])")
    if anchors is not None and len(anchors.sizes) != len(anchors.strides):
        line = _Reader(text, name).line(("anchors", "sizes"))
        raise RecipeError(
            f"{name}:{line}: anchors.sizes must have one entry per stride "
            f"({len(anchors.strides)}; got {len(anchors.sizes)})"
        )
    return typing.cast(Recipe, recipe)


def parse_assignment(text: str) -> tuple[str, object]:
    """Read ``SECTION.FIELD=VALUE``, the value as TOML has it; bare words are texts."""
    path, sign, value = text.partition("=")
    path, sections = path.strip(), {field.name for field in dataclasses.fields(Recipe)}
    section, _, name = path.partition(".")
    if not sign or section not in sections or not name.isidentifier():
        raise RecipeError(
            f"--set must be SECTION.FIELD=VALUE, for example train.epochs=20 (got {text!r}); "
            f"sections: {', '.join(sorted(sections))}"
        )
    try:
        return path, tomllib.loads(f"value = {value.strip()}")["value"]
    except ValueError:
        return path, value.strip()


def override(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """Return ``recipe`` with some fields changed, for example ``{"prune.rate": 0.1}``.

    Values are checked as those of a file are; errors call them by their names.
    """
    reader = _Reader("", "command line")
    for path, value in values.items():
        section_name, field_name = path.split(".")
        section = getattr(recipe, section_name)
        if section is None:
            raise RecipeError(f"{recipe.model.name} has no {section_name}, so no {path}")
        hints = typing.get_type_hints(type(section), include_extras=True)
        if field_name not in hints:
            raise RecipeError(f"{path} is unknown; known here: {', '.join(hints)}")
        checked = reader.value(hints[field_name], value, (section_name, field_name))
        section = dataclasses.replace(section, **{field_name: checked})
        recipe = dataclasses.replace(recipe, **{section_name: section})
    return recipe


class _Reader:
    """Turns tables into dataclasses and knows the line of every key, for messages."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def line(self, keys: tuple[str, ...]) -> int:
        """Return the line (from 1) of a key, or of the innermost table around it."""
        table, found, depth = "", 1, 0
        for number, line in enumerate(self.lines, start=1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
            key = re.match(r"""\s*([\w."'-]+)\s*=""", line)
            if header:
                table = place = header.group(1)
            elif key:
                place = ".".join(filter(None, [table, key.group(1)]))
            else:
                continue
            path = tuple(re.sub("[\"' ]", "", place).split("."))
            if path == keys:
                return number
            if path == keys[: len(path)] and len(path) > depth:
                found, depth = number, len(path)
        return found

    def fail(self, keys: tuple[str, ...], problem: str) -> typing.NoReturn:
        place = f"{self.name}:{self.line(keys)}" if self.lines else self.name
        field = ".".join(key if key.isprintable() else repr(key) for key in keys)
        raise RecipeError(f"{place}: {field} {problem}")

    def section(self, kind: type[Any], table: object, keys: tuple[str, ...]) -> Any:
        if not isinstance(table, dict):
            self.fail(keys, f"must be a table (got {table!r})")
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for key in table:
            if key not in fields:
                self.fail((*keys, key), f"is unknown; known here: {', '.join(fields)}")
        hints = typing.get_type_hints(kind, include_extras=True)
        values = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self.value(hints[name], table[name], (*keys, name))
            elif field.default is dataclasses.MISSING:
                self.fail((*keys, name), "is missing")
        return kind(**values)

    def value(self, hint: Any, value: object, keys: tuple[str, ...]) -> Any:
        origin = typing.get_origin(hint)
        if origin is types.UnionType or origin is typing.Union:
            inner = [option for option in typing.get_args(hint) if option is not type(None)]
            return None if value is None else self.value(inner[0], value, keys)
        if dataclasses.is_dataclass(hint):
            return self.section(typing.cast("type[Any]", hint), value, keys)
        if origin is typing.Annotated:
            base, limits = typing.get_args(hint)
            number = self.value(base, value, keys)
            if number not in limits:
                self.fail(keys, f"must be {limits} (got {value!r})")
            return number
        if origin is Literal:
            choices = typing.get_args(hint)
            if value not in choices:
                self.fail(keys, f"must be one of {', '.join(choices)} (got {value!r})")
            return value
        if origin is tuple:
            return self.items(hint, value, keys)
        return self.scalar(hint, value, keys)

    def items(self, hint: Any, value: object, keys: tuple[str, ...]) -> tuple[Any, ...]:
        arguments = typing.get_args(hint)
        if not isinstance(value, list):
            self.fail(keys, f"must be a list (got {value!r})")
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(value) != len(arguments):
            self.fail(keys, f"must have {len(arguments)} entries (got {len(value)})")
        return tuple(self.value(a, v, keys) for a, v in zip(arguments, value, strict=True))

    def scalar(self, hint: type[Any], value: object, keys: tuple[str, ...]) -> Any:
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                self.fail(keys, f"must be a number that a float can hold (got {value!r})")
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            self.fail(keys, f"must be {hint.__name__} (got {value!r})")
        return value
