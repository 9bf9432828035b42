"""The files of a bundle, by their names in it."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import toolchain
from toolchain.arm.comparing import recipe_of
from toolchain.deploy import bundle, detect, packing
from toolchain.deploy.detector import selftest
from toolchain.deploy.detector.detecting import input_size
from toolchain.deploy.detector.opening import open_runner
from toolchain.deploy.detector.outputs import write_arrays
from toolchain.deploy.detector.runtimes import FACES, task_of
from toolchain.deploy.detector.tasks.own import load_decoder
from toolchain.deploy.detector.tasks.selftest import judged
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.errors import InputError
from toolchain.recipe import Recipe
from toolchain.records.certificate import companions_of
from toolchain.records.run_folder import name_of
from toolchain.records.spots import STEPS
from toolchain.system.files import as_json, sha256_of
from toolchain.zoo.reading import FOLDER as ZOO

INSTALLER = Path(bundle.__file__).parent
"""What installs a bundle there."""
PROGRAM = f"app/deploy/{packing.NAME}"
"""Services that earlier bundles have installed start it from there."""
LICENCE_FILE = Path(toolchain.__file__).with_name("LICENSE")
LICENCE = re.compile(r"(licen[cs]e|copying|notice)[^/]*$", re.IGNORECASE)

Files = dict[str, bytes | Path]


def program_files() -> Files:
    """Return what runs there, one file, and what installs it."""
    names = ("install.sh", "install.py", "service.py", "detect", "README.md")
    return {
        PROGRAM: packing.program(),
        **{name: INSTALLER / name for name in names},
        "app/selftest.py": INSTALLER / "selftest.py",
    }


def model_files(model: Path, card: bytes | None = None) -> Files:
    """Return the file, with those that belong to it, its card and its report.

    ``card`` is that of a file on its own; None: one of what its output folder tells.
    """
    parts = [model, *(model.with_name(name) for name in companions_of(model.name))]
    files: Files = {f"app/{_beside(model, part)}": part for part in parts}
    files["MODEL.md"] = _card(model) if card is None else card
    report = _run_of(model) / "report.md"
    if report.is_file():
        files["REPORT.md"] = report
    return files


def place_of(model: Path) -> str:
    """Return what is handed to the program there: the file, or an ncnn file's folder."""
    return name_of(model).partition("/")[0]


def _beside(model: Path, part: Path) -> str:
    folder, slash, _ = name_of(model).rpartition("/")
    return f"{folder}{slash}{part.name}"


def _run_of(model: Path) -> Path:
    """Return the output folder that a file lies in."""
    return model.parents[name_of(model).count("/")]


def expected_files(model: Path, recipe: Recipe | None = None) -> tuple[Files, Expected]:
    """Return an input and what the file finds on it here, for the board to compare.

    ``recipe`` is that of a file on its own; None: that of its output folder.

    A photo is stored as large as the network's input, without loss, for OpenCV's resizing rounds
    differently on ARM. Then outputs are bound as in ``check``, and a face, a box or a point may
    move by a tenth of a pixel; of int8, whose kernels round differently (1.5 were seen), by four,
    and of what a board may compute in half precision. Of a mask as many pixels may change as
    there are in a thousand, or fifty. Networks that are given no photos get numbers from a seed.
    """
    own = recipe_of(_run_of(model)) if recipe is None else recipe
    proof = own.proof
    rounds = "int8" in model.name or _may_be_half(model)
    with tempfile.TemporaryDirectory() as folder:
        try:
            given, found = _looked(model, Path(folder), own)
        except detect.DetectError as error:
            raise InputError(f"{model}: detect.py cannot run it: {error}") from error
        limit = proof.int8_limit if rounds else proof.onnx_limit
        expected = {
            "model": place_of(model),
            **found,
            "ranges": least_ranges(found["outputs"], found["ranges"], limit),
            "figure": "mean" if rounds else "largest",
            "output_limit": limit,
            "box_limit_px": 4.0 if rounds else 0.1,
            "score_limit": 0.05 if rounds else 0.001,
        }
        if "task" in found:
            expected |= {"input": given.name, "mask_limit": 0.05 if rounds else 0.001}
        files: Files = {
            f"app/{given.name}": given.read_bytes(),
            "app/expected.json": as_json(expected),
        }
    count = len(found.get("boxes", []))
    words = f"{count} face{'' if count == 1 else 's'}" if count else found.get("words", "")
    return files, Expected(count, words)


def least_ranges(
    outputs: Sequence[Sequence[float]], ranges: Sequence[float], limit: float
) -> list[float]:
    """Return the outputs' ranges, by which differences are judged, as the self-test takes them.

    Sigmoids are rounded in steps of 1, not of their own size: where all probabilities are small,
    the range counts as what makes some such steps no difference.
    """
    steps = STEPS * float(np.finfo(np.float32).eps)
    return [
        max(span, steps / limit) if limit and all(0 <= value <= 1 for value in values) else span
        for values, span in zip(outputs, ranges, strict=True)
    ]


@dataclass(frozen=True)
class Expected:
    """What the file finds on the input here."""

    faces: int
    words: str
    """``3 faces``, ``2 cat (best 0.91)``; empty if only its outputs are compared."""


def _looked(model: Path, folder: Path, recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """Write the input into a folder, and return it with what the file finds on it."""
    photo = folder / "photo.png"
    if task_of(detect.open_network(model, 1).metadata or "") == FACES:
        photo.write_bytes(_photo_for(model))
        return photo, selftest.look(model, photo, threads=1)
    which = open_runner(model, 1, judged).specification
    if which.pictures is not None:
        size = input_size((which.pictures.height, which.pictures.width), None)
        photo.write_bytes(_fitted(size, whole=which.pictures.fit == "letterbox"))
        return photo, selftest.look_at_task(model, photo, threads=1)
    given = folder / "input.npz"
    write_arrays(given, _numbers(which, recipe))
    return given, selftest.look_at_task(model, given, threads=1)


def decoder_files(text: str | None, model: Path, recipe: Recipe) -> Files:
    """Return the file of the user's own decoder, ``file.py:function``, and what names it there.

    It is loaded once, to see that it can be. Raises :class:`InputError` where it is needed and not
    given, for it runs only if the user names it.
    """
    wanted = recipe.task.decoder
    if text is None:
        if wanted is None:
            return {}
        raise InputError(
            f"{model}: its boxes are found by {wanted}, code of your own; give --decoder {wanted} "
            f"to pack it"
        )
    try:
        load_decoder(text)
    except detect.DetectError as error:
        raise InputError(str(error)) from error
    path, _, function = text.rpartition(":")
    name = f"decoders/{Path(path).name}"
    return {f"app/{name}": Path(path), "app/decoder": f"{name}:{function}".encode()}


def _numbers(which: TaskSpecification, recipe: Recipe) -> dict[str, Any]:
    """Return inputs from the recipe's seed, in the range that the network is given."""
    random, (low, high) = np.random.default_rng(recipe.model.seed), recipe.input.given
    found: dict[str, Any] = {}
    for each in which.inputs:
        free = iter((recipe.input.height, recipe.input.width))
        sides = [side or next(free) for side in each.shape]
        whole = not np.issubdtype(np.dtype(each.dtype), np.floating)
        values = (
            random.integers(0, 2, sides) if whole else random.random(sides) * (high - low) + low
        )
        found[each.name] = values.astype(each.dtype)
    return found


def _may_be_half(model: Path) -> bool:
    """Tell whether a board computes a file in half precision where it can."""
    return model.suffix == ".param" and detect.NcnnRunner(model, 1).facts.half


def _photo_for(model: Path) -> bytes:
    """Return the photo as PNG, as large as it fits into a face detector's input."""
    view = detect.specification_of(detect.open_network(model, 1))
    return _fitted(selftest.input_size(view), whole=True)


def _fitted(size: tuple[int, int], *, whole: bool) -> bytes:
    """Return the photo as PNG, as large as it fits into ``size``; else stretched to fill it."""
    image = detect.read_image(INSTALLER / "photo.jpg")
    height, width = size
    scale = min(width / image.shape[1], height / image.shape[0])
    columns = min(width, max(1, round(image.shape[1] * scale))) if whole else width
    rows = min(height, max(1, round(image.shape[0] * scale))) if whole else height
    fitted = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", fitted)[1])


def _card(model: Path) -> bytes:
    """Return the card of the shipped network that it was made from, or one of what is known."""
    provenance = json.loads(detect.open_network(model, 1).metadata or "{}").get("provenance", {})
    digest = provenance.get("weights_sha256")
    for weights in sorted(ZOO.glob("*.safetensors")):
        if sha256_of(weights) == digest:
            return weights.with_suffix(".md").read_bytes()
    name = recipe_of(_run_of(model)).model.name
    origin = f"of SHA-256 `{digest}`; their terms are those they came with" if digest else "random"
    return (
        f"# {name}\n\nMade by the toolchain; the weights are {origin}. What it is good at is not "
        "known to the toolchain. See REPORT.md.\n"
    ).encode()


def requirements_file(wheels: Sequence[Path], requirements: Sequence[str]) -> bytes:
    """Return pinned requirements with the hash of the very wheel of each."""
    lines = []
    for requirement in requirements:
        name = requirement.partition("==")[0].replace("-", "_")
        (wheel,) = (path for path in wheels if path.name.startswith(f"{name}-"))
        lines.append(f"{requirement} --hash=sha256:{sha256_of(wheel)}\n")
    return "".join(lines).encode()


def licence_files(wheels: Sequence[Path]) -> Files:
    """Return the licences of what a bundle holds: the project's own, and a text for each wheel."""
    files: Files = {"LICENSE": LICENCE_FILE}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            texts = [
                f"===== {name} =====\n\n".encode() + archive.read(name)
                for name in sorted(archive.namelist())
                if LICENCE.search(name) and (".dist-info/" in name or name.count("/") == 1)
            ]
        package = "-".join(wheel.name.split("-")[:2])
        files[f"licences/{package}.txt"] = b"\n\n".join(texts)
    return files


def unpacked_bytes(wheels: Sequence[Path]) -> int:
    """Return what the wheels take once they are installed."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(entry.file_size for entry in archive.infolist())
    return total


def listed(files: Mapping[str, bytes | Path]) -> dict[str, dict[str, object]]:
    """Return size and SHA-256 of every file, for the manifest."""
    found: dict[str, dict[str, object]] = {}
    for name in sorted(files):
        content = files[name]
        if isinstance(content, bytes):
            size, digest = len(content), hashlib.sha256(content).hexdigest()
        else:
            size, digest = content.stat().st_size, sha256_of(content)
        found[name] = {"size_bytes": size, "sha256": digest}
    return found
