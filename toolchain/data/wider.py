"""WIDER FACE in its official layout: the photos that are there, and their ground truth.

    ROOT/WIDER_{train,val,test}/images/EVENT/IMAGE.jpg
    ROOT/ground_truth/wider_{face,easy,medium,hard}_val.mat   (or eval_tools/ground_truth)
    ROOT/wider_face_split/wider_face_train_bbx_gt.txt, wider_face_test_filelist.txt

Photos may be absent: a split is what is there, and says how many are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.data.annotations import read_annotations, read_file_list
from toolchain.data.bounded import is_there
from toolchain.data.levels import FILES, FOLDERS, ground_truth_folder, read_levels
from toolchain.data.names import without_suffix
from toolchain.errors import DataError
from toolchain.records.accuracy import LEVELS

SPLITS = ("val", "train", "test")
TEXT_LISTS = {
    "train": "wider_face_split/wider_face_train_bbx_gt.txt",
    "test": "wider_face_split/wider_face_test_filelist.txt",
}


@dataclass(frozen=True)
class WiderImage:
    """A photo of the data set."""

    name: str
    """``EVENT/IMAGE``, without a suffix."""
    path: Path


@dataclass(frozen=True, eq=False)
class Truth:
    """The faces of a photo."""

    boxes: NDArray[np.float64]
    """(G, 4) left, top, width, height in pixels, of all that the lists name."""
    counted: Mapping[str, NDArray[np.bool_]]
    """Per level (G,): which faces count."""


@dataclass(frozen=True)
class Split:
    """A part of the data set, in official order."""

    name: str
    """``val``, ``train`` or ``test``."""
    images: tuple[WiderImage, ...]
    truths: tuple[Truth, ...]
    """One per photo; without boxes in ``test``."""
    levels: tuple[str, ...]
    """``easy``, ``medium``, ``hard`` of val; ``all`` (every valid face) of train; none of test."""
    listed: int
    """Photos that the lists name."""
    limit: int | None = None
    """This is a sample of so many photos; None: of all that are there."""
    absent: int = 0
    """Listed photos that are not in the folder; 0 where they were not looked for."""

    @property
    def missing(self) -> int:
        """Listed photos whose file is absent; a sample leaves out more."""
        return self.absent

    @property
    def sha256(self) -> str:
        """Hash of the photos' names, boxes, and which of them count: the same on all machines."""
        digest = hashlib.sha256(" ".join(self.levels).encode())
        for image, truth in zip(self.images, self.truths, strict=True):
            digest.update(f"\0{image.name}\0{len(truth.boxes)}\0".encode())
            digest.update(truth.boxes.astype("<f8").tobytes())
            for level in self.levels:
                digest.update(truth.counted[level].tobytes())
        return digest.hexdigest()

    def spread(self, limit: int | None) -> Split:
        """Return a sample of ``limit`` photos, evenly spaced over their order, always the same.

        None, and a limit that no photo exceeds, give the split as it is. Raises
        :class:`DataError` for a limit below 1.
        """
        if limit is None:
            return self
        if limit < 1:
            raise DataError(f"a sample must have 1 photo or more (got {limit})")
        total = len(self.images)
        if limit >= total:
            return self
        chosen = [i * total // limit for i in range(limit)]
        return replace(
            self,
            images=tuple(self.images[i] for i in chosen),
            truths=tuple(self.truths[i] for i in chosen),
            limit=limit,
        )


def read_split(root: Path, name: str = "val", images_needed: bool = True) -> Split:
    """Return the photos of a split that are below ``root``, with their ground truth.

    With ``images_needed=False`` it holds all listed photos, and no file is looked for. Raises
    :class:`DataError` when ``root`` does not hold WIDER FACE in its official layout, when a list is
    damaged or names what could leave the folder, and when no listed photo is there.
    """
    if name not in SPLITS:
        raise DataError(f"there is no split {name!r}; choose one of {', '.join(SPLITS)}")
    if not is_there(root, Path.is_dir):
        raise DataError(f"{root}: no such folder; give the folder of WIDER FACE, with WIDER_{name}")
    _check_layout(root, name, images_needed)
    images, truths = _read_val(root) if name == "val" else _read_text(root, name)
    present = [
        (image, truth)
        for image, truth in zip(images, truths, strict=True)
        if not images_needed or is_there(image.path)
    ]
    if not present:
        raise DataError(
            f"{images_of(root, name)} holds none of the {len(images):,} photos that the lists "
            f"name; expected for instance {images[0].path}"
        )
    return Split(
        name,
        tuple(image for image, _ in present),
        tuple(truth for _, truth in present),
        {"val": LEVELS, "train": ("all",)}.get(name, ()),
        listed=len(images),
        absent=len(images) - len(present),
    )


def images_of(root: Path, name: str) -> Path:
    """Return the folder of a split's photos."""
    return root / f"WIDER_{name}" / "images"


def _check_layout(root: Path, name: str, images_needed: bool) -> None:
    lists = TEXT_LISTS.get(name, "ground_truth")
    expected = TEXT_LISTS.get(name, f"ground_truth/{', '.join(FILES)}")
    missing = []
    if images_needed and not is_there(images_of(root, name), Path.is_dir):
        missing.append(f"WIDER_{name}/images")
    found = is_there(root / lists) if name in TEXT_LISTS else ground_truth_folder(root) is not None
    if not found:
        missing.append(lists)
    if missing:
        raise DataError(
            f"{root} is not WIDER FACE in its official layout: it lacks {' and '.join(missing)}; "
            f"expected WIDER_{name}/images/EVENT/IMAGE.jpg and {expected}"
        )


def _read_val(root: Path) -> tuple[list[WiderImage], list[Truth]]:
    photos = read_levels(ground_truth_folder(root) or root / FOLDERS[0])
    images = [WiderImage(name, images_of(root, "val") / f"{name}.jpg") for name, _, _ in photos]
    return images, [Truth(boxes, counted) for _, boxes, counted in photos]


def _read_text(root: Path, name: str) -> tuple[list[WiderImage], list[Truth]]:
    path = root / TEXT_LISTS[name]
    if name == "test":
        files: Sequence[str] = read_file_list(path)
        truths = [Truth(np.empty((0, 4)), {}) for _ in files]
    else:
        annotations = read_annotations(path)
        files = [annotation.file for annotation in annotations]
        truths = [Truth(entry.boxes, {"all": ~entry.invalid}) for entry in annotations]
    images = [
        WiderImage(without_suffix(file) or file, images_of(root, name) / file) for file in files
    ]
    return images, truths
