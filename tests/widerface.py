"""A small data set of drawn faces, in WIDER FACE's official layout and nesting of lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

EVENTS = ("0--Parade", "1--Handshaking", "12--Group")
LEVEL_HEIGHTS = {"easy": 40, "medium": 24, "hard": 10}
"""From which height in pixels on a face counts at a level."""

Faces = dict[str, NDArray[np.int32]]


def make_wider(
    root: Path,
    images: Mapping[str, int] | int = 6,
    *,
    seed: int = 0,
    train: Mapping[str, int] | int = 2,
    test: int = 2,
    extra_boxes: bool = False,
    absent: Collection[str] = (),
    empty: Collection[str] = (),
    truncated: Collection[str] = (),
    ground_truth: str = "ground_truth",
) -> Path:
    """Write a data set below ``root`` and return ``root``; the same arguments, the same bytes.

    ``images`` of the validation set: faces by name ("EVENT/IMAGE", photos of an event side by
    side), or a number of photos, with 1 to 4 faces each, over the events of ``EVENTS``; ``train``
    likewise, ``test`` is a number. Photos are JPEG, 160x120 to 320x240 pixels, with up to 12 faces
    of 12 to 59 pixels that do not overlap. A photo of 0 faces is listed as the official lists do:
    one box of zeros, which counts nowhere, in the .mat lists, and a count of 0 with a line of zeros
    in the text.

    ``extra_boxes``: each photo also lists a box of 3x3 pixels that counts at no level and, last,
    one of width 0, which the text flags as invalid. Validation photos in ``absent`` are listed but
    not written, those in ``empty`` have no bytes, those in ``truncated`` half of them.
    ``ground_truth`` is the folder of the .mat lists.
    """
    generator = np.random.default_rng(seed)
    splits = {"val": _counts(images), "train": _counts(train), "test": _counts(test)}
    faces: dict[str, Faces] = {}
    for split, counts in splits.items():
        faces[split] = {}
        for name, count in counts.items():
            data, boxes = draw_photo(generator, count)
            if extra_boxes:
                boxes = np.vstack([boxes, np.array([[2, 2, 3, 3], [5, 5, 0, 9]], np.int32)])
            faces[split][name] = boxes
            path = root / f"WIDER_{split}" / "images" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if split != "val" or name not in absent:
                path.write_bytes(_spoilt(data, name, empty, truncated) if split == "val" else data)
    write_mat_lists(root / ground_truth, faces["val"])
    write_text_lists(root / "wider_face_split", faces)
    return root


def _counts(images: Mapping[str, int] | int) -> Mapping[str, int]:
    if not isinstance(images, int):
        return images
    share = -(-images // len(EVENTS)) or 1
    events = [EVENTS[i // share] for i in range(images)]
    return {
        f"{event}/{event.replace('--', '_')}_drawn_{i}": 1 + i % 4 for i, event in enumerate(events)
    }


def _spoilt(data: bytes, name: str, empty: Collection[str], truncated: Collection[str]) -> bytes:
    if name in empty:
        return b""
    return data[: len(data) // 2] if name in truncated else data


def draw_photo(generator: np.random.Generator, count: int) -> tuple[bytes, NDArray[np.int32]]:
    """Return a JPEG of ``count`` faces (12 at most) on a gradient, and their boxes (G, 4)."""
    width, height = 160 + 32 * int(generator.integers(6)), 120 + 24 * int(generator.integers(6))
    columns, rows = 4, 3
    ramp = np.linspace(60, 180, width)[None, :, None] + np.linspace(-30, 40, height)[:, None, None]
    image = np.clip(ramp + generator.integers(0, 30, 3), 0, 255).astype(np.uint8)
    room = min(width // columns, height // rows)
    boxes = []
    for place in generator.permutation(columns * rows)[:count]:
        high = int(generator.integers(12, room))
        wide = max(10, high * 4 // 5)
        left = int(place) % columns * (width // columns) + int(generator.integers(room - high + 1))
        top = int(place) // columns * (height // rows) + int(generator.integers(room - high + 1))
        draw_face(image, (left, top, wide, high))
        boxes.append((left, top, wide, high))
    if len(boxes) < count:
        raise ValueError(f"a drawn photo holds up to {columns * rows} faces, not {count}")
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert done
    return data.tobytes(), np.array(boxes, np.int32).reshape(-1, 4)


def draw_face(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
    """Draw an oval with hair, eyes and a mouth that fills ``box`` (left, top, width, height)."""
    left, top, wide, high = box
    centre = (left + wide // 2, top + high // 2)
    half = (wide // 2, high // 2)
    cv2.ellipse(image, centre, half, 0, 0, 360, (135, 170, 225), -1, cv2.LINE_AA)
    cv2.ellipse(image, centre, half, 0, 200, 340, (30, 40, 60), -1, cv2.LINE_AA)
    eye = max(1, wide // 12)
    for side in (-1, 1):
        place = (centre[0] + side * wide // 5, top + high * 9 // 20)
        cv2.circle(image, place, eye, (20, 20, 20), -1, cv2.LINE_AA)
    mouth = (max(1, wide // 5), max(1, high // 14))
    place = (centre[0], top + high * 3 // 4)
    cv2.ellipse(image, place, mouth, 0, 0, 180, (60, 50, 160), -1, cv2.LINE_AA)


# The lists ----------------------------------------------------------------------------------------


def column(items: Sequence[object]) -> NDArray[np.object_]:
    """Return a cell array (N, 1)."""
    cells = np.empty((len(items), 1), object)
    for i, item in enumerate(items):
        cells[i, 0] = item
    return cells


def counted_faces(boxes: NDArray[np.int32], level: str) -> NDArray[np.int64]:
    """Return the numbers, from 1, of the faces that count at a level."""
    high_enough = (boxes[:, 2] > 0) & (boxes[:, 3] >= LEVEL_HEIGHTS[level])
    return np.flatnonzero(high_enough) + 1


def write_mat_lists(folder: Path, faces: Faces) -> None:
    """Write the four lists of the validation set as the official ones are nested."""
    folder.mkdir(parents=True, exist_ok=True)
    events = list(dict.fromkeys(name.split("/")[0] for name in faces))
    names = [[name for name in faces if name.split("/")[0] == event] for event in events]
    lists = {
        "event_list": column(events),
        "file_list": column([column([name.split("/")[1] for name in part]) for part in names]),
        "face_bbx_list": column([column([_listed(faces[name]) for name in n]) for n in names]),
    }
    savemat(folder / "wider_face_val.mat", lists, do_compression=True)
    for level in LEVEL_HEIGHTS:
        chosen = column([column([_indices(faces[name], level) for name in n]) for n in names])
        savemat(
            folder / f"wider_{level}_val.mat", {**lists, "gt_list": chosen}, do_compression=True
        )


def _listed(boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    return boxes if len(boxes) else np.zeros((1, 4), np.int32)


def _indices(boxes: NDArray[np.int32], level: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return (n, 1) of the smallest type; none are (0, 0), or (0, 1) if there are other faces."""
    numbers = counted_faces(boxes, level)
    if not len(numbers):
        return np.empty((0, 1 if len(boxes) else 0), np.uint8)
    return numbers.astype(np.uint8 if numbers[-1] < 256 else np.uint16)[:, None]


def write_text_lists(folder: Path, faces: Mapping[str, Faces]) -> None:
    """Write the text lists: faces of val and train, files of test."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("val", "train"):
        text = "".join(annotation(name, boxes) for name, boxes in faces[split].items())
        (folder / f"wider_face_{split}_bbx_gt.txt").write_text(text)
    files = "".join(f"{name}.jpg\n" for name in faces["test"])
    (folder / "wider_face_test_filelist.txt").write_text(files)


def annotation(name: str, boxes: NDArray[np.int32]) -> str:
    """Return an entry of a text list; lines of faces end in a blank, as the official ones do."""
    rows = [(*map(int, box), 0, 0, 0, int(box[2] < 1), 0, 0) for box in boxes] or [(0,) * 10]
    lines = "".join(" ".join(map(str, row)) + " \n" for row in rows)
    return f"{name}.jpg\n{len(boxes)}\n{lines}"
