"""Verifying a folder: hashes first, then every link again, on new random inputs.

What is found is told file by file and link by link; nothing is written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from toolchain.checking.inputs import fault_inputs, noise, of_each
from toolchain.checking.parity import ProofInput
from toolchain.checking.pictures import smooth_input
from toolchain.errors import DataError, InputError, ToolchainError, first_line
from toolchain.lineage.links import SHRUNK, STEPS, Kind, Reopen, measure_link, plan_of
from toolchain.recipe import Recipe
from toolchain.records.certificate import NAME, Certificate, Link, companions_of, read_certificate
from toolchain.records.run_folder import MANIFEST
from toolchain.system.files import sha256_of
from toolchain.zoo.sources import example_of

TWICE = 2.0
SHAPES, DECIDING = 4, 64
"""Smooth inputs on which an approximate link is run, and where its decisions count."""


@dataclass(frozen=True)
class LinkCheck:
    """A link that was run again."""

    name: str
    stated: Link
    found: Link | None
    """None if it could not be run."""
    problem: str | None

    @property
    def passed(self) -> bool:
        """True if it holds again."""
        return self.problem is None


@dataclass(frozen=True)
class Verification:
    """All that was found."""

    folder: str
    seed: int
    problems: tuple[str, ...]
    """What is wrong with the files, a sentence each."""
    links: tuple[LinkCheck, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if all is as it was written, and every link holds."""
        return not self.problems and all(link.passed for link in self.links)


def verify(
    folder: Path, seed: int, on_link: Callable[[str], None], reopen: Reopen | None = None
) -> Verification:
    """Check the hashes of an output folder of ``shrink`` and run its links again.

    ``seed`` makes the inputs; ``reopen`` takes weights, None builds the network by its name. Raises
    :class:`InputError` if the folder is none of ours.
    """
    if not (folder / NAME).is_file():
        raise InputError(
            f"{folder}: has no {NAME}; give the output folder of a run of toolchain shrink"
        )
    try:
        certificate = read_certificate(folder / NAME)
    except DataError as error:
        return Verification(folder.name, seed, (str(error),), ())
    problems = (*_manifest_problems(folder), *_file_problems(folder, certificate))
    changed = {
        problem.partition(": was changed")[0] for problem in problems if ": was changed" in problem
    }
    problems += tuple(
        f"{failure.file}: the run that made the folder is not complete: {failure.reason}"
        for failure in certificate.failures
    )
    links = []
    for stated in certificate.links:
        on_link(stated.name)
        links.append(_again(folder, stated, certificate, seed, changed, reopen))
    return Verification(folder.name, seed, tuple(dict.fromkeys(problems)), tuple(links))


def _manifest_problems(folder: Path) -> Iterator[str]:
    """Compare every file with the manifest, both ways."""
    try:
        stated = json.loads((folder / MANIFEST).read_bytes())["files"]
        hashes = {str(name): str(entry["sha256"]) for name, entry in stated.items()}
    except OSError as error:
        yield f"{MANIFEST}: cannot be read ({error.strerror or error})"
        return
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield f"{MANIFEST}: is no manifest of the toolchain"
        return
    for name, sha256 in sorted(hashes.items()):
        yield from _compared(folder, name, sha256, MANIFEST)
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }
    for name in sorted(there - set(hashes) - {MANIFEST}):
        yield f"{name}: is not in {MANIFEST}; it is of another run, or was added"


def _file_problems(folder: Path, certificate: Certificate) -> Iterator[str]:
    for file in certificate.files:
        yield from _compared(folder, file.name, file.sha256, NAME)
    made = {file.name: file.sha256 for file in certificate.files}
    for link in certificate.links:
        for name, sha256 in ((link.before, link.before_sha256), (link.after, link.after_sha256)):
            if made.get(name, sha256) != sha256:
                yield f"{NAME}: the link {link.name} is of another {name} than the folder's"


def _compared(folder: Path, name: str, sha256: str, where: str) -> Iterator[str]:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        yield f"{where}: names {name!r}, which lies outside the folder"
        return
    path = folder / name
    if not path.is_file():
        yield f"{name}: is missing"
    elif sha256_of(path) != sha256:
        yield f"{name}: was changed, or is of another run (its hash is not that of {where})"


def _again(
    folder: Path,
    stated: Link,
    certificate: Certificate,
    seed: int,
    changed: Collection[str],
    reopen: Reopen | None,
) -> LinkCheck:
    """Run a link again; whatever a file does, the answer is a problem in words.

    Files that were changed are not run: a runtime need not survive them.
    """
    kind, recipe = _kind(certificate, stated), certificate.recipe
    if kind is None:
        return LinkCheck(stated.name, stated, None, "is no link that the toolchain makes")
    ends = (stated.before, stated.after, SHRUNK)
    other = [each for end in ends for each in (end, *companions_of(end)) if each in changed]
    if other:
        return LinkCheck(stated.name, stated, None, f"not run, for {other[0]} was changed")
    missing = [end for end in (stated.before, stated.after) if not (folder / end).is_file()]
    if missing:
        return LinkCheck(stated.name, stated, None, f"{missing[0]} is missing")
    try:
        inputs = _inputs(folder, recipe, kind, seed)
        by_shapes = stated.on_shapes is not None
        deciding = inputs if kind in ("half", "int8") and not by_shapes else ()
        found = measure_link(
            folder,
            stated.before,
            stated.after,
            kind,
            recipe,
            inputs,
            deciding=deciding,
            reopen=reopen,
        )
    except ToolchainError as error:
        return LinkCheck(stated.name, stated, None, f"cannot be run ({error})")
    except Exception as error:  # a damaged file makes runtimes raise anything
        reason = first_line(error)
        return LinkCheck(stated.name, stated, None, f"cannot be run ({reason})")
    if stated.on_shapes is not None:
        found = _by_shapes(found, stated.on_shapes)
    return LinkCheck(stated.name, stated, found, "; ".join(found.problems) or None)


def _by_shapes(found: Link, stated: float) -> Link:
    """Return a link that may differ on shapes by twice what it did when it was made.

    It was judged on inputs that are not here: those of the user's own calibration.
    """
    limit = max(found.parity.limit, TWICE * stated)
    return dataclasses.replace(found, parity=dataclasses.replace(found.parity, limit=limit))


def _kind(certificate: Certificate, stated: Link) -> Kind | None:
    """Return what a link is; None if the toolchain makes none such."""
    listed = {file.name for file in certificate.files}
    steps = [step for step in STEPS if step in listed]
    for before, after, kind in plan_of(certificate.recipe, steps):
        if (before, after) == (stated.before, stated.after):
            return kind
    return None


def _inputs(folder: Path, recipe: Recipe, kind: Kind, seed: int) -> list[ProofInput]:
    example = example_of(recipe, folder / SHRUNK)
    given = recipe.input.given
    if kind in ("half", "int8"):
        count = SHAPES if recipe.anchors is not None else DECIDING
        return [smooth_input(example[0], seed + index, given) for index in range(count)]
    return [
        *noise([example], seed, given),
        *of_each(example, lambda image, index: fault_inputs(image, seed + index, given)),
        *of_each(example, lambda image, index: [smooth_input(image, seed + index, given)]),
    ]
