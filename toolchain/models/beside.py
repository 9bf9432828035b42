"""Stand-ins for what lies beside weights in a pickle: NumPy's numbers, arguments, paths, dates.

Nothing of it is needed, so nothing of it is made: each class or function that is known to be
harmless is read as a stand-in that takes any arguments and keeps none. The file runs no code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

_NUMPY = ("dtype", "ndarray")
_NUMPY_FUNCTIONS = ("scalar", "_reconstruct")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")
_DATES = ("date", "datetime", "time", "timedelta", "timezone")
_FACTORIES = ("dict", "list", "tuple", "int", "float", "str", "bool", "frozenset", "range", "slice")

NAMES = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"numpy.{name}" for name in _NUMPY),
    *(f"numpy.core.multiarray.{name}" for name in _NUMPY_FUNCTIONS),
    *(f"numpy._core.multiarray.{name}" for name in _NUMPY_FUNCTIONS),
    *(f"pathlib.{name}" for name in _PATHS),
    *(f"pathlib._local.{name}" for name in _PATHS),
    *(f"datetime.{name}" for name in _DATES),
    *(f"builtins.{name}" for name in _FACTORIES),
)
"""Read as stand-ins. The types are what ``defaultdict`` is told to make."""


_KINDS = {
    name: f"numpy.{kind}"
    for name in NAMES
    for function, kind in (("scalar", "number"), ("_reconstruct", "ndarray"))
    if name.endswith(f".{function}")
}
"""What functions make."""


class StandIn:
    """What a value beside the weights is read as; its class has the name of the value's."""

    def __new__(cls, *_: object) -> StandIn:
        """Take what the value would be made of."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        """Keep nothing."""

    def __setstate__(self, _: object) -> None:
        """Keep nothing of what the value holds."""


def _empty_dict(*_: object) -> dict[object, object]:
    """Stand in for ``defaultdict``, whose entries follow."""
    return {}


def _empty_list(*_: object) -> list[object]:
    """Stand in for ``deque``, whose items follow."""
    return []


@cache
def stand_ins() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """Return the stand-ins with their names, as :func:`torch.serialization.safe_globals` has them.

    Each has a class of its own, so that messages can tell what a value was.
    """
    return [
        *((type(_KINDS.get(name, name), (StandIn,), {}), name) for name in NAMES),
        (_empty_dict, "collections.defaultdict"),
        (_empty_list, "collections.deque"),
    ]
