"""The certificate: the lineage of files as links, each a measured difference between two files.

Every file that ``shrink`` writes is tied to the checkpoint it came from by links, one file to the
next. *Exact* links allow what rounding costs; *approximate* ones (half precision, int8) say by how
much the outputs differ, and what that does to boxes and to average precision. Nothing here
measures: records, and the way into JSON and back.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.errors import DataError, InputError, RecipeError
from toolchain.recipe import Recipe
from toolchain.recipe.reader import Reader
from toolchain.recipe.renamed import link_now
from toolchain.records.parity import Decisions, Parity
from toolchain.records.scores import Scores
from toolchain.system.files import as_json, digest_of, sha256_of

NAME = "certificate.json"
SCHEMA = 2
DERIVED = ("passed", "largest_share", "mean_share")
"""What the file says of a link beside its fields, for those who read no Python."""


@dataclass(frozen=True)
class BoxAgreement:
    """Boxes that both ends of a link find on photos, at the recipe's threshold."""

    photos: int
    both: int
    """Pairs that overlap by at least half (intersection over union)."""
    missed: int
    """Boxes of the first end alone."""
    added: int
    """Boxes of the second end alone."""
    mean_iou: float | None
    """Over the pairs; None if there are none."""

    @property
    def share(self) -> float:
        """Share of all boxes that both find, from 0 to 1; 1 if there are none."""
        every = self.both + self.missed + self.added
        return self.both / every if every else 1.0

    def agrees(self, least: float) -> bool:
        """Tell whether at least that share of all boxes is found by both, but for chance.

        A face at the threshold comes and goes, and of few boxes it is a large share: so two
        standard deviations of such a count are allowed, and one box always.
        """
        every = self.both + self.missed + self.added
        spread = math.sqrt(every * least * (1 - least))
        return self.missed + self.added <= max(1.0, (1 - least) * every + 2 * spread + 1e-9)


@dataclass(frozen=True)
class Precision:
    """Average precision of both ends on WIDER FACE photos, from 0 to 1."""

    protocol: str
    photos: int
    before: tuple[float, float, float]
    """Easy, medium, hard."""
    after: tuple[float, float, float]
    most_lost: float
    """The limit: so much may be lost at any level."""

    @property
    def lost(self) -> float:
        """The most that is lost at any level; negative if all gained."""
        return max(a - b for a, b in zip(self.before, self.after, strict=True))


@dataclass(frozen=True)
class LayerNoise:
    """What a layer alone in int8 costs."""

    layer: str
    noise: float
    """Mean difference as a share of the range, of the channels where it is largest."""
    in_float: bool
    """True if the layer stays in float in the file."""


@dataclass(frozen=True)
class Attempt:
    """An int8 file that was tried."""

    in_float: int
    """So many of the layers, those that cost most."""
    size_bytes: int
    """Without metadata."""
    mean: float | None
    """Mean difference as a share of the range; None if it is not finite."""
    lost: float | None
    """Average precision, the most at any level, or of the figure that lost most of what it may, in
    its own unit; None if none was measured."""
    problems: tuple[str, ...]


@dataclass(frozen=True)
class MixedPrecision:
    """How an int8 file came to keep layers in float."""

    layers: tuple[LayerNoise, ...]
    """The most costly first."""
    attempts: tuple[Attempt, ...]
    """In the order they were made; the file is the last."""


@dataclass(frozen=True)
class Link:
    """Two files that were compared."""

    before: str
    """The first file's path in the folder."""
    after: str
    before_sha256: str
    after_sha256: str
    how: str
    """What ran both ends."""
    kind: Literal["exact", "approximate"]
    parity: Parity
    """How far both ends are apart, and how far they may be."""
    boxes: BoxAgreement | None = None
    least_boxes: float | None = None
    """The limit: share of all boxes that both ends must find; None if boxes do not decide."""
    decisions: tuple[Decisions, ...] = ()
    """What the outputs of an approximate link decide, for networks that find no boxes."""
    most_changed: float | None = None
    """The limit: share of the decisions of an output that may differ; None: they do not decide."""
    precision: Precision | None = None
    scores: Scores | None = None
    """What the recipe's own evaluation found, in place of average precision."""
    on_shapes: float | None = None
    """Mean difference on smooth shapes, where the link was judged on what was held out from the
    calibration of a network of one's own: ``verify`` has nothing else to run it on."""
    mixed_precision: MixedPrecision | None = None
    """None where all went to int8, and for other links."""

    @property
    def name(self) -> str:
        """Both ends, for people."""
        return f"{self.before} -> {self.after}"

    @property
    def worst(self) -> float | None:
        """The largest difference as a share of its channels' range; None if it is not finite."""
        return self.parity.worst_share("largest")

    @property
    def mean(self) -> float | None:
        """The largest mean difference as a share of the same; None if it is not finite."""
        return self.parity.worst_share("mean")

    @property
    def lost(self) -> float | None:
        """What the second end lost: average precision, or of the worst figure; None: not known."""
        if self.precision is not None:
            return self.precision.lost
        worst = None if self.scores is None else self.scores.worst
        return None if worst is None else worst.lost

    @property
    def problems(self) -> tuple[str, ...]:
        """What breaks the link, a sentence each; empty if it holds."""
        found = [self.parity.problem] if self.parity.problem else []
        if self.boxes and self.least_boxes and not self.boxes.agrees(self.least_boxes):
            found.append(
                f"both find {self.boxes.share:.1%} of all boxes (at least {self.least_boxes:.0%}, "
                f"but for chance)"
            )
        found += [
            f"{each.share:.1%} of the {each.made} {each.words} differ (at most "
            f"{self.most_changed:.0%}, but for chance)"
            for each in self.decisions
            if self.most_changed is not None and not each.holds(self.most_changed)
        ]
        if self.precision and self.precision.lost > self.precision.most_lost:
            found.append(
                f"average precision falls by {100 * self.precision.lost:.2f} points (at most "
                f"{100 * self.precision.most_lost:.2g})"
            )
        found += self.scores.problems if self.scores else ()
        return tuple(found)

    @property
    def passed(self) -> bool:
        """True if the link holds."""
        return not self.problems


@dataclass(frozen=True)
class CalibrationFacts:
    """What int8 was calibrated on."""

    kind: Literal["photos", "synthetic"]
    inputs: int
    sha256: str
    """The SHA-256 of all inputs."""
    broken: int = 0
    """Photos that could not be read."""


@dataclass(frozen=True)
class FileFacts:
    """A file that the lineage ties to the checkpoint."""

    name: str
    """Its path in the folder."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Failure:
    """Where the lineage broke, or what could not be made."""

    file: str
    reason: str


@dataclass(frozen=True)
class Certificate:
    """The whole lineage of one run."""

    schema: int
    tool: str
    checkpoint: str | None
    """Name of the weights; None for those of a seed."""
    checkpoint_sha256: str | None
    recipe: Recipe
    files: tuple[FileFacts, ...]
    links: tuple[Link, ...]
    calibration: CalibrationFacts | None
    failures: tuple[Failure, ...]

    def size_of(self, name: str) -> int:
        """Return the bytes of a file, with those that belong to it."""
        size = {file.name: file.size_bytes for file in self.files}
        return size[name] + sum(size.get(each, 0) for each in companions_of(name))

    @property
    def is_complete(self) -> bool:
        """True if every file that was asked for is there and every link holds."""
        return not self.failures and all(link.passed for link in self.links)


def companions_of(name: str) -> tuple[str, ...]:
    """Return the files without which one is nothing: an ncnn file's weights and metadata."""
    if not name.endswith(".ncnn.param"):
        return ()
    folder = name.rpartition("/")[0]
    beside = name.removesuffix(".param") + ".bin"
    return beside, f"{folder}/metadata.json" if folder else "metadata.json"


def to_json(certificate: Certificate) -> bytes:
    """Return the file's bytes; its last field is the hash of all the others."""
    content = dataclasses.asdict(certificate)
    content["complete"] = certificate.is_complete
    for link, record in zip(certificate.links, content["links"], strict=True):
        record |= dict(zip(DERIVED, (link.passed, link.worst, link.mean), strict=True))
    return as_json({**content, "sha256_of_the_rest": digest_of(content)})


def read_certificate(path: Path) -> Certificate:
    """Read a certificate; raise :class:`DataError` if it is none, or was changed."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: must be a table of a certificate")
    if content.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: has schema {content.get('schema')!r}; this toolchain knows {SCHEMA}"
        )
    stated = content.pop("sha256_of_the_rest", None)
    if stated != digest_of(content):
        raise DataError(f"{path}: was changed after it was written (its own hash does not match)")
    content.pop("complete", None)
    try:
        content["links"] = [
            {name: value for name, value in link_now(link).items() if name not in DERIVED}
            for link in content.get("links", ())
        ]
        certificate: Certificate = Reader("", path.name).section(Certificate, content, ())
    except (RecipeError, AttributeError) as error:
        raise DataError(f"{path}: {error}") from error
    return certificate


def open_folder(folder: Path) -> Certificate:
    """Read an output folder's certificate; raise :class:`InputError` if the folder is none."""
    try:
        return read_certificate(folder / NAME)
    except DataError as error:
        raise InputError(f"{error}; give an output folder of toolchain shrink") from error


def demand_unchanged(
    folder: Path, certificate: Certificate, names: Iterable[str] | None = None
) -> None:
    """Raise :class:`InputError` unless files of a folder (None: all) are those that were proved.

    A file that the certificate does not know is refused, too: nothing is proved of it.
    """
    made = {file.name: file.sha256 for file in certificate.files}
    wanted = list(made if names is None else names)
    for name in dict.fromkeys([*wanted, *(n for each in wanted for n in companions_of(each))]):
        path = folder / name
        if name not in made:
            raise InputError(
                f"{path}: is not in {NAME}, so nothing is proved of it; move it elsewhere, or give "
                f"it as a file on its own"
            )
        if not path.is_file():
            raise InputError(f"{path}: is missing; toolchain verify {folder} tells more")
        if sha256_of(path) != made[name]:
            raise InputError(
                f"{path}: was changed after it was made (its hash is not the one in {NAME}); "
                f"toolchain verify {folder} tells more, toolchain shrink makes it anew"
            )
