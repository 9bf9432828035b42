"""``tc.export``: a network in memory in, files for a board and their certificate out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from toolchain.checking.pictures import read_photos
from toolchain.checking.proofs import analysis_example
from toolchain.errors import InputError
from toolchain.exporting.formats import read_formats
from toolchain.exporting.io_spec import check_io_spec
from toolchain.library.calibrating import (
    Calibrated,
    Inputs,
    Place,
    calibration_of,
    range_of,
    read_given,
)
from toolchain.library.evaluating import Evaluation, named
from toolchain.library.handing_over import Handed, demand_network, hand_over
from toolchain.library.shrinking import Shrunk, same_weights, shrink_and_prove
from toolchain.library.taking import Example, arguments_of, undisturbed, unwrapped
from toolchain.library.wording import in_python_words
from toolchain.lineage.format_choice import choose_formats, possible_formats
from toolchain.models.arguments import required
from toolchain.recipe import Recipe, load_recipe
from toolchain.records.certificate import Certificate
from toolchain.records.run_folder import RunFolder
from toolchain.records.stages import Report
from toolchain.system.files import output_folder
from toolchain.workflows.accuracy import AccuracyMeasure
from toolchain.workflows.pipeline import fill
from toolchain.workflows.stages import shrinking
from toolchain.workflows.stages.clock import Clock, say_nothing
from toolchain.workflows.stages.job import Job
from toolchain.workflows.stages.starting import Start
from toolchain.workflows.stages.tasking import check_task


@dataclass(frozen=True)
class Exported:
    """An output folder that was written."""

    folder: Path
    files: tuple[Path, ...]
    """For a board: ``model.onnx``, ``model.tflite``, ..."""
    certificate: Certificate = field(repr=False)
    """Every file's link to the network, with what it costs; the same as ``certificate.json``."""
    report: Report = field(repr=False)
    """All figures; the same as ``report.json``."""

    @property
    def complete(self) -> bool:
        """True if every format that was asked for is there, and every link holds."""
        return self.certificate.is_complete


@in_python_words()
def export(
    network: Shrunk | torch.nn.Module,
    out: Place,
    *,
    example: Example | None = None,
    formats: Sequence[str] | str | None = None,
    calibration: Calibrated | None = None,
    recipe: Recipe | Place | None = None,
    value_range: tuple[float, float] | None = None,
    photos: Sequence[Place] = (),
    data: Place | None = None,
    evaluate: Evaluation | None = None,
    dynamic: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> Exported:
    """Write a network as files for a board, and prove that each gives what the network gives.

    The folder appears when all is done: what fails leaves nothing, or the folder as it was. A
    network that is not shrunk yet is shrunk first.

    Args:
        network: what :func:`shrink` gave (trained on since, or not), or any network.
        out: folder; an earlier output is replaced, anything else is refused.
        example: what a network is called with; not needed with what :func:`shrink` gave.
        formats: of ``onnx``, ``ncnn``, ``tflite``, ``fp16``, ``int8``, as on the command line; all
            that can be made here by default. ONNX is always made.
        calibration: for int8: a folder of photos or their paths, fed as the recipe says; or inputs
            as the network takes them, of any range: a batch (N, C, H, W), or a loader of inputs
            (C, H, W), batches, tuples of which the first is such (``(x, y)``), or dictionaries (the
            entry of the input's name, or the one that fits). At most 512 are taken; each fifth is
            held out, and int8 judged on those. Without, int8 is calibrated on synthetic shapes,
            which costs accuracy.
        recipe: a :class:`~toolchain.recipe.Recipe`, or the path of one: how pixels become inputs,
            limits of the proofs, rewrites. Without, a plain one.
        value_range: lowest and highest value that the network is given; see :func:`shrink`.
        photos: to prove on, where the network takes an image of three channels.
        data: the folder that the recipe's ``evaluate.function`` takes: what half precision and int8
            lose of its figures is measured, and decides.
        evaluate: in place of that function, as in :func:`evaluate`.
        dynamic: leave height and width of the ONNX file free.
        on_stage: is told the name of each stage as it begins; nothing is printed.

    Returns:
        A frozen :class:`Exported`. Formats whose link does not hold are left out, and
        ``.complete`` is False then; ``.certificate.failures`` tells why.

    Raises:
        ProofError: the main file is not the network, or cannot be made; nothing is written.
        InputError: a format is unknown or needs an extra that is not installed (the message says
            how to get it), the folder holds something else, a photo cannot be read.

    Example:
        >>> files = tc.export(small, "out/mine", formats=["onnx", "int8"], calibration=images)
        >>> [path.name for path in files.files]
        ['model.onnx', 'model_int8.onnx']
    """
    asked = None if formats is None else read_formats(_joined(formats))
    made = network if isinstance(network, Shrunk) else None
    if made is None and example is None:
        raise InputError(
            "example must be given with a network, such as torch.zeros(1, 3, 320, 320)"
        )
    live = demand_network(made.network if made else network, "network")
    shown: Example = example if example is not None or made is None else _example(made)  # type: ignore[assignment]
    clock = Clock(on_stage or say_nothing)
    clock.begin("load")
    calibrated = _calibrated(calibration, live, shown)
    if value_range is None and recipe is None and isinstance(calibrated, list):
        value_range = range_of(calibrated)
    handed = hand_over(live, shown, _recipe(recipe, made), value_range, own_type=False)
    handed, measure = _measured(handed, data, evaluate)
    loaded = handed.loaded
    job = Job(
        loaded.recipe,
        Path(out),
        dynamic=dynamic,
        formats=asked,
        accuracy_of=measure,
        command="toolchain.export",
    )
    with undisturbed(), output_folder(job.out) as folder:
        started = _begin(job, handed, calibrated, photos)
        clock.begin("shrink")
        unchanged = made if recipe is None and not photos and evaluate is None else None
        shrunk = _shrunk(handed, started, unchanged, live)
        report = fill(job, started, shrunk, folder, clock)
    assert report.certificate is not None
    written = RunFolder.open(job.out)
    return Exported(job.out, written.files, report.certificate, report)


def _measured(
    handed: Handed, data: Place | None, evaluate: Evaluation | None
) -> tuple[Handed, AccuracyMeasure | None]:
    """Return what measures files, and the network with the recipe that names it."""
    if data is None:
        if evaluate is not None:
            raise InputError("evaluate needs data: the folder that it takes")
        return handed, None
    recipe, score = named(handed.recipe, evaluate)
    measure = AccuracyMeasure(Path(data), score=score)
    measure.prepare(recipe)
    return handed.with_recipe(recipe), measure


def _calibrated(given: Calibrated | None, network: torch.nn.Module, shown: Example) -> Inputs:
    """Return what int8 is calibrated on; inputs of a loader are of the first tensor's shape."""
    arguments = arguments_of(shown)
    first = arguments.tensors[0] if arguments.tensors else torch.zeros(1)
    names = [*arguments.by_name, *required(unwrapped(network))]
    return read_given(given, (1, *first.shape[1:]), names)


def _joined(formats: Sequence[str] | str) -> str:
    return formats if isinstance(formats, str) else ",".join(map(str, formats))


def _example(made: Shrunk) -> Example:
    arguments = made._handed.arguments
    if arguments.by_name and not arguments.by_place:
        return dict(arguments.by_name)
    return arguments.by_place


def _recipe(recipe: Recipe | Place | None, made: Shrunk | None) -> Recipe | None:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is not None:
        return load_recipe(Path(recipe))
    return None if made is None else made._handed.recipe


def _begin(job: Job, handed: Handed, calibration: Inputs, photos: Sequence[Place]) -> Start:
    """Return what the first stage returns, of a network that is there already."""
    loaded = handed.loaded
    check_io_spec(loaded.recipe, dynamic=job.dynamic)
    check_task(loaded)
    formats, note = choose_formats(job.formats, loaded.recipe.decode.postprocess)
    formats, note = possible_formats(job.formats, formats, note, loaded.example, loaded.inputs)
    chosen = None
    if "int8" in formats:
        chosen = calibration_of(calibration, loaded.recipe, loaded.example[0])
    look = analysis_example(loaded.network, loaded.example, loaded.recipe)
    pictures = read_photos([Path(each) for each in photos])
    return Start(loaded, look, pictures, formats, note, chosen)


def _shrunk(
    handed: Handed, started: Start, made: Shrunk | None, live: torch.nn.Module
) -> shrinking.Shrunk:
    """Return the surgery that was made and proved, if the network is still the same; or one now."""
    if made is None or not same_weights(live, made._made.pair.shrunk):
        return shrink_and_prove(handed, photos=started.photos)
    if any(each.dtype == torch.float64 for each in live.parameters()) or not same_weights(
        handed.loaded.network, made._made.pair.shrunk
    ):
        return shrink_and_prove(handed, photos=started.photos)  # files are of float32
    return replace(made._made, loaded=replace(made._handed.loaded, recipe=handed.recipe))
