"""The order of the stages, which only this room knows.

    load -> zero -> shrink -> prove -> export -> prove the file -> measure -> chain -> report

A failed proof raises and leaves what is needed to look into it beside the output folder, whose
name then ends in ``.failed``; the output folder itself appears only when everything is done. Of the
formats beside ONNX those whose links hold are kept; the certificate tells what is missing.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

import toolchain
from toolchain.check.cost import measure_cost
from toolchain.check.fitting import measure_fitting
from toolchain.check.inputs import of_each
from toolchain.check.latency import compare_latency
from toolchain.check.parity import run_network, run_onnx
from toolchain.check.pictures import (
    Photo,
    board_view,
    compare_on_photo,
    photo_input,
    read_photos,
    smooth_input,
    takes_photos,
)
from toolchain.check.proofs import (
    Pair,
    SurgeryProof,
    analysis_example,
    keeping_evidence,
    prove_file,
    prove_surgery,
)
from toolchain.deploy import detect
from toolchain.errors import ParityError
from toolchain.export.fold import fold_batch_norm
from toolchain.export.form import check_form
from toolchain.export.metadata import KEY, Provenance, metadata_of
from toolchain.export.onnx_file import export_onnx
from toolchain.export.rewriting import Rewrites
from toolchain.lineage.calibration import Calibration, read_calibration
from toolchain.lineage.exports import (
    Chain,
    MeasureAccuracy,
    choose_formats,
    make_chain,
    possible_formats,
)
from toolchain.lineage.links import ONNX, SOFT, bare_of
from toolchain.models.choosing import PLAIN, Choice
from toolchain.models.sizes import Example
from toolchain.models.weights import save_native
from toolchain.prune.asked import Asked
from toolchain.prune.removal import account
from toolchain.prune.zeroing import zero_and_tell
from toolchain.recipe import Recipe, override
from toolchain.records.certificate import NAME as CERTIFICATE
from toolchain.records.certificate import Certificate, to_json
from toolchain.records.reasons import Removal
from toolchain.records.stages import (
    Artifact,
    MemberAccuracy,
    PhotoComparison,
    Report,
    Rewritten,
    Stage,
    trained_widths,
)
from toolchain.report.run.html import html
from toolchain.report.run.markdown import markdown
from toolchain.report.run.notes import (
    assumed_input,
    decision_notes,
    one_shot_note,
    run_notes,
    shipped_notes,
)
from toolchain.report.run.removal import removal_note
from toolchain.report.run.summary import summary
from toolchain.shrink.surgery import cut
from toolchain.system.files import as_json, output_folder, sha256_of, write_bytes
from toolchain.workflows.shortfall import demand_removal
from toolchain.zoo.sources import Loaded, load_start


@dataclass(frozen=True)
class Job:
    """What one run is asked for."""

    recipe: Recipe
    out: Path
    checkpoint: Path | None = None
    choice: Choice = PLAIN
    """Which of the checkpoint's weights are wanted."""
    photos: tuple[Path, ...] = ()
    dynamic: bool = False
    """Leave the file's height and width free."""
    anchor_ratio: float | None = None
    """Anchor height over width, if neither recipe nor layout is right."""
    accept_partial: bool = False
    """Go on where less than a third of what is to be removed can be."""
    untrained: bool = False
    """Without a checkpoint, take random weights even where trained ones are shipped."""
    formats: tuple[str, ...] | None = None
    """Of ``onnx``, ``tflite``, ``fp16``, ``int8``; None: all that can be made here."""
    calibration: Path | None = None
    """Folder of photos for int8; None: synthetic shapes."""
    assumes_input: bool = False
    """Nobody said what the network is given of pixels: the recipe's default is taken, and told."""
    accuracy_of: MeasureAccuracy | None = None
    """Measures the average precision of a file; None: it is not measured."""
    command: str = ""


def _say_nothing(_name: str) -> None:
    """The default for those who do not want to hear of stages."""


@dataclass
class Clock:
    """Tells of stages as they begin, and how long each took."""

    on_stage: Callable[[str], None]
    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under ``name``."""
        self.on_stage(name)
        start = time.perf_counter()
        yield
        self.stages.append(Stage(name, round(time.perf_counter() - start, 3)))


def run_shrink(job: Job, on_stage: Callable[[str], None] = _say_nothing) -> Report:
    """Run the whole chain and fill ``job.out``; raise a ToolchainError and leave no half folder."""
    clock = Clock(on_stage)
    check_form(job.recipe, dynamic=job.dynamic)
    formats, formats_note = choose_formats(job.formats, job.recipe.decode.postprocess)
    photos = read_photos(job.photos)
    with clock.stage("load"):
        loaded = load_start(
            job.recipe,
            job.checkpoint,
            job.anchor_ratio,
            untrained=job.untrained,
            choice=job.choice,
        )
    formats, formats_note = possible_formats(
        job.formats, formats, formats_note, loaded.example, loaded.inputs
    )
    with output_folder(job.out) as folder:
        example = loaded.example
        look = analysis_example(loaded.network, example, loaded.recipe)
        calibration = None
        if "int8" in formats:
            calibration = read_calibration(job.calibration, loaded.recipe, example[0])
        loaded, soft, asked = _zero(loaded, look, clock)
        pair = _make_pair(loaded, soft, asked, example, look, photos, clock)
        prune, partial = loaded.recipe.prune, job.accept_partial
        demand_removal(pair.surgery, prune, job.out, partial=partial)
        with clock.stage("prove the surgery"), keeping_evidence(job.out, pair):
            proof = prove_surgery(pair, loaded.recipe)
        report = _export_and_measure(job, loaded, pair, proof, folder, clock)
        notes = (*report.notes, *([formats_note] if formats_note else ()))
        if photos and loaded.recipe.anchors is None and not takes_photos(example):
            shapes = ", ".join(str(tuple(each.shape)) for each in example)
            notes += (f"--photo was not used, for the network takes {shapes}.",)
        if calibration is not None:
            notes += calibration.notes
        notes += _input_notes(job, loaded, calibration, pair)
        with clock.stage("other formats and their proof"):
            chain = _chain(job, loaded, pair, calibration, folder, on_stage)
            certificate = make_chain(chain, formats, loaded.source)
            _demand_main(certificate)
        report = dataclasses.replace(
            report,
            artifacts=_artifacts(folder),
            notes=(*notes, *decision_notes(certificate)),
            certificate=certificate,
            stages=tuple(clock.stages),
        )
        _write_reports(folder, report)
    return report


def _input_notes(
    job: Job, loaded: Loaded, calibration: Calibration | None, pair: Pair
) -> tuple[str, ...]:
    """Return what is assumed of the network's input, and whether its batch norms know such."""
    notes = (assumed_input(loaded.recipe.input),) if job.assumes_input else ()
    shown = [proof.tensors for proof in pair.pictures]
    if calibration is not None:
        shown = [(image,) for image in calibration.inputs]
    warning = measure_fitting(loaded.network, shown).warning
    return notes if warning is None else (*notes, warning)


def _demand_main(certificate: Certificate) -> None:
    """Raise :class:`ParityError` where the main file did not hold: the others are made of it."""
    for failure in certificate.failures:
        if failure.file == ONNX:
            raise ParityError(f"{ONNX}: {failure.reason}; nothing is exported")


def _chain(
    job: Job,
    loaded: Loaded,
    pair: Pair,
    calibration: Calibration | None,
    folder: Path,
    on_stage: Callable[[str], None],
) -> Chain:
    recipe, provenance = loaded.recipe, _provenance(loaded)
    return Chain(
        folder,
        recipe,
        pair,
        pair.outputs,
        _metadata(loaded, dynamic=job.dynamic),
        metadata_of(recipe, provenance, dynamic=False, layout="NHWC"),
        calibration,
        job.accuracy_of if recipe.anchors is not None else None,
        on_stage,
    )


def _artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Return what lies in the folder so far, the main file first."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    order = sorted(paths, key=lambda path: (path.name != "model.onnx", path.parent != folder, path))
    return tuple(
        Artifact(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
        for path in order
    )


def _zero(loaded: Loaded, look: Example, clock: Clock) -> tuple[Loaded, nn.Module, Asked | None]:
    """Return the network with filters zeroed as its recipe says, and what that asks for.

    What its training zeroed of a shipped network is a part of the rate. Where nothing is left to
    zero it is taken as it is, and its recipe loses the rate.
    """
    prune, is_shipped = loaded.recipe.prune, loaded.member is not None
    if not prune.zeroes:
        return loaded, loaded.network, None
    with clock.stage("zero filters"):
        soft = zero_and_tell(
            loaded.network, look, prune, zeros_first=is_shipped or bool(prune.widths)
        )
    if is_shipped and _same(loaded.network, soft.network):
        recipe = override(loaded.recipe, {"prune.rate": None, "prune.widths": {}, "prune.gone": {}})
        return dataclasses.replace(loaded, recipe=recipe), soft.network, None
    return loaded, soft.network, soft.asked


def _same(network: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def _make_pair(
    loaded: Loaded,
    soft: nn.Module,
    asked: Asked | None,
    example: Example,
    look: Example,
    photos: tuple[Photo, ...],
    clock: Clock,
) -> Pair:
    recipe = loaded.recipe
    with clock.stage("shrink"):
        made = cut(soft, look)
        removal = account(loaded.network, soft, made.surgery, asked)
        surgery = dataclasses.replace(made.surgery, removal=removal)
    seed, given = recipe.model.seed, recipe.input.given
    pictures = of_each(example, lambda image, index: [smooth_input(image, seed + index, given)])
    if recipe.anchors is not None:
        specification = _specification(loaded, dynamic=False)
        pictures += [photo_input(photo, recipe, specification) for photo in photos]
    elif takes_photos(example):
        pictures += [photo_input(photo, recipe, board_view(recipe)) for photo in photos]
    return Pair(
        soft,
        made.network,
        made.exact,
        surgery,
        example,
        look,
        photos,
        tuple(pictures),
        loaded.outputs,
    )


def _specification(loaded: Loaded, *, dynamic: bool) -> detect.Specification:
    """Return the board's view of the network, by way of the metadata that the file will carry."""
    return detect.Specification.from_json(_metadata(loaded, dynamic=dynamic)[KEY])


def _metadata(loaded: Loaded, *, dynamic: bool) -> dict[str, str]:
    return metadata_of(loaded.recipe, _provenance(loaded), dynamic=dynamic)


def _provenance(loaded: Loaded) -> Provenance:
    """Return the weights' source, and what zeroed filters: this run, or a shipped one's training.

    The rate is None where it is not known or where groups have widths of their own, and 0 where it
    is known that nothing was zeroed.
    """
    prune, member = loaded.recipe.prune, loaded.member
    if prune.widths:
        return Provenance(loaded.source, None, prune.chosen_by, prune.scope)
    if prune.rate:
        return Provenance(loaded.source, prune.rate, prune.chosen_by, prune.scope)
    if member is not None and trained_widths(member):
        return Provenance(loaded.source, None, member["criterion"], member["scope"])
    if member is None or not member["rate"]:
        return Provenance(loaded.source, None if member is None else 0.0, None, None)
    return Provenance(loaded.source, member["rate"], member["criterion"], member["scope"])


def _export_and_measure(
    job: Job, loaded: Loaded, pair: Pair, proof: SurgeryProof, folder: Path, clock: Clock
) -> Report:
    recipe = loaded.recipe
    before_path, after_path = folder / "before.onnx", folder / bare_of(ONNX, recipe)
    with clock.stage("export"):
        export = functools.partial(
            export_onnx,
            example=pair.example,
            input_names=loaded.inputs,
            output_names=pair.outputs,
            metadata=_metadata(loaded, dynamic=job.dynamic),
            dynamic=job.dynamic,
        )
        folded = [fold_batch_norm(network, pair.look) for network in (pair.soft, pair.shrunk)]
        (folder / "chain").mkdir()
        after_path.parent.mkdir(exist_ok=True)
        names, rewritten = recipe.export.rewrites, list[Rewritten]()
        export(
            folded[1],
            path=after_path,
            stages=folder / "chain",
            rewrites=Rewrites(names, rewritten.append),
        )
        before = export(folded[0], path=before_path, rewrites=Rewrites(names))
    with clock.stage("prove the file"), keeping_evidence(job.out, pair):
        parity_onnx = prove_file(pair, recipe, after_path, dynamic=job.dynamic)
    with clock.stage("measure"):
        costs = [measure_cost(network, pair.example) for network in folded]
        latency = compare_latency(
            before_path, after_path, [tensor.numpy() for tensor in pair.example]
        )
        photos = _compare_photos(pair, loaded, after_path)
    before_path.unlink()
    weights = folder / "model.safetensors"
    save_native(pair.shrunk, weights, _native_metadata(loaded))
    save_native(pair.soft, folder / SOFT, _native_metadata(loaded))
    write_bytes(folder / "surgery.json", as_json(dataclasses.asdict(pair.surgery)))
    provenance = _provenance(loaded)
    return Report(
        model=recipe.model.name,
        source=loaded.source,
        rate=provenance.rate,
        criterion=provenance.criterion,
        scope=provenance.scope,
        stages=tuple(clock.stages),
        surgery=pair.surgery,
        cost_before=costs[0],
        cost_after=costs[1],
        parity_exact=proof.exact,
        parity_surgery=proof.rounded,
        parity_onnx=parity_onnx,
        latency=latency,
        artifacts=_artifacts(folder),
        onnx_before_bytes=before.size_bytes,
        photos=photos,
        notes=(
            *_source_notes(job, loaded, pair.surgery.removal),
            *run_notes(pair.surgery, latency),
            *_left_out_notes(proof),
        ),
        versions=versions(),
        command=job.command,
        accuracy=_accuracy(loaded),
        rewrites=tuple(rewritten),
    )


def _accuracy(loaded: Loaded) -> MemberAccuracy | None:
    """Return what was measured of a shipped network, if it is taken as it was measured."""
    anchors, member = loaded.recipe.anchors, loaded.member
    if member is None or anchors is None or loaded.recipe.prune.zeroes:
        return None
    return member["accuracy"] if anchors.aspect_ratio == member["aspect_ratio"] else None


def _compare_photos(pair: Pair, loaded: Loaded, path: Path) -> tuple[PhotoComparison, ...]:
    if loaded.recipe.anchors is None:
        return ()
    specification = _specification(loaded, dynamic=False)
    sides = run_network(pair.soft), run_onnx(path)
    return tuple(
        compare_on_photo(photo, *sides, loaded.recipe, specification) for photo in pair.photos
    )


def _native_metadata(loaded: Loaded) -> dict[str, object]:
    anchors = loaded.recipe.anchors
    return {
        "model": loaded.recipe.model.name,
        "trained": loaded.source.trained,
        "aspect_ratio": None if anchors is None else anchors.aspect_ratio,
        "source_sha256": loaded.source.sha256,
        "tool_version": toolchain.__version__,
    }


def _source_notes(job: Job, loaded: Loaded, removal: Removal | None) -> Iterator[str]:
    yield from loaded.notes
    asked, zeroed_now = job.recipe.prune, loaded.recipe.prune
    if loaded.member is not None:
        name = Path(str(loaded.source.path)).stem
        one_shot = removal if zeroed_now.zeroes else None
        yield from shipped_notes(name, loaded.member, asked, one_shot)
    elif removal is not None and zeroed_now.zeroes:
        yield one_shot_note(removal)
    if removal is not None and (note := removal_note(removal, zeroed_now)):
        yield note


def _left_out_notes(proof: SurgeryProof) -> Iterator[str]:
    if proof.left_out:
        yield f"The surgery is not proved at {', '.join(proof.left_out)}."


def _write_reports(folder: Path, report: Report) -> None:
    assert report.certificate is not None
    write_bytes(folder / CERTIFICATE, to_json(report.certificate))
    write_bytes(folder / "report.json", as_json(summary(report)))
    write_bytes(folder / "report.md", markdown(report).encode())
    write_bytes(folder / "report.html", html(report).encode())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "tool": f"toolchain {toolchain.__version__}",
        "command": report.command,
        "seed": report.source.seed,
        "versions": report.versions,
        "files": {
            path.relative_to(folder).as_posix(): {
                "size_bytes": path.stat().st_size,
                "sha256": sha256_of(path),
            }
            for path in files
        },
    }
    write_bytes(folder / "manifest.json", as_json(manifest))


PACKAGES = ("torch", "torch-pruning", "onnx", "onnxruntime", "onnxsim", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Return what was at work."""
    return {
        "toolchain": toolchain.__version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }
