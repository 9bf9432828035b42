"""What the command line says of a network's input: its size, and what pixels become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.recipe import Recipe


def read_size(text: str) -> tuple[int, int]:
    """Return height and width of ``--size``; raise :class:`InputError` for what is none."""
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"--size must be HEIGHTxWIDTH, for example 480x640 (got {text!r})")
    return int(height), int(width)


def need_size(model: str, recipe: Recipe, path: Path | None, sizes: object) -> None:
    """Raise :class:`InputError` where nobody says the size of a network of one's own.

    ``sizes`` are what ``--size`` says, and ``path`` is the recipe's file.
    """
    if ":" not in model or sizes or recipe.input.shapes or (path is not None and says_size(path)):
        return
    from toolchain.models.registry import build_network
    from toolchain.models.told_inputs import is_told

    if not is_told(build_network(model).places):
        raise InputError(
            f"{model}: say the input's size: --size HEIGHTxWIDTH, or input_size = (HEIGHT, WIDTH) "
            f"on the factory, the network or the module, or height and width of [input] in a recipe"
        )


def says_size(path: Path) -> bool:
    """Tell whether a recipe, which has been read before, says height and width."""
    import tomllib

    section = tomllib.loads(path.read_text(encoding="utf-8")).get("input", {})
    return {"height", "width"} <= set(section)


def fed_as(recipe: Recipe, options: Mapping[str, str | None]) -> Recipe:
    """Return the recipe with ``--scale``, ``--mean`` and ``--std`` in place of its own.

    A range that a recipe says was that of its own numbers, and goes with them.
    """
    from toolchain.recipe import override

    given = {name: text for name, text in options.items() if text is not None}
    if not given:
        return recipe
    values: dict[str, object] = {"input.range": None}
    for name, text in given.items():
        numbers = list(_numbers(name, text))
        values[f"input.{name}"] = numbers[0] if name == "scale" else numbers
    return override(recipe, values)


def _numbers(name: str, text: str) -> Iterator[float]:
    """Yield numbers between commas, 1/255 among them."""
    parts = text.split(",")
    if name == "scale" and len(parts) > 1:
        raise InputError(f"--scale must be one number, such as 1/255 (got {text!r})")
    for part in parts:
        above, slash, below = part.partition("/")
        try:
            yield float(above) / float(below) if slash else float(above)
        except (ValueError, ZeroDivisionError):
            example = "1/255" if name == "scale" else "0.485,0.456,0.406"
            raise InputError(
                f"--{name} must be numbers, such as {example} (got {text!r})"
            ) from None
