"""WIDER FACE's ground truth of the validation set: which faces count at easy, medium and hard.

``wider_face_val.mat`` lists events, photos and boxes; ``wider_{easy,medium,hard}_val.mat`` list,
for each photo, the numbers (from 1) of the boxes that count. Boxes that do not count at a level
are there all the same: a detection of one is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.data.bounded import is_there
from toolchain.data.matfile import Value, read_mat
from toolchain.data.names import name_error, quoted
from toolchain.errors import DataError
from toolchain.records.accuracy import LEVELS

FACES = "wider_face_val.mat"
FILES = (FACES, *(f"wider_{level}_val.mat" for level in LEVELS))
FOLDERS = ("ground_truth", "eval_tools/ground_truth", "wider_face_split")
"""Where the lists may lie: as in eval_tools.zip, that folder as unpacked, beside the text lists."""

Photo = tuple[str, NDArray[np.float64], dict[str, NDArray[np.bool_]]]
"""``EVENT/IMAGE``, boxes (G, 4) left, top, width, height in pixels, and (G,) per level: counted."""


def ground_truth_folder(root: Path) -> Path | None:
    """Return the folder below ``root`` that holds most of the four lists; None if none does."""
    held = {
        root / folder: sum(is_there(root / folder / file) for file in FILES) for folder in FOLDERS
    }
    best = max(held, key=lambda folder: held[folder])  # of equal ones the first
    return best if held[best] else None


def read_levels(folder: Path) -> list[Photo]:
    """Return all photos of the validation set in official order.

    Raises :class:`DataError` when a list is absent or not what it must be, when the lists
    disagree, and when a name could leave the folder of photos or is listed twice.
    """
    absent = [file for file in FILES if not is_there(folder / file)]
    if absent:
        raise DataError(
            f"{folder} lacks {', '.join(absent)}; unpack the official eval_tools.zip there"
        )
    path = folder / FACES
    lists = read_mat(path, ("event_list", "file_list", "face_bbx_list"))
    events = _cells(path, "event_list", lists["event_list"])
    files = _nested(path, "file_list", lists["file_list"], [None] * len(events))
    names = _names(path, events, files)
    lengths = [len(event) for event in files]
    boxes = _flat(_nested(path, "face_bbx_list", lists["face_bbx_list"], lengths))
    checked = [_boxes(path, name, value) for name, value in zip(names, boxes, strict=True)]
    levels = {level: _counted(folder, level, lengths, names, checked) for level in LEVELS}
    return [
        (name, checked[i], {level: levels[level][i] for level in LEVELS})
        for i, name in enumerate(names)
    ]


def _counted(
    folder: Path,
    level: str,
    lengths: Sequence[int],
    names: Sequence[str],
    boxes: Sequence[NDArray[np.float64]],
) -> list[NDArray[np.bool_]]:
    path = folder / f"wider_{level}_val.mat"
    lists = read_mat(path, ("gt_list",))
    indices = _flat(_nested(path, "gt_list", lists["gt_list"], lengths))
    return [
        _chosen(path, name, value, len(faces))
        for name, value, faces in zip(names, indices, boxes, strict=True)
    ]


def _cells(path: Path, name: str, value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise DataError(f"{path}: {name} is no list; get the official file again")
    return value


def _nested(
    path: Path, name: str, value: Value, lengths: Sequence[int | None]
) -> list[list[Value]]:
    """Return a list for each event, of the expected lengths; None is any length."""
    events = [_cells(path, f"a part of {name}", part) for part in _cells(path, name, value)]
    if len(events) != len(lengths):
        raise DataError(
            f"{path}: {name} has {len(events)} events, expected {len(lengths)}; the lists do not "
            f"belong together"
        )
    for number, (event, length) in enumerate(zip(events, lengths, strict=True), start=1):
        if length is not None and len(event) != length:
            raise DataError(
                f"{path}: {name} has {len(event)} photos in event {number}, expected {length}; "
                f"the lists do not belong together"
            )
    return events


def _flat(events: list[list[Value]]) -> list[Value]:
    return [value for event in events for value in event]


def _names(path: Path, events: list[Value], files: list[list[Value]]) -> list[str]:
    """Return ``EVENT/IMAGE`` of all photos; both parts are checked before they become a path."""
    names: dict[str, None] = {}
    for event, photos in zip(events, files, strict=True):
        for photo in photos:
            if not isinstance(event, str) or not isinstance(photo, str):
                raise DataError(f"{path}: an event or photo has no name; get the official file")
            name = f"{event}/{photo}"
            error = name_error(name) or ("it is listed twice" if name in names else None)
            if error:
                raise DataError(f"{path}: {quoted(name)} cannot be the name of a photo: {error}")
            names[name] = None
    if not names:
        raise DataError(f"{path} lists no photos; get the official file again")
    return list(names)


def _boxes(path: Path, name: str, value: Value) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or (value.size and value.shape[1] != 4):
        raise DataError(f"{path}: {name}: its boxes must be left, top, width, height, (G, 4)")
    boxes = value.astype(np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise DataError(f"{path}: {name}: a box is NaN or infinite; get the official file again")
    return boxes


def _chosen(path: Path, name: str, value: Value, faces: int) -> NDArray[np.bool_]:
    """Return the mask (faces,) of the numbers, from 1, in ``value``."""
    if not isinstance(value, np.ndarray) or value.size not in (0, max(value.shape)):
        raise DataError(f"{path}: {name}: the numbers of its faces must be a column, (n, 1)")
    numbers = value.ravel()
    if numbers.size and not (numbers.min() >= 1 and numbers.max() <= faces):  # NaN is neither
        raise DataError(
            f"{path}: {name}: numbers of faces run from {numbers.min()} to {numbers.max()}, and "
            f"it has {faces} boxes; the lists do not belong together"
        )
    if (numbers != np.floor(numbers)).any():
        raise DataError(f"{path}: {name}: a number of a face is not whole")
    chosen = np.zeros(faces, bool)
    chosen[numbers.astype(np.int64) - 1] = True
    return chosen
